"""Large images in windows: where they lie, and one map from theirs by averaging the overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.errors import UsageError

Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels, bottom and right exclusive


def windows(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> list[Box]:
    """Windows (height, width) every ``stride`` pixels over an image of ``size``, row by row.

    The last of a row or column is moved back to end at the image's edge; an image smaller than
    the window in one direction gets one window as long as itself there.
    """
    rows, columns = (_spans(s, w, d) for s, w, d in zip(size, window, stride, strict=True))
    return [(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def _spans(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    if window < 1 or not 1 <= stride <= window:
        raise UsageError(f"wanted 1 <= stride <= window, got stride {stride} and window {window}")
    count = max(0, -(-(length - window) // stride)) + 1
    starts = [max(0, min(i * stride, length - window)) for i in range(count)]
    return [(start, min(start + window, length)) for start in starts]


def sliding(
    images: Sequence[Tensor] | Tensor,
    window: tuple[int, int],
    stride: tuple[int, int],
    score: Callable[[Tensor], Tensor],
    batch: int = 8,
) -> list[Tensor]:
    """Mean of the windows' maps wherever they overlap.

    ``images`` (3, H, W) each, of any sizes; ``score`` gives (n, K, h, w) maps of n windows, which are
    resized to the window; -> a map (K, H, W) per image. ``batch`` windows go through at once, also
    of different images.
    """
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    boxes = [windows(size, window, stride) for size in sizes]
    totals: list[Tensor] = []
    for part in _chunks([(i, box) for i, inside in enumerate(boxes) for box in inside], batch):
        crops = torch.stack([images[i][:, t:b, le:r] for i, (t, le, b, r) in part])
        maps = score(crops)
        maps = F.interpolate(maps, size=crops.shape[-2:], mode="bilinear", align_corners=False)
        if not totals:
            totals = [maps.new_zeros(maps.shape[1], *size) for size in sizes]
        for (i, (top, left, bottom, right)), window_map in zip(part, maps, strict=True):
            totals[i][:, top:bottom, left:right] += window_map
    for total, inside in zip(totals, boxes, strict=True):
        count = total.new_zeros(1, *total.shape[1:])
        for top, left, bottom, right in inside:
            count[:, top:bottom, left:right] += 1
        total.div_(count)
    return totals


def _chunks(jobs: list[tuple[int, Box]], size: int) -> Iterator[list[tuple[int, Box]]]:
    """At most ``size`` windows of one shape each, in order: a small image has windows of its own shape."""
    shapes: dict[tuple[int, int], list[tuple[int, Box]]] = {}
    for index, box in jobs:
        shapes.setdefault((box[2] - box[0], box[3] - box[1]), []).append((index, box))
    for alike in shapes.values():
        for start in range(0, len(alike), size):
            yield alike[start : start + size]
