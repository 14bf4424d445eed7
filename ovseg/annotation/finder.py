"""Pictures to records: each once through CLIP and once through the segmenter, for all classes.

pictures ─┬─ CLIP, in batches ── map and presence of every text, one product ── classes that are there ─┐
          └─ segmenter's encoder ───────────────────── points and masks of each class ─┴─ exclusive ─> regions
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

import ovseg
from ovseg.annotation.classes import Classes
from ovseg.annotation.exclusive import Found, exclusive
from ovseg.annotation.records import Picture, Region
from ovseg.errors import UsageError
from ovseg.masks.decoding import found_objects
from ovseg.masks.encoded import EncodedImage
from ovseg.masks.pipeline import Setup, prompt_sets, resolved, text_features
from ovseg.masks.scores import TextScores, maps_and_presences
from ovseg.model import Model
from ovseg.options import AnnotateOptions
from ovseg.results.coco import Mask
from ovseg.results.types import ImageFeatures
from ovseg.segmenters.base import Segmenter
from ovseg.words.names import fold
from ovseg.words.vocabulary import Vocabulary

REPORTED = 0.01
"""The presence from which on a class is listed in a record."""
GROUP = 8
"""Pictures that go through CLIP together where the options do not say how many."""


class MaskFinder:
    """Instance masks of each class, by point prompts and a promptable segmenter.

    Args:
        model: what ``ovseg.load_model`` gives.
        segmenter: what ``ovseg.load_segmenter`` gives.
        classes: the words.
        options: how masks are made; words as ``background`` become a class of that name.

    Raises:
        UsageError: a text is too long, the window does not fit the model, or there is no class but
            "background".
    """

    def __init__(
        self, model: Model, segmenter: Segmenter, classes: Classes, options: AnnotateOptions | None = None
    ) -> None:
        classes, options = with_background(classes, options or AnnotateOptions())
        model.check_window(options)
        if not classes.objects:
            raise UsageError("expected a class besides 'background', got none")
        rivals = list({fold(text): text for text in (*options.rivals, *classes.negatives)}.values())
        inner = replace(options, rivals=tuple(rivals), presence_threshold=0.0)
        self.setup = Setup(model, segmenter, resolved(inner, segmenter), model.logit_scale)
        decided = self.setup.options
        self.resolved = replace(
            options,
            map_threshold=decided.map_threshold,
            prompt_with=decided.prompt_with,
            mask_choice=decided.mask_choice,
        )
        self.classes, self.names = classes, classes.objects
        self.batch, self.device = options.batch or GROUP, model.device
        self.overlap = options.overlap
        self.method = f"{model.loaded.name} {model.method.name} + {segmenter.name}"
        self.thresholds = [classes.thresholds.get(name, options.presence_threshold) for name in self.names]
        texts_of = dict(zip(classes.names, classes.texts, strict=True))
        self.texts = [texts_of[name] for name in self.names]
        flat = list(dict.fromkeys(text for row in self.texts for text in row))
        features = text_features(self.setup, flat)
        place = {text: index for index, text in enumerate(flat)}
        self._rows = [[place[text] for text in row] for row in self.texts]
        self._empty = features[""][None]
        self._text = torch.stack([features[text] for text in flat]) if flat else None
        self._rivals = torch.stack([features[text] for text in rivals]) if rivals else None
        self._groups = _groups(self.texts, rivals)

    def find(
        self, pictures: Sequence[NDArray[np.uint8]], wanted: Sequence[bool] | None = None
    ) -> Iterator[Picture | None]:
        """What is in each of several pictures, which go through CLIP together.

        Args:
            pictures: (H, W, 3) uint8 RGB each.
            wanted: which of them are asked for; the others only take part in CLIP's batch, and give None.

        Raises:
            OvsegError: a picture cannot be encoded.
        """
        setup = self.setup
        features = setup.model.dense_features_each(pictures, options=setup.options)
        for index, (picture, one) in enumerate(zip(pictures, features, strict=True)):
            if wanted is not None and not wanted[index]:
                yield None
                continue
            yield self.find_in(EncodedImage(picture, one, setup.segmenter.encode(picture)))

    def describe(self) -> dict[str, object]:
        """Whatever decides the regions; the device and the number of pictures in a batch do not."""
        return describe(self.setup.model, self.setup.segmenter, self.classes, self.resolved)

    def maps(self, features: ImageFeatures) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The map of each class (K, h, w) and its presence (K,), the best of its texts counting in both."""
        grid = features.grid
        if self._text is None:
            return np.zeros((0, *grid)), np.zeros(0)
        setup = self.setup
        own, others = (TextScores.of(features, text, self._empty) for text in (self._text, self._rivals))
        maps = np.empty((len(self.names), grid[0] * grid[1]))
        shares = np.empty(len(self.names))
        for rivals, classes in self._groups:
            wanted = sorted({index for k in classes for index in self._rows[k]})
            place = {index: number for number, index in enumerate(wanted)}
            rated, present = maps_and_presences(
                own.of_texts(wanted),
                others.of_texts(rivals),
                setup.options.point_rule,
                setup.logit_scale,
                setup.model.logit_bias,
            )
            for k in classes:
                rows = [place[index] for index in self._rows[k]]
                maps[k] = rated[:, rows].max(axis=1)
                shares[k] = present[rows].max()
        return maps.reshape(-1, *grid), shares

    def find_in(self, encoded: EncodedImage) -> Picture:
        """What is in a picture that has been through both encoders with these models and options."""
        setup = self.setup
        maps, shares = self.maps(encoded.features)
        there = [k for k, share in enumerate(shares) if share >= self.thresholds[k]]
        fields = {k: maps[k].astype(np.float32) for k in there}
        questions = [
            prompt_sets(encoded.size, fields[k][None], {self.names[k]: float(shares[k])}, setup.options)[0]
            for k in there
        ]
        found: list[Found] = []
        objects = found_objects(setup.segmenter, encoded, questions, setup.options)
        for k, pairs in zip(there, objects, strict=True):
            found += [Found.of(k, mask, one.score) for one, mask in pairs]
        if not self.overlap:
            found = exclusive(found, fields, encoded.size)
        regions = tuple(
            Region(
                self.names[one.label],
                Mask.of(one.mask(encoded.size)),
                round(one.score, 4),
                ", ".join(self.texts[one.label]),
                self.method,
            )
            for one in found
        )
        return Picture(
            regions,
            {
                name: round(float(share), 4)
                for name, share in zip(self.names, shares, strict=True)
                if share >= REPORTED
            },
        )


