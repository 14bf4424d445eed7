"""Compare a run with ground truth: IoU, precision and recall of each class, and better thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.formats import Annotations
from ovseg.annotation.records import ByName, Record
from ovseg.errors import DataError
from ovseg.metrics.segmentation import confusion
from ovseg.words.names import fold

VOID = 65535
MOST = 20
"""Most images and pairs of classes that the record lists."""


@dataclass
class ClassReview:
    """The counts of one class over the compared images.

    Attributes:
        both, either: pixels of the class in run and truth, and in run or truth; pixels that are void in the
            truth do not count.
        right, wrong, missed: true positives, false positives and false negatives, counted in images.
        shares: the class's presence in each image for which the run has one, and whether the truth has the
            class.
    """

    both: int = 0
    either: int = 0
    right: int = 0
    wrong: int = 0
    missed: int = 0
    shares: list[tuple[float, bool]] = field(default_factory=list)

    @property
    def iou(self) -> float:
        """Intersection over union of the pixels of all images."""
        return _ratio(self.both, self.either)

    @property
    def precision(self) -> float:
        """Precision: of the images in which the run found the class, the share where it is correct."""
        return _ratio(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Recall: of the images in which the truth has the class, the share where it was found."""
        return _ratio(self.right, self.right + self.missed)

    @property
    def threshold(self) -> float | None:
        """The presence that best separates images with the class from those without."""
        return best_threshold(self.shares)


@dataclass
class Review:
    """The comparison of a run with the truth.

    Attributes:
        classes: the classes that both know.
        confusion: (K + 1, K + 1) pixels of each class of the truth, by rows, and of the run, by columns; the last
            row and column are pixels of no class. Of regions that share pixels the uppermost counts.
        ious: of each compared image, the mean IoU of the classes that run or truth have in it, and its name.
        images: images that were compared.
        without_truth: images that are in the run only.
        missing: images that are in the truth only.
        other_classes: classes of the truth that the run was not asked for.
    """

    classes: dict[str, ClassReview]
    confusion: NDArray[np.int64]
    ious: list[tuple[float, str]] = field(default_factory=list)
    images: int = 0
    without_truth: int = 0
    missing: list[str] = field(default_factory=list)
    other_classes: tuple[str, ...] = ()

    @property
    def mean_iou(self) -> float:
        """The mean IoU over the classes that occur in run or truth; NaN where none does."""
        known = [one.iou for one in self.classes.values() if one.either]
        return sum(known) / len(known) if known else math.nan

    @property
    def thresholds(self) -> dict[str, float]:
        """The proposed threshold of each class that has images with and without it."""
        found = {name: one.threshold for name, one in self.classes.items()}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def confused(self) -> list[tuple[float, str, str]]:
        """The pairs of unlike classes that share most pixels: share of the true class, truth, run."""
        names = list(self.classes)
        totals = self.confusion.sum(axis=1)
        pairs = [
            (int(self.confusion[t, p]) / int(totals[t]), names[t], names[p])
            for t, p in zip(*np.nonzero(self.confusion[:-1, :-1]), strict=True)
            if t != p
        ]
        return sorted(pairs, reverse=True)

    def describe(self) -> dict[str, object]:
        """Everything as JSON can hold it, rates in 0..1."""
        return {
            "images": self.images,
            "images without truth": self.without_truth,
            "missing in the run": self.missing,
            "classes of the truth only": list(self.other_classes),
            "mean IoU": self.mean_iou,
            "classes": {
                name: {
                    "IoU": one.iou,
                    "precision": one.precision,
                    "recall": one.recall,
                    "images": one.right + one.missed,
                    "threshold": one.threshold,
                }
                for name, one in self.classes.items()
            },
            "thresholds": self.thresholds,
            "confused": [
                {"truth": true, "run": name, "share": share} for share, true, name in self.confused[:MOST]
            ],
            "worst": [{"image": name, "mean IoU": iou} for iou, name in sorted(self.ious)[:MOST]],
        }

    def lines(self) -> list[str]:
        """A table of text; IoU, precision and recall in %."""
        width = max(len("mean"), *(len(name) for name in self.classes))
        out = [f"{'class':<{width}}     IoU  precision  recall  images  threshold"]
        for name, one in self.classes.items():
            threshold = "-" if one.threshold is None else f"{one.threshold:.2f}"
            out.append(
                f"{name:<{width}}  {_percent(one.iou)}     {_percent(one.precision)}  {_percent(one.recall)}"
                f"  {one.right + one.missed:6d}  {threshold:>9}"
            )
        return [*out, f"{'mean':<{width}}  {_percent(self.mean_iou)}"]


