"""Prompts made from the true mask, and words: what tools/interactive.py asks for under --truth and --words.

A region is an object where the data tell objects apart (segments.json), otherwise a connected part of a class; those
below 1 % of the picture or above 90 % are left out. Its clicks are where a person would click: the first on the
place farthest from its border, the others far from those, and as many beside it, near its border.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from small_clip.words import spoken

import ovseg
from ovseg.evaluation.data.samples import SampleSet, read_lines
from ovseg.files.pictures import load_image
from ovseg.metrics import mask_iou
from ovseg.segmenters.base import Embedding, MaskSet, Segmenter

Mask = NDArray[np.bool_]
SMALLEST, LARGEST = 0.01, 0.9
GOAL, MOST = 0.85, 12
"""Clicks are added until the IoU reaches the first, at most so many as the second."""
BINS = 10


class Region(NamedTuple):
    """One true object: image (H, W, 3), mask (H, W) and the pixels that count (H, W)."""

    image: NDArray[np.uint8]
    mask: Mask
    valid: Mask


def parts_of(samples: SampleSet) -> Iterator[Region]:
    """The connected parts of each label."""
    for sample in samples:
        for mask in sample.masks.values():
            count, numbered = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            for part in (numbered == k for k in range(1, count)):
                # The other parts of the label do not count: nothing says that they are other objects.
                if SMALLEST <= part.mean() <= LARGEST:
                    yield Region(sample.image, part, sample.valid & (part | ~mask))


def objects_of(folder: Path, split: str) -> Iterator[Region]:
    """The segments of a folder with images/, segments/, segments.json and SPLIT.txt."""
    known = json.loads((folder / "segments.json").read_text(encoding="utf-8"))
    for stem in read_lines(folder / f"{split}.txt"):
        image = load_image(folder / "images" / f"{stem}.jpg")
        numbers = cv2.imread(str(folder / "segments" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        for one in known[stem]:
            mask = numbers == one["id"]
            if one["thing"] and not one["crowd"] and SMALLEST <= mask.mean() <= LARGEST:
                yield Region(image, mask, numbers > 0)


def clicks(mask: Mask, count: int) -> NDArray[np.float32]:
    """Up to ``count`` points (x, y) in a mask: the place farthest from its border, then far from those."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.nonzero(depth >= 0.5 * depth.max())
    found = [int(np.argmax(depth[y, x]))]
    nearest = np.full(len(y), np.inf)
    while len(found) < min(count, len(y)):
        nearest = np.minimum(nearest, (y - y[found[-1]]) ** 2 + (x - x[found[-1]]) ** 2)
        found.append(int(np.argmax(nearest)))
    return np.stack([x[found], y[found]], axis=-1).astype(np.float32) + 0.5


def beside(region: Region, count: int) -> NDArray[np.float32]:
    """Up to ``count`` points in the ring around a region, as wide as a third of its size."""
    away = cv2.distanceTransform((~region.mask).astype(np.uint8), cv2.DIST_L2, 5)
    reach = max(6.0, np.sqrt(np.count_nonzero(region.mask)) / 3)
    ring = (away > 2) & (away <= reach) & region.valid
    return clicks(ring, count) if ring.any() else np.zeros((0, 2), np.float32)


def bounds(mask: Mask) -> tuple[float, float, float, float]:
    """The box around a mask, x0, y0, x1, y1."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


class Answered(NamedTuple):
    """The IoU of the mask that the segmenter prefers, its score, and the best IoU of all candidates."""

    iou: float
    score: float
    best: float


def judged(found: MaskSet, region: Region) -> Answered:
    """Compare a segmenter's candidates with the truth."""
    ious = [mask_iou(mask, region.mask, region.valid) for mask in found.masks]
    return Answered(ious[found.best], float(found.scores[found.best]), max(ious))


