"""``explain`` and ``compare``: maps of where in an image the score of each text comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovseg.clip.towers import tower_of
from ovseg.errors import OvsegError, UsageError
from ovseg.explanation.registry import Explanation, get_explanation, own_surgery
from ovseg.explanation.subject import CLIP, Subject
from ovseg.files.pictures import ImageLike, OnError, each, load_image
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.similarity import check_surgery
from ovseg.model import Model
from ovseg.options import ExplainOptions
from ovseg.results import SimilarityMap
from ovseg.words.vocabulary import Names, Vocabulary, as_vocabulary

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ovseg.options.models import ExplainChoices


@dataclass(frozen=True)
class Compared:
    """Several explanations of one image.

    Attributes:
        maps: the explanations by name.
        cosines: (K,) float32, the cosine of the image's feature with each class; the maximum over its texts.
        feature: (D,) float32, the image's feature, not normalised.
    """

    maps: Mapping[str, SimilarityMap]
    cosines: NDArray[np.float32]
    feature: Tensor


def explain(
    model: Model,
    image: ImageLike,
    texts: Names,
    method: str | Explanation = "clip_surgery",
    *,
    options: ExplainOptions | None = None,
    **choices: Unpack[ExplainChoices],
) -> SimilarityMap:
    """Show where in an image each text's score comes from.

    All texts share one forward pass of the image. ``grid`` holds the similarities of a training-free method
    as they are, and the min-max normalised maps of any other explanation. The map of a class is the maximum
    over its texts.

    Args:
        model: a model; its own method is ignored.
        image: a picture in any form that ``ovseg.load_image`` takes.
        texts: a text with commas, a list, a dictionary of name to synonyms, or a vocabulary.
        method: a name of ``list_explanations()``, or an ``Explanation`` such as ``saved_maps`` returns.
        options, choices: an ``ExplainOptions``, or its fields as keywords.

    Raises:
        UsageError: an argument is wrong.
        UnsupportedModelError: the explanation does not apply to the model's image tower.
        ImageError: an image cannot be read.

    Example:
        >>> import ovseg
        >>> scene = ovseg.make_scene(11)
        >>> found = explain(ovseg.load_model("tiny"), scene.image, "stripes, gravel", "bimodal")
        >>> found.names, found["gravel"].shape == scene.labels.shape
        (('stripes', 'gravel'), True)
    """
    chosen = ExplainOptions.make(options, choices)
    return Run(model, as_vocabulary(texts), [get_explanation(method)], chosen).first(image)


def explain_each(
    model: Model,
    images: Iterable[ImageLike],
    texts: Names,
    method: str | Explanation = "clip_surgery",
    *,
    on_error: OnError | None = None,
    options: ExplainOptions | None = None,
    **choices: Unpack[ExplainChoices],
) -> Iterator[SimilarityMap]:
    """``explain`` for several images in order; similarities of images of one size are computed in batches.

    Args:
        model, texts, method, options, choices: as in ``explain``.
        images: pictures, read as results are consumed.
        on_error: called with (position, error) for an image that fails, which is skipped. None: the error is
            raised.
    """
    chosen = ExplainOptions.make(options, choices)
    row = get_explanation(method)
    run = Run(model, as_vocabulary(texts), [row], chosen)
    if row.method is None:
        return each(images, run.first, on_error)
    return model.with_method(row.method).similarity_each(
        images,
        run.names,
        surgery=own_surgery(row.method, chosen.surgery),
        size=chosen.size,
        resize=chosen.resize,
        templates=chosen.templates,
        on_error=on_error,
    )


def compare(
    model: Model,
    image: ImageLike,
    texts: Names,
    methods: Sequence[str | Explanation],
    *,
    options: ExplainOptions | None = None,
    **choices: Unpack[ExplainChoices],
) -> Compared:
    """Compute several explanations of one image; those that use gradients and resize positions alike share a pass.

    Args:
        model, image, texts, options, choices: as in ``explain``.
        methods: at least one, each once: names of ``list_explanations()``, or ``Explanation`` objects.

    Returns:
        The maps by name, in the order of ``methods``, and the texts' cosines with the image.

    Raises:
        UsageError, UnsupportedModelError, ImageError: as in ``explain``.

    Example:
        >>> import ovseg
        >>> image = ovseg.make_scene(11).image
        >>> found = compare(ovseg.load_model("tiny"), image, "stripes", ["clip", "gradcam_cls"])
        >>> list(found.maps), found.cosines.shape
        (['clip', 'gradcam_cls'], (1,))
    """
    chosen = ExplainOptions.make(options, choices)
    return Run(model, as_vocabulary(texts), [get_explanation(one) for one in methods], chosen)(image)


class Run:
    """Explanations of fixed texts for any number of images. The constructor checks and encodes everything else.

    Args:
        model: a model.
        names: the texts.
        rows: the explanations, each once.
        options: surgery, size, resize, templates.

    Raises:
        UsageError: there is no explanation, one is given twice, or the surgery needs more texts.
        UnsupportedModelError: an explanation does not apply to the image tower.
    """

    def __init__(
        self, model: Model, names: Vocabulary, rows: Sequence[Explanation], options: ExplainOptions
    ) -> None:
        if not rows:
            raise UsageError("expected at least one explanation, got none")
        if len({row.name for row in rows}) < len(rows):
            raise UsageError(f"expected each explanation once, got {', '.join(row.name for row in rows)}")
        for row in rows:
            row.check(model.clip.visual)
        similar = [row.method for row in rows if row.method is not None]
        if similar:
            check_surgery(options.surgery, len(names.flat))
        self.model, self.names, self.rows, self.options = model, names, tuple(rows), options
        surgeries = {own_surgery(method, options.surgery) for method in similar}
        with self._plain():
            self.text = model.encode_text(names.flat, options.templates)
            self.empty = model.encode_text([""], options.templates) if "empty" in surgeries else None
        blocks = [row.blocks for row in rows]
        self.blocks = None if None in blocks else max(count for count in blocks if count is not None)

    def __call__(self, image: ImageLike, file: Path | None = None) -> Compared:
        """Compute all explanations and the cosines of one image.

        Args:
            image: a picture in any form that ``load_image`` takes.
            file: the image's file, which saved maps need; None: ``image``, if it is a path.

        Raises:
            ImageError: the image cannot be read.
        """
        subjects, shape = self._subjects(image, file)
        subject = subjects(CLIP.resize)
        with self._plain():
            maps = {row.name: self._map(row, subjects(row.resize), shape) for row in self.rows}
            cosines = merge_synonyms(subject.cosines[:, None, None], self.names.owners)[:, 0, 0]
            return Compared(maps, cosines.cpu().numpy(), subject.feature.detach())

    def first(self, image: ImageLike, file: Path | None = None) -> SimilarityMap:
        """Compute the first explanation only, without cosines. Arguments and errors are those of a call."""
        subjects, shape = self._subjects(image, file)
        with self._plain():
            return self._map(self.rows[0], subjects(self.rows[0].resize), shape)

    @contextmanager
    def _plain(self) -> Iterator[None]:
        """Switch off the caller's inference mode and autocast, because gradients are needed."""
        with torch.inference_mode(False), torch.autocast(self.model.device.type, enabled=False):
            yield

    def _subjects(
        self, image: ImageLike, file: Path | None
    ) -> tuple[Callable[[str], Subject], tuple[int, int]]:
        """A function from a rule for positions to the image's subject, and the image's (height, width).

        Explanations with the same rule share a forward pass; on the model's own grid all rules are the same.
        """
        picture = load_image(image)
        shape = (picture.shape[0], picture.shape[1])
        options = self.options
        if file is None and isinstance(image, (str, PathLike)):
            file = Path(fspath(image))
        with self._plain():
            size = self.model.input_size(shape, options.size)
            pixels = self.model.preprocess([picture], size, options.resize)

        @cache
        def subject(resize: str) -> Subject:
            return Subject(
                self.model,
                pixels,
                self.text,
                empty=self.empty,
                surgery=options.surgery,
                names=self.names.flat,
                file=file,
                blocks=self.blocks,
                resize=resize,
            )

        native = size == tower_of(self.model.clip.visual).native_size
        return (lambda resize: subject(CLIP.resize if native else resize)), shape

    def _map(self, row: Explanation, subject: Subject, shape: tuple[int, int]) -> SimilarityMap:
        found = row.maps(subject)
        if not isinstance(found, Tensor) or found.ndim != 3 or len(found) != len(self.text):
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise OvsegError(
                f"expected ({len(self.text)}, h, w) maps from the explanation {row.name!r}, got {what}"
            )
        found = merge_synonyms(found.detach().float().cpu(), self.names.owners)
        if not found.isfinite().all():
            raise OvsegError(f"expected finite maps from the explanation {row.name!r}, got NaN or infinity")
        grid = found if row.method is not None else normalised(found)
        return SimilarityMap(grid.numpy(), self.names.names, shape)


def normalised(maps: Tensor) -> Tensor:
    """Min-max normalise each map (K, h, w) to 0..1; a constant map becomes 0.

    Gradients may be small throughout, so "constant" is relative to the map's largest magnitude.
    """
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    spread = high - low
    flat = spread <= 1e-6 * torch.maximum(low.abs(), high.abs())
    return torch.where(flat, 0.0, (maps - low) / spread.masked_fill(flat, 1.0))