def review(run: Annotations, truth: Annotations) -> Review:
    """Compare annotations with the truth, image by image, by the images' names.

    Args:
        run: what is judged; a run folder also gives each class's presence.
        truth: the truth. It is held in memory, the run is not.

    Returns:
        The scores over the images that both have. Classes are compared by their names, upper and lower case
        alike; "background" is left out.

    Raises:
        DataError: no image or no class is in both, an image has two sizes, or the truth is a model's.
    """
    if truth.predicted:
        raise DataError("expected a truth that somebody annotated, it holds predictions only")
    wanted = {fold(name): name for name in truth.names if fold(name) != "background"}
    names = {fold(name): name for name in run.names if fold(name) in wanted}
    if not names:
        raise DataError("expected a class that both the run and the truth have, got none")
    others = tuple(name for key, name in wanted.items() if key not in names)
    size = len(names) + 1
    out = Review(
        {name: ClassReview() for name in names.values()},
        np.zeros((size, size), np.int64),
        other_classes=others,
    )
    known = ByName(truth.records())
    for record in run.records():
        true = known.find(record.name)
        if true is None:
            out.without_truth += 1
            continue
        if true.size != record.size:
            raise DataError(
                f"expected {record.name} in one size, got {record.size} and {true.size} in the truth"
            )
        out.images += 1
        out.confusion += _confusion(record, true, names)
        _compare(record, true, names, out)
    if not out.images:
        raise DataError(
            "expected an image that both the run and the truth have, got none: compare their names"
        )
    out.missing = known.unused()
    return out


def best_threshold(shares: Sequence[tuple[float, bool]]) -> float | None:
    """The threshold with the highest F1 of presence; ties go to the one nearest 0.5.

    Args:
        shares: presence in 0..1, and whether the class is there.

    Returns:
        A threshold in 0..1 with four digits; None where all images have the class, or none has it.

    >>> best_threshold([(0.9, True), (0.7, True), (0.3, False)])
    0.5
    """
    values = sorted({share for share, _ in shares})
    positives = sum(there for _, there in shares)
    if not positives or positives == len(shares):
        return None
    cuts = [0.0, *((low + high) / 2 for low, high in pairwise(values))]
    best: tuple[float, float, float] | None = None
    for cut in cuts:
        right = sum(there for share, there in shares if share >= cut)
        found = sum(share >= cut for share, _ in shares)
        rank = (2 * right / (found + positives), -abs(cut - 0.5), cut)
        best = rank if best is None or rank > best else best
    return None if best is None else round(best[2], 4)


def _compare(record: Record, true: Record, names: Mapping[str, str], out: Review) -> None:
    valid = None if true.void is None else ~true.void.array()
    mine, theirs = _unions(record, names, valid), _unions(true, names, valid)
    ious: list[float] = []
    for name, one in out.classes.items():
        a, b = mine.get(name), theirs.get(name)
        if a is not None and b is not None:
            both = int((a & b).sum())
            either = int(a.sum()) + int(b.sum()) - both
            one.both += both
            one.either += either
            ious.append(both / either)
        elif a is not None or b is not None:
            one.either += int((a if a is not None else b).sum())  # type: ignore[union-attr]
            ious.append(0.0)
        one.right += a is not None and b is not None
        one.wrong += a is not None and b is None
        one.missed += a is None and b is not None
        if record.presence is not None:
            one.shares.append((float(record.presence.get(name, 0.0)), b is not None))
    if ious:
        out.ious.append((sum(ious) / len(ious), record.name))


def _confusion(record: Record, true: Record, names: Mapping[str, str]) -> NDArray[np.int64]:
    labels, truth = painted(record, names), painted(true, names)
    if true.void is not None:
        truth[true.void.array()] = VOID
    return confusion(labels, truth, len(names) + 1, VOID)[:, :-1]


def painted(record: Record, names: Mapping[str, str]) -> NDArray[np.uint16]:
    """The index (H, W) of each pixel's class in ``names``, later regions on top; len(names) where there is none.

    Args:
        record: the image.
        names: the classes by their folded names, as ``fold`` gives them.
    """
    labels = np.full(record.size, len(names), np.uint16)
    numbers = {key: number for number, key in enumerate(names)}
    for one in record.regions:
        number = numbers.get(fold(one.label))
        if number is not None:
            labels[one.mask.array()] = number
    return labels


def _unions(
    record: Record, names: Mapping[str, str], valid: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.bool_]]:
    """The valid pixels of each class; classes without any are left out."""
    found: dict[str, NDArray[np.bool_]] = {}
    for one in record.regions:
        name = names.get(fold(one.label))
        if name is not None:
            mask = one.mask.array() if valid is None else one.mask.array() & valid
            found[name] = found[name] | mask if name in found else mask
    return {name: mask for name, mask in found.items() if mask.any()}


def _ratio(part: int, whole: int) -> float:
    """NaN if the whole is 0."""
    return part / whole if whole else math.nan


def _percent(value: float) -> str:
    return "     -" if math.isnan(value) else f"{100 * value:6.2f}"