def ask(segmenter: Segmenter, region: Region) -> dict[str, Answered]:
    """The answers to one click, to three on each side, and to the box."""
    embedding = segmenter.encode(region.image)
    on, off = clicks(region.mask, 3), beside(region, 3)
    labels = [1] * len(on) + [0] * len(off)
    found = {
        "one click": segmenter.decode(embedding, points=on[:1]),
        "three on each side": segmenter.decode(embedding, points=np.concatenate([on, off]), labels=labels),
        "box": segmenter.decode(embedding, box=bounds(region.mask)),
    }
    return {name: judged(one, region) for name, one in found.items()}


def clicks_to_goal(segmenter: Segmenter, region: Region) -> int:
    """How many clicks it takes to reach ``GOAL``, each in the middle of the largest error; ``MOST`` if more."""
    embedding: Embedding = segmenter.encode(region.image)
    points, labels, logits = clicks(region.mask, 1), [1], None
    for count in range(1, MOST):
        found = segmenter.decode(embedding, points=points, labels=labels, mask=logits)
        mask = found.mask(found.best)
        if mask_iou(mask, region.mask, region.valid) >= GOAL:
            return count
        logits = found.logits[found.best]
        wrong = (mask != region.mask) & region.valid
        (place,) = clicks(_largest(wrong), 1)
        points = np.concatenate([points, place[None]])
        labels.append(int(region.mask[int(place[1]), int(place[0])]))
    return MOST


def _largest(mask: Mask) -> Mask:
    count, numbered = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    areas = np.bincount(numbered.ravel(), minlength=count)
    areas[0] = 0
    return numbered == int(areas.argmax())


def measure_truth(segmenter: Segmenter, regions: Sequence[Region]) -> dict[str, dict[str, float]]:
    """For each kind of prompt the mean IoU, shares of IoUs, the best candidate, and how good the score is."""
    answers: dict[str, list[Answered]] = {}
    needed = []
    for region in regions:
        for name, one in ask(segmenter, region).items():
            answers.setdefault(name, []).append(one)
        needed.append(clicks_to_goal(segmenter, region))
    rows = {name: summary(found) for name, found in answers.items()}
    for row in rows.values():
        row["clicks to .85"] = float(np.mean(needed))
    return rows


def measure_words(
    model: ovseg.Model, segmenter: Segmenter, samples: SampleSet, options: dict
) -> dict[str, float]:
    """The labels of each picture asked for by name, together: the union of a word's masks with its truth."""
    finder = ovseg.TextToMask(model, segmenter, **options)
    answers, found_words, words, small = [], 0, 0, []
    for sample in samples:
        names = list(sample.masks)
        asked = finder.predict_texts(sample.image, [spoken(name) for name in names]) if names else []
        for name, found in zip(names, asked, strict=True):
            iou = mask_iou(found.union, sample.masks[name], sample.valid)
            words, found_words = words + 1, found_words + bool(len(found))
            answers.append(Answered(iou, float(found.scores.max(initial=0)), iou))
            if sample.masks[name].mean() < 0.02:
                small.append(iou)
    row = summary(answers)
    del row["best candidate"]
    return row | {"found": 100 * found_words / max(1, words), "below 2 %": 100 * float(np.mean(small or [0]))}


def summary(answers: Sequence[Answered]) -> dict[str, float]:
    """Means in percent; correlation and calibration error of the score over the answers that have one."""
    ious, scores, best = (np.array(column, float) for column in zip(*answers, strict=True))
    given = scores > 0
    return {
        "number": float(len(ious)),
        "IoU": 100 * float(ious.mean()),
        "at least .5": 100 * float((ious >= 0.5).mean()),
        "at least .75": 100 * float((ious >= 0.75).mean()),
        "best candidate": 100 * float(best.mean()),
        "score": 100 * float(scores[given].mean()),
        "correlation": 100 * float(np.corrcoef(ious[given], scores[given])[0, 1]),
        "calibration error": 100 * calibration_error(ious[given], scores[given]),
    }


def calibration_error(ious: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """Expected calibration error: by tenths of the score, how far its mean is from that of the IoU."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    return float(
        sum(abs(ious[bins == k].sum() - scores[bins == k].sum()) for k in np.unique(bins)) / len(ious)
    )