class LabelFinder:
    """One label map an image: every pixel has a class, from cosines alone.

    Args:
        model: what ``ovseg.load_model`` gives.
        classes: the words; a pixel that fits a text after "not" better than every class has no class.
        options: size, windows, background, area_threshold and the like; words as ``background`` become a
            class of that name.

    Raises:
        UsageError: a text is too long, the window does not fit the model, or a class has a threshold.
    """

    def __init__(self, model: Model, classes: Classes, options: AnnotateOptions | None = None) -> None:
        classes, options = with_background(classes, options or AnnotateOptions(task="labels"))
        model.check_window(options)
        if classes.thresholds:
            raise UsageError("thresholds of classes expected the task 'instances', got 'labels'")
        self.model, self.options = model, options
        self.classes, self.names = classes, classes.names
        self.batch, self.device = options.batch or GROUP, model.device
        self.background = classes.vocabulary.background
        self.prompts = [", ".join(row) for row in classes.texts]
        self.vocabulary = classes.vocabulary
        if classes.negatives:
            name = next(n for n in (f"{'not ' * k}wanted" for k in range(1, 9)) if n not in self.names)
            self.vocabulary = Vocabulary((*self.names, name), (*classes.texts, classes.negatives))
        self.method = f"{model.loaded.name} {model.method.name}"
        model.encode_text(self.vocabulary.flat, options.templates)

    def find(
        self, pictures: Sequence[NDArray[np.uint8]], wanted: Sequence[bool] | None = None
    ) -> Iterator[Picture | None]:
        """The label map of each of several pictures as one region for each class; see ``MaskFinder.find``."""
        found = self.model.segment_each(iter(pictures), self.vocabulary, options=self.options)
        for index, one in enumerate(found):
            asked = wanted is None or wanted[index]
            yield Picture(tuple(self._regions(one.array)), None) if asked else None

    def describe(self) -> dict[str, object]:
        """Whatever decides the regions; the device and the number of pictures in a batch do not."""
        return describe(self.model, None, self.classes, self.options)

    def _regions(self, labels: NDArray[np.unsignedinteger]) -> Iterator[Region]:
        counts = np.bincount(labels.ravel(), minlength=len(self.names))[: len(self.names)]
        for k in np.flatnonzero(counts).tolist():
            mask = Mask.of(labels == k)
            yield Region(self.names[k], mask, None, self.prompts[k], self.method)


def describe(
    model: Model, segmenter: Segmenter | None, classes: Classes, options: AnnotateOptions
) -> dict[str, object]:
    """The settings of a finder, by which a run folder tells two runs apart."""
    chosen = options.describe()
    del chosen["batch"]
    return {**describe_models(model, segmenter), "classes": classes.describe(), "options": chosen}


def describe_models(model: Model, segmenter: Segmenter | None) -> dict[str, object]:
    """The version of ovseg, and which models with which weights."""
    weights = model.loaded.weights
    return {
        "ovseg": ovseg.__version__,
        "model": {
            "name": model.loaded.name,
            "weights": weights.given if weights.is_random else weights.sha256,
            "method": model.method.name,
            "precision": str(next(model.clip.visual.parameters()).dtype).removeprefix("torch."),
        },
        "segmenter": None if segmenter is None else segmenter.name,
    }


def with_background(classes: Classes, options: AnnotateOptions) -> tuple[Classes, AnnotateOptions]:
    """Words as ``background`` become a class of that name, as in ``Model.segment``."""
    if options.background is None:
        return classes, options
    vocabulary = classes.vocabulary.with_background(options.background)
    return replace(classes, vocabulary=vocabulary), replace(options, background=None)


def _groups(texts: Sequence[Sequence[str]], rivals: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """(rivals, classes) as indices: classes with the same rivals together.

    A text is no rival of its own class: to CLIP "Sky" and "sky" are one text.
    """
    folded = {fold(text): index for index, text in enumerate(rivals)}
    groups: dict[frozenset[int], list[int]] = {}
    for k, row in enumerate(texts):
        own = frozenset(folded[fold(text)] for text in row if fold(text) in folded)
        groups.setdefault(own, []).append(k)
    return [([r for r in range(len(rivals)) if r not in own], classes) for own, classes in groups.items()]
