"""The maps of every system on the token grid, for the labels present in each picture, in one pass.

Systems that differ only in feature surgery share one encoding, and all similarities share the resized pixels.
Feature surgery sees every name; only the maps of the labels present are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovseg.clip.attention import Method
from ovseg.clip.towers import check_method
from ovseg.errors import DataError, OvsegError, UnsupportedModelError, UsageError, one_line
from ovseg.evaluation.data.samples import Sample
from ovseg.evaluation.tables.report import Report
from ovseg.evaluation.tables.run import Setup
from ovseg.evaluation.tables.systems import System
from ovseg.explanation import explain, get_explanation
from ovseg.explanation.saved import read_maps
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.similarity import apply_surgery, to_grid
from ovseg.results.base import ImageTokens
from ovseg.words.names import fold
from ovseg.words.vocabulary import Vocabulary

Grid: TypeAlias = "NDArray[np.float32]"
"""(h, w), a map before normalisation."""
Grids: TypeAlias = "dict[str, Grid]"
"""Label -> map, for the labels of one picture."""
NEEDS_TWO = ("label_set", "label_set_code")


class MapMaker:
    """Makes the maps of any system, from a backbone and the texts of a data set.

    Args:
        setup: the model, the texts and the protocol.
        systems: the systems to be measured, checked at once.

    Raises:
        UsageError, UnsupportedModelError: a system does not apply to the backbone or to so few names.
    """

    def __init__(self, setup: Setup, systems: Sequence[System]) -> None:
        self.model = setup.backbone.model
        self.vocabulary, self.protocol, self.size = setup.texts, setup.protocol, setup.size
        for system in systems:
            self._check(system)

    @cached_property
    def text(self) -> Tensor:
        """(T, D): the features of every text of the set."""
        return self.model.encode_text(self.vocabulary.flat, self.protocol.templates)

    @cached_property
    def empty(self) -> Tensor:
        """(1, D): the feature of the empty string."""
        return self.model.encode_text([""], self.protocol.templates)

    def maps(self, samples: Sequence[Sample], systems: Sequence[System]) -> dict[str, list[Grids | str]]:
        """System -> for each sample, the maps of its labels or the reason why it was skipped."""
        found: dict[str, list[Grids | str]] = {}
        methods = dict.fromkeys(system.method for system in systems if system.method is not None)
        if methods:
            pixels = self.model.preprocess([one.image for one in samples], self.size, self.protocol.resize)
            for method in methods:
                tokens = self.encode(pixels, method)
                for system in systems:
                    if system.method is method:
                        found[system.name] = [*self.similarities(tokens, samples, system)]
        for system in systems:
            if system.method is None:
                found[system.name] = [self._one(sample, system) for sample in samples]
        return found

    @torch.no_grad()
    def encode(self, pixels: Tensor, method: Method) -> tuple[ImageTokens, Tensor]:
        """Encode a batch with a method: its tokens, and the feature of each patch (B, N, D)."""
        model = self.model.with_method(method)
        tokens = model.encode_image(pixels)
        return tokens, model.place_features(tokens)

    @torch.no_grad()
    def similarities(
        self, encoded: tuple[ImageTokens, Tensor], samples: Sequence[Sample], system: System
    ) -> list[Grids]:
        """The maps of a similarity system for each sample."""
        tokens, features = encoded
        if self.protocol.surgery_over == "image" and system.surgery in NEEDS_TWO:
            return [
                self._of_image(tokens, features, index, sample, system)
                for index, sample in enumerate(samples)
            ]
        empty = self.empty if system.surgery == "empty" else None
        scores = apply_surgery(features, tokens.class_token, self.text, system.surgery, empty)
        return [
            self._chosen(to_grid(one[None], tokens.grid)[0], self.vocabulary, sample, system)
            for one, sample in zip(scores, samples, strict=True)
        ]

    def _of_image(
        self, tokens: ImageTokens, features: Tensor, index: int, sample: Sample, system: System
    ) -> Grids:
        """Feature surgery over the picture's labels; for a single text, the empty string is subtracted."""
        kept = [k for k, name in enumerate(self.vocabulary.names) if name in sample.masks]
        if not kept:
            return {}
        rows = [row for row, owner in enumerate(self.vocabulary.owners) if owner in kept]
        vocabulary = Vocabulary(
            tuple(self.vocabulary.names[k] for k in kept), tuple(self.vocabulary.texts[k] for k in kept)
        )
        one = slice(index, index + 1)
        surgery = system.surgery if len(rows) > 1 else "empty"
        scores = apply_surgery(features[one], tokens.class_token[one], self.text[rows], surgery, self.empty)
        return self._chosen(to_grid(scores, tokens.grid)[0], vocabulary, sample, system)

    @staticmethod
    def _chosen(maps: Tensor, vocabulary: Vocabulary, sample: Sample, system: System) -> Grids:
        merged = merge_synonyms(maps, vocabulary.owners)
        rows = [vocabulary.names.index(name) for name in sample.masks]
        values = merged[rows].cpu().numpy()
        return dict(zip(sample.masks, -values if system.reverse else values, strict=True))

    def _one(self, sample: Sample, system: System) -> Grids | str:
        try:
            if system.saved is not None:
                return _saved(system.saved, sample)
            return self._explained(sample, system)
        except OvsegError as error:
            return f"{sample.name}: {one_line(error)}"

    def _explained(self, sample: Sample, system: System) -> Grids:
        if not sample.masks:
            return {}
        assert system.explanation is not None
        found = explain(
            self.model,
            sample.image,
            {name: self.vocabulary.texts[self.vocabulary.names.index(name)] for name in sample.masks},
            method=system.explanation,
            size=self.size,
            resize=self.protocol.resize,
            templates=self.protocol.templates,
        )
        return dict(zip(found.names, found.grid, strict=True))

    def _check(self, system: System) -> None:
        if system.method is not None:
            check_method(self.model.clip.visual, system.method)
        several = system.surgery in NEEDS_TWO and self.protocol.surgery_over == "set"
        if several and len(self.vocabulary.flat) < 2:
            raise UsageError(f"{system.name} needs at least two names for surgery {system.surgery}, got one")
        if system.explanation is not None:
            get_explanation(system.explanation).check(self.model.clip.visual)


def applicable(
    setup: Setup, systems: Sequence[System], report: Report
) -> tuple[list[System], dict[str, str]]:
    """The systems that support a backbone, and for each other one the reason, which also becomes a note."""
    kept, reasons = [], {}
    for system in systems:
        try:
            MapMaker(setup, [system])
        except UnsupportedModelError as error:
            reasons[system.name] = str(error)
            report.note(f"{setup.backbone.name}, {system.name}: {error}.")
        else:
            kept.append(system)
    return kept, reasons


def _saved(folder: Path, sample: Sample) -> Grids:
    """Read NAME.npz with grid_values and names, as ``SimilarityMap.save`` writes it."""
    path = folder / f"{sample.name}.npz"
    names, values = read_maps(path)
    table = dict(zip(map(fold, names), values, strict=True))
    missing = [name for name in sample.masks if fold(name) not in table]
    if missing:
        raise DataError(f"expected a map for each label, {path} lacks {', '.join(missing)}")
    return {name: table[fold(name)] for name in sample.masks}
