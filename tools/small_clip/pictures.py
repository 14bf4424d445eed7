"""Photographs for training: each window of a picture with the names in it, cell by cell.

Every picture is seen through windows of 256 px: resized, mirrored and shifted at random. A window's labels
are kept as the share of each class in each cell of the trunk's grid. A set's names are its own: what a set
does not name ("background", unlabelled) says nothing of the names of other sets. The background of sets that
label objects only stands for a group of scenery words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.words.vocabulary import load_vocabulary
from small_clip.words import spoken

WINDOW, CELL, VOID = 256, 16, 255
GRID = WINDOW // CELL
MASKED = (
    "voc2012",
    "ade20k",
    "coco_panoptic_train",
    "coco_things_train",
    "coco128_things",
    "msrc_v2",
    "camvid",
)
NAMED = ("imagenet_samples", "caltech101")
CAPTIONED = "flickr8k_captions"
HEAVIEST = 10.0  # weight of a class; the rarest ones would otherwise rule the loss
UNUSED = {"msrc_v2": {"horse", "mountain"}}  # classes of a set that its owners say to leave out
OFTEN = {"voc2012": 1.5, "ade20k": 4.0, "msrc_v2": 1.2, "camvid": 1.0, "coco_panoptic_train": 2.0,
         "imagenet_samples": 0.5, "caltech101": 0.5, "flickr8k_captions": 0.6}  # fmt: skip


@dataclass(frozen=True)
class PhotoSet:
    """The pictures of one set and its classes.

    Attributes:
        name: of the set.
        texts: the texts of its classes; several texts may belong to one class.
        owners: (T,) for each text, its class.
        images: (H, W, 3) uint8 RGB, each.
        labels: (H, W) uint8 class indices, VOID where nothing is said; or one index for a whole picture.
        weights: (C,) float32, what a class counts for in the loss of crops; 1 on the mean of all pixels.
    """

    name: str
    texts: list[str]
    owners: NDArray[np.int64]
    images: list[NDArray[np.uint8]]
    labels: list[NDArray[np.uint8] | int]
    weights: NDArray[np.float32]

    @property
    def classes(self) -> int:
        return int(self.owners.max()) + 1


class Window(NamedTuple):
    """One window: (256, 256, 3) uint8, and (16 * 16, C) float32 shares of the classes in each cell."""

    image: NDArray[np.uint8]
    shares: NDArray[np.float32]


def read_sets(photos: Path) -> list[PhotoSet]:
    """All sets, train parts only."""
    return [
        *(_masked(photos / name) for name in MASKED),
        *(_named(photos / name) for name in NAMED),
        _named(photos / CAPTIONED),
    ]


def draw_window(data: PhotoSet, index: int, rng: np.random.Generator) -> Window:
    """A random window of a picture. At its smallest scale the picture's short side is the window's."""
    image, label = data.images[index], data.labels[index]
    short = min(image.shape[:2])
    side = WINDOW * np.exp(rng.uniform(0, np.log(1.9 if min(short, 224) == 224 else 1.25)))
    stretch = np.exp(rng.uniform(-0.1, 0.1, 2))
    height, width = (max(WINDOW, round(n * side / short * s)) for n, s in zip(image.shape[:2], stretch))
    top, left = rng.integers(0, height - WINDOW + 1), rng.integers(0, width - WINDOW + 1)
    mirrored = rng.random() < 0.5
    part = _window(image, height, width, top, left, mirrored, cv2.INTER_LINEAR)
    gain, shift = np.exp(rng.uniform(-0.15, 0.15, 3) + rng.uniform(-0.2, 0.2)), rng.uniform(-15, 15)
    part = np.clip(part * gain + shift, 0, 255).astype(np.uint8)
    if isinstance(label, int):
        shares = np.zeros((GRID * GRID, data.classes), np.float32)
        shares[:, label] = 1
        return Window(part, shares)
    names = _window(label, height, width, top, left, mirrored, cv2.INTER_NEAREST)
    return Window(part, cell_shares(names, data.classes))


def cell_shares(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """Labels (256, 256) to the share of each class in each cell, (16 * 16, C); void counts for none."""
    rows, columns = np.indices(labels.shape) // CELL
    keep = labels != VOID
    index = (rows * GRID + columns)[keep] * classes + labels[keep]
    counts = np.bincount(index, minlength=GRID * GRID * classes)
    return (counts / CELL**2).astype(np.float32).reshape(GRID * GRID, classes)


def _window(
    picture: NDArray[np.uint8], height: int, width: int, top: int, left: int, mirrored: bool, how: int
) -> NDArray[np.uint8]:
    resized = cv2.resize(picture, (width, height), interpolation=how)[
        top : top + WINDOW, left : left + WINDOW
    ]
    return np.ascontiguousarray(resized[:, ::-1] if mirrored else resized)


def _read(path: Path) -> NDArray[np.uint8]:
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def _masked(folder: Path) -> PhotoSet:
    names = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    unused = [names.index(name) for name in UNUSED.get(folder.name, ())]
    images, labels = [], []
    for stem in (folder / "train.txt").read_text(encoding="utf-8").split():
        label = cv2.imread(str(folder / "masks" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        image = _read(folder / "images" / f"{stem}.jpg")
        label[np.isin(label, unused)] = VOID
        if label.shape != image.shape[:2]:
            raise SystemExit(
                f"expected masks of the pictures' size in {folder}, got {label.shape} for {stem}"
            )
        images.append(image)
        labels.append(label)
    weights = class_weights(labels, len(names))
    texts = [(spoken(name), k) for k, name in enumerate(names) if name != "background"]
    if "background" in names:
        scenery = load_vocabulary("voc21").texts[0]
        texts += [(word, names.index("background")) for word in scenery]
    owners = np.array([k for _, k in texts])
    return PhotoSet(folder.name, [t for t, _ in texts], owners, images, labels, weights)


def class_weights(labels: list[NDArray[np.uint8]], classes: int) -> NDArray[np.float32]:
    """Weights (C,) of classes: one over the root of their share of the pixels, so that rare ones count."""
    counts = sum(np.bincount(label[label != VOID], minlength=classes) for label in labels)
    shares = counts / np.sum(counts)
    weights = np.where(shares > 0, shares, 1.0) ** -0.5
    return (weights / (shares * weights).sum()).clip(max=HEAVIEST).astype(np.float32)


def _named(folder: Path) -> PhotoSet:
    rows = [row.split("\t") for row in (folder / "names.tsv").read_text(encoding="utf-8").splitlines()]
    texts = sorted({row[1] for row in rows})
    place = {text: k for k, text in enumerate(texts)}
    images = [_read(folder / "images" / f"{row[0]}.jpg") for row in rows]
    labels: list[NDArray[np.uint8] | int] = [place[row[1]] for row in rows]
    return PhotoSet(
        folder.name, texts, np.arange(len(texts)), images, labels, np.ones(len(texts), np.float32)
    )


def epoch(sets: list[PhotoSet], rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Set and picture of every picture once or more, as often as its set's weight says, in random order."""
    rows = []
    for number, data in enumerate(sets):
        often = OFTEN.get(data.name, 1.0)
        count = round(often * len(data.images))
        picks = np.concatenate([rng.permutation(len(data.images)) for _ in range(int(np.ceil(often)))])
        rows += [(number, int(index)) for index in picks[:count]]
    for place in rng.permutation(len(rows)):
        yield rows[place]
