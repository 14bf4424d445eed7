"""Pictures to regions, for a run: ``ovseg.masks`` for instances, ``Model.segment_each`` for label maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import ovseg
from ovseg.annotation.classes import Classes
from ovseg.annotation.records import Picture, Region
from ovseg.errors import UsageError
from ovseg.files.pictures import GROUP, GROUP_PIXELS
from ovseg.masks.encoded import Asked, EncodedImage, Setup, rate, words_of_classes
from ovseg.masks.exclusive import Found, exclusive
from ovseg.masks.find import Question, answer, rivals_among
from ovseg.model import Model
from ovseg.options import AnnotateOptions, Options
from ovseg.results import Mask
from ovseg.segmenters.base import Segmenter
from ovseg.words.vocabulary import Vocabulary

WORDS = 64
"""Words that are decoded together, fewer in large images: it bounds the memory of their masks."""
REPORTED = 0.01
"""The presence from which on a class is listed in a record."""


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
        classes, options = with_background(model, classes, options or AnnotateOptions())
        if not classes.objects:
            raise UsageError("expected a class besides 'background', got none")
        self.setup = Setup(model, segmenter, options)
        self.classes, self.names, self.overlap = classes, classes.objects, options.overlap
        self.batch, self.device = options.batch or GROUP, model.device
        self.method = f"{model.loaded.name} {model.method.name} + {segmenter.name}"
        words = words_of_classes(classes.vocabulary, classes.thresholds, options.presence_threshold)
        self.asked = Asked.of(self.setup, words, classes.negatives)

    def find(
        self, pictures: Sequence[NDArray[np.uint8]], wanted: Sequence[bool] | None = None
    ) -> Iterator[Picture | None]:
        """The regions in each of several pictures, encoded by CLIP as one batch.

        Args:
            pictures: (H, W, 3) uint8 RGB each.
            wanted: which of them are asked for; the others only take part in CLIP's batch, and give None.

        Raises:
            OvsegError: a picture cannot be encoded.
        """
        setup = self.setup
        features = setup.model.dense_features_each(pictures, options=setup.options)
        for index, (picture, one) in enumerate(zip(pictures, features, strict=True)):
            asked = wanted is None or wanted[index]
            yield self.find_in(setup.encode(picture, one)) if asked else None

    def find_in(self, encoded: EncodedImage, between: Callable[[int], None] | None = None) -> Picture:
        """The regions in a picture that both encoders have encoded with these models and options.

        Args:
            encoded: the picture.
            between: called before each group of words with the bytes of all masks so far; it may raise.
        """
        rated = rate(self.setup, self.asked, encoded.features)
        among = rivals_among(self.setup, rated)
        group = max(1, min(WORDS, GROUP_PIXELS // (encoded.size[0] * encoded.size[1])))
        found: list[Found] = []
        for start in range(0, len(rated), group):
            if between is not None:
                between(sum(one.crop.size for one in found))
            questions = [Question(one) for one in rated[start : start + group]]
            for one in answer(self.setup, encoded, questions, among, start):
                found += one.objects
        if not self.overlap:
            found = exclusive(found, {k: one.maps[0] for k, one in enumerate(rated)}, encoded.size)
        regions = (
            Region(
                self.names[one.label],
                one.coded(encoded.size),
                round(one.score, 4),
                ", ".join(self.asked.words[one.label].texts),
                self.method,
            )
            for one in found
        )
        presence = {name: share for one in rated for name, share in one.presence.items()}
        listed = {name: round(share, 4) for name, share in presence.items() if share >= REPORTED}
        return Picture(tuple(regions), listed)

    def describe(self) -> dict[str, object]:
        """The settings that affect the regions; device and batch size do not."""
        return describe(self.setup.model, self.setup.segmenter, self.classes, self.setup.options)


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
        classes, options = with_background(model, classes, options or AnnotateOptions(task="labels"))
        model.check_window(options)
        if classes.thresholds:
            raise UsageError("thresholds of classes need the task 'instances', got 'labels'")
        self.model, self.options = model, options
        self.classes, self.names = classes, classes.names
        self.batch, self.device = options.batch or GROUP, model.device
        self.background = classes.vocabulary.background
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
        """The settings that affect the regions; device and batch size do not."""
        return describe(self.model, None, self.classes, self.options)

    def _regions(self, labels: NDArray[np.unsignedinteger]) -> Iterator[Region]:
        counts = np.bincount(labels.ravel(), minlength=len(self.names))[: len(self.names)]
        for k in np.flatnonzero(counts).tolist():
            prompt = ", ".join(self.classes.texts[k])
            yield Region(self.names[k], Mask.of(labels == k), None, prompt, self.method)


def describe(
    model: Model, segmenter: Segmenter | None, classes: Classes, options: Options
) -> dict[str, object]:
    """The settings of a finder, which identify a run in its folder."""
    chosen = options.describe()
    del chosen["batch"]
    return {**describe_models(model, segmenter), "classes": classes.describe(), "options": chosen}


def describe_models(model: Model, segmenter: Segmenter | None) -> dict[str, object]:
    """ovseg's version, the models and their weights."""
    weights = model.loaded.weights
    return {
        "ovseg": ovseg.__version__,
        "model": {
            "name": model.loaded.name,
            "weights": weights.given if weights.is_random else weights.sha256,
            **model.method.describe(),
            "precision": str(next(model.clip.visual.parameters()).dtype).removeprefix("torch."),
        },
        "segmenter": None if segmenter is None else segmenter.name,
    }


def with_background(
    model: Model, classes: Classes, options: AnnotateOptions
) -> tuple[Classes, AnnotateOptions]:
    """Words as ``background`` become a class of that name, as in ``Model.segment``."""
    if options.background is None:
        return classes, options
    vocabulary = model.vocabulary(classes.vocabulary, options)
    return replace(classes, vocabulary=vocabulary), replace(options, background=None)
