"""Photographs with regions: what a prompt may mean.

A picture has labels (H, W), whole numbers with 0 for "not labelled", and for each number its name. In sets of
instances a number is one object, however many parts it is seen in; in sets of classes it is a class, and an
object is a connected part of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from small_clip.words import spoken

UNKNOWN = 0
VOID = 255
HELD_OUT = {"bsds500_regions": 8}  # the last ones, as for the embedded SAM
UNUSED = {"msrc_v2": {"horse", "mountain"}}  # classes that the owners of a set say to leave out
SHARES = {
    "voc2012_sharp": 0.40,
    "ade20k_sharp": 0.22,
    "coco_instances": 0.18,
    "msrc_v2": 0.14,
    "bsds500_regions": 0.06,
}
"""Share of each set among the crops."""
SMALLEST = 0.004  # share of the crop below which a region is no target
LARGEST = 0.92


@dataclass
class Picture:
    """One labelled picture.

    Attributes:
        key: set and name.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint16; 0 is not labelled.
        names: of each label that stands for a word; "background" has none, it is no target.
        objects: whether a label is one object.
        maps: the product's map of each name, (h, w) log odds on CLIP's grid.
    """

    key: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint16]
    names: dict[int, str]
    objects: bool = False
    maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass
class Crop:
    """A square part of a picture, S x S pixels.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        labels: (S, S) uint16.
        picture: where it comes from.
        corner, side: of the part in pixels of the picture, x, y and length; the part may reach beyond it.
        mirrored: whether it was turned left to right.
        inside: (S, S) bool, what is picture.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint16]
    picture: Picture
    corner: tuple[float, float]
    side: float
    mirrored: bool
    inside: NDArray[np.bool_]

    def of_map(self, values: NDArray[np.float32], outside: float) -> NDArray[np.float32]:
        """The same part of a map of the whole picture, (S, S)."""
        height, width = self.picture.labels.shape
        sy, sx = values.shape[0] / height, values.shape[1] / width
        step = self.side / len(self.labels)
        # Pixel centres: crop's (i + .5) * step + corner in the picture, times the map's scale, less .5.
        matrix = np.array(
            [
                [step * sx, 0, (0.5 * step + self.corner[0]) * sx - 0.5],
                [0, step * sy, (0.5 * step + self.corner[1]) * sy - 0.5],
            ]
        )
        part = cv2.warpAffine(
            values.astype(np.float32),
            matrix,
            self.labels.shape[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        part = part[:, ::-1] if self.mirrored else part
        return np.where(self.inside, part, np.float32(outside))

    def of_points(self, xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points in pixels of the picture as points in pixels of the crop, also those outside it."""
        out = (xy - np.array(self.corner, np.float32)) * (len(self.labels) / self.side)
        if self.mirrored:
            out[:, 0] = len(self.labels) - out[:, 0]
        return out


def read_pictures(photos: Path, name: str) -> list[Picture]:
    """The training part of one set."""
    folder = photos / name
    stems = (folder / "train.txt").read_text().split()
    stems = stems[: len(stems) - HELD_OUT.get(name, 0)]
    return list(_objects(folder, stems) if name == "coco_instances" else _classes(folder, stems))


def _image(folder: Path, stem: str) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(folder / "images" / f"{stem}.jpg"))[..., ::-1].copy())


def _objects(folder: Path, stems: list[str]) -> Iterator[Picture]:
    known = json.loads((folder / "segments.json").read_text())
    for stem in stems:
        labels = cv2.imread(str(folder / "segments" / f"{stem}.png"), cv2.IMREAD_UNCHANGED).astype(np.uint16)
        names = {one["id"]: spoken(one["name"]) for one in known[stem] if not one["crowd"]}
        labels[np.isin(labels, [one["id"] for one in known[stem] if one["crowd"]])] = UNKNOWN
        yield Picture(f"{folder.name}/{stem}", _image(folder, stem), labels, names, objects=True)


def _classes(folder: Path, stems: list[str]) -> Iterator[Picture]:
    classes = (folder / "classes.txt").read_text().splitlines()
    left_out = {"background", *UNUSED.get(folder.name, ())}
    for stem in stems:
        mask = cv2.imread(str(folder / "masks" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        labels = np.where(mask == VOID, UNKNOWN, mask.astype(np.uint16) + 1).astype(np.uint16)
        there = {int(k) for k in np.unique(labels)} - {UNKNOWN}
        names = {k: spoken(classes[k - 1]) for k in there if classes[k - 1] not in left_out}
        yield Picture(f"{folder.name}/{stem}", _image(folder, stem), labels, names)


def draw_crop(picture: Picture, side: int, rng: np.random.Generator) -> Crop:
    """A random square of a picture at ``side`` pixels, with other colours, perhaps mirrored."""
    height, width = picture.labels.shape
    longest = max(height, width)
    length = longest * math.exp(rng.uniform(math.log(0.36), math.log(1.02)))
    corner = tuple(
        rng.uniform(0, size - length) if size > length else (size - length) * rng.uniform(0, 1)
        for size in (width, height)
    )
    mirrored = bool(rng.random() < 0.5)
    step = length / side
    matrix = np.array([[step, 0, 0.5 * step + corner[0] - 0.5], [0, step, 0.5 * step + corner[1] - 0.5]])
    source = picture.image
    if step > 1.5:  # a blur stands for the mean over the pixels that become one
        source = cv2.GaussianBlur(source, (0, 0), 0.4 * step)
    flags = cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(
        source, matrix, (side, side), flags=flags | cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    labels = cv2.warpAffine(
        picture.labels, matrix, (side, side), flags=flags | cv2.INTER_NEAREST, borderValue=UNKNOWN
    )
    inside = cv2.warpAffine(
        np.ones((height, width), np.uint8), matrix, (side, side), flags=flags | cv2.INTER_NEAREST
    )
    if mirrored:
        image, labels, inside = (u[:, ::-1] for u in (image, labels, inside))
    image = np.where(inside[..., None] > 0, recoloured(image, rng), 128).astype(np.uint8)
    return Crop(image, np.ascontiguousarray(labels), picture, corner, length, mirrored, inside > 0)


def recoloured(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Other brightness, contrast, saturation and tint; (H, W, 3) in 0..255."""
    pixels = image.astype(np.float32)
    grey = pixels.mean(-1, keepdims=True)
    pixels = grey + (pixels - grey) * rng.uniform(0.6, 1.4)
    mean = pixels.mean()
    pixels = (pixels - mean) * rng.uniform(0.75, 1.3) + mean + rng.uniform(-20, 20) + rng.normal(0, 4, 3)
    return np.clip(pixels, 0, 255)


def draw_region(crop: Crop, rng: np.random.Generator, large: float = 0.5) -> NDArray[np.bool_] | None:
    """A region of a crop as a target, (S, S) bool; None where the crop has none.

    Args:
        crop: from ``draw_crop``.
        rng: draws it.
        large: chance that the region is drawn by its area, so that stuff and large objects come as often as
            small ones do.
    """
    found = regions(crop)
    if not found:
        return None
    areas = np.array([np.count_nonzero(one) for one in found], float)
    odds = areas if rng.random() < large else np.ones(len(areas))
    return found[int(rng.choice(len(found), p=odds / odds.sum()))]


def regions(crop: Crop) -> list[NDArray[np.bool_]]:
    """Every object and every connected part of stuff that is neither tiny nor nearly the whole crop."""
    picture, out = crop.picture, []
    least, most = SMALLEST * crop.labels.size, LARGEST * crop.labels.size
    for label in np.unique(crop.labels):
        if int(label) not in picture.names:
            continue
        mask = crop.labels == label
        parts = [mask]
        if not picture.objects:
            count, numbered = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            parts = [numbered == k for k in range(1, count)] if count > 2 else [mask]
        out += [part for part in parts if least <= np.count_nonzero(part) <= most]
    return out
