"""What tools/train_tiny_sam.py shows to the embedded SAM: crops with objects, and prompts for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.evaluation.data.scenes import make_scene
from ovseg.metrics import VOID

# Share of the photograph crops, and the index that is no object of its own.
PHOTO_SETS = {
    "msrc_v2": (0.3, None),
    "camvid": (0.12, None),
    "coco_things_train": (0.25, 0),
    "coco128_things": (0.15, 0),
    "bsds500_regions": (0.18, None),
}
HELD_OUT = {"bsds500_regions": 8}
SMALLEST = 0.006  # share of the picture below which a region is no target


@dataclass
class Crop:
    """One training picture: pixels (3, S, S) uint8, masks (M, S, S) uint8: 1 object, 0 not, VOID unknown.

    ``inside`` (S, S) bool: what is picture and not padding.
    """

    pixels: np.ndarray
    masks: np.ndarray
    inside: np.ndarray


class Pictures:
    """Pictures with label maps; ``ignored`` is an index that is background for others but no object."""

    def __init__(self, images: list[np.ndarray], labels: list[np.ndarray], ignored: int | None) -> None:
        self.images, self.labels, self.ignored = images, labels, ignored

    def crop(self, rng: np.random.Generator, side: int, prompts: int) -> Crop:
        """A random crop, its long side grown or shrunk to ``side``, padded to the square as SAM does."""
        while True:
            index = int(rng.integers(len(self.images)))
            image, labels = self.images[index], self.labels[index]
            height, width = labels.shape
            scale = math.exp(rng.uniform(math.log(0.35), 0))
            stretch = math.exp(rng.uniform(-0.3, 0.3))
            h = int(np.clip(height * scale * stretch, 24, height))
            w = int(np.clip(width * scale / stretch, 24, width))
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            part = labels[top : top + h, left : left + w]
            regions = self._regions(part)
            if regions:
                break
        size = (max(1, round(w * side / max(h, w))), max(1, round(h * side / max(h, w))))
        how = cv2.INTER_AREA if max(h, w) > side else cv2.INTER_LINEAR
        pixels = cv2.resize(image[top : top + h, left : left + w], size, interpolation=how)
        chosen = [regions[i] for i in rng.integers(len(regions), size=prompts)]
        masks = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in chosen]
        if rng.random() < 0.5:
            pixels, masks = pixels[:, ::-1], [mask[:, ::-1] for mask in masks]
        square = np.zeros((side, side, 3), np.uint8)
        square[: size[1], : size[0]] = recolour(pixels, rng)
        inside = np.zeros((side, side), bool)
        inside[: size[1], : size[0]] = True
        padded = np.full((prompts, side, side), VOID, np.uint8)
        padded[:, : size[1], : size[0]] = masks
        padded[(padded == 1).sum((1, 2)) == 0] = VOID  # vanished by shrinking: nothing to learn from
        return Crop(square.transpose(2, 0, 1), padded, inside)

    def _regions(self, labels: np.ndarray) -> list[np.ndarray]:
        """Connected parts of each class, 1 inside, VOID where unknown; now and then a whole class as one."""
        found = []
        for k in np.unique(labels):
            if k in (VOID, self.ignored):
                continue
            mask = (labels == k).astype(np.uint8)
            _, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            for index, area in enumerate(stats[1:, cv2.CC_STAT_AREA], 1):
                if SMALLEST * labels.size <= area <= 0.85 * labels.size and area >= 40:
                    region = (parts == index).astype(np.uint8)
                    region[labels == VOID] = VOID
                    found.append(region)
        return found


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation and tint; (H, W, 3) uint8."""
    pixels = image.astype(np.float32)
    grey = pixels.mean(-1, keepdims=True)
    pixels = grey + (pixels - grey) * rng.uniform(0.6, 1.4)
    mean = pixels.mean()
    pixels = (pixels - mean) * rng.uniform(0.7, 1.3) + mean + rng.uniform(-25, 25) + rng.normal(0, 5, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def read_photos(folder: Path, ignored: int | None, held_out: int) -> Pictures:
    images, labels = [], []
    stems = (folder / "train.txt").read_text().split()
    for stem in stems[: len(stems) - held_out]:
        image = cv2.imread(str(folder / "images" / f"{stem}.jpg"))[..., ::-1]
        label = cv2.imread(str(folder / "masks" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        scale = min(1.0, 400 / max(label.shape))  # crops are shrunk to 128 anyhow
        size = (round(label.shape[1] * scale), round(label.shape[0] * scale))
        images.append(cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA))
        labels.append(cv2.resize(label, size, interpolation=cv2.INTER_NEAREST))
    return Pictures(images, labels, ignored)


def read_scenes(seed: int, count: int) -> Pictures:
    scenes = [make_scene(seed + i, (128, 168) if i % 2 else (160, 128)) for i in range(count)]
    return Pictures([s.image for s in scenes], [s.labels for s in scenes], None)


# --------------------------------------------------------------------------------------- prompts


def clicks(
    masks: np.ndarray, rng: np.random.Generator, positives: int, negatives: int
) -> tuple[Tensor, Tensor]:
    """(N, P, 2) and (N, P): positives inside, half of the time well inside; negatives beside, mostly near."""
    points = np.zeros((len(masks), positives + negatives, 2), np.float32)
    labels = np.full((len(masks), positives + negatives), -1, np.int64)  # -1: SAM's padding
    for n, mask in enumerate(masks):
        inside = (mask == 1).astype(np.uint8)
        if not inside.any():
            continue
        depth = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        deep = depth >= (0.5 * depth.max() if rng.random() < 0.6 else 1)
        away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
        reach = max(4.0, 0.7 * math.sqrt(inside.sum())) if rng.random() < 0.7 else np.inf
        beside = (mask == 0) & (away > 2) & (away < reach)
        for places, first, count, label in (
            (deep, 0, positives, 1),
            (beside, positives, negatives, 0),
        ):
            spots = np.flatnonzero(places)
            if count and len(spots):
                y, x = np.divmod(spots[rng.integers(len(spots), size=count)], mask.shape[1])
                points[n, first : first + count] = np.stack([x, y], -1) + 0.5
                labels[n, first : first + count] = label
    return torch.from_numpy(points), torch.from_numpy(labels)


def boxes(masks: np.ndarray, rng: np.random.Generator) -> Tensor:
    """(N, 4) bounds of each object, every side moved by up to a tenth of the box."""
    out = np.zeros((len(masks), 4), np.float32)
    for n, mask in enumerate(masks):
        rows, columns = np.flatnonzero((mask == 1).any(1)), np.flatnonzero((mask == 1).any(0))
        if len(rows):
            box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
            size = np.tile(box[2:] - box[:2], 2)
            out[n] = np.clip(box + rng.uniform(-0.1, 0.1, 4) * size, 0, mask.shape[0])
    return torch.from_numpy(out)


def coarse_maps(masks: np.ndarray, rng: np.random.Generator, low: int) -> Tensor:
    """(N, 1, low, low) logits like ``SegmentAnything.prior``'s of a CLIP map: blurred, noisy, moved."""
    out = np.full((len(masks), 1, low, low), -10, np.float32)
    for n, mask in enumerate(masks):
        known = np.flatnonzero((mask != VOID).any(1)), np.flatnonzero((mask != VOID).any(0))
        if not (mask == 1).any():
            continue
        height, width = known[0][-1] + 1, known[1][-1] + 1
        cells = int(rng.integers(10, 26))
        grid = (max(2, round(width * cells / len(mask))), max(2, round(height * cells / len(mask))))
        values = cv2.resize(
            (mask[:height, :width] == 1).astype(np.float32), grid, interpolation=cv2.INTER_AREA
        )
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.3, 1.3))
        values = np.roll(values, rng.integers(-1, 2, 2), (0, 1)) if rng.random() < 0.3 else values
        noise = cv2.GaussianBlur(rng.normal(size=values.shape), (0, 0), rng.uniform(0.5, 2))
        values = values / max(values.max(), 1e-6) + noise / max(noise.std(), 1e-6) * rng.uniform(0, 0.25)
        values = (values - values.min()) / max(float(np.ptp(values)), 1e-6)
        values = values + rng.uniform(-0.15, 0.15)
        shape = (max(1, round(height * low / len(mask))), max(1, round(width * low / len(mask))))
        fine = cv2.resize(values.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
        out[n, 0, : shape[0], : shape[1]] = (fine.clip(0, 1) - 0.5) * 20
    return torch.from_numpy(out)


def error_clicks(logits: Tensor, masks: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """One click (N, 1, 2), (N, 1) on a pixel that each mask (N, low, low) has wrong; -1 where none is."""
    side = masks.shape[-1]
    full = F.interpolate(logits[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0] > 0
    points, labels = np.zeros((len(masks), 1, 2), np.float32), np.full((len(masks), 1), -1, np.int64)
    for n, (guess, mask) in enumerate(zip(full.numpy(), masks, strict=True)):
        wrong = ((guess != (mask == 1)) & (mask != VOID)).astype(np.uint8)
        depth = cv2.distanceTransform(np.pad(wrong, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        spots = np.flatnonzero(depth >= max(1.0, 0.6 * depth.max()))
        if len(spots):
            y, x = np.divmod(spots[rng.integers(len(spots))], side)
            points[n, 0], labels[n, 0] = (x + 0.5, y + 0.5), mask[y, x]
    return torch.from_numpy(points), torch.from_numpy(labels)
