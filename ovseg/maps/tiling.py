"""Large images in windows: where they lie, and one map from theirs by averaging the overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
    images: Tensor,
    window: tuple[int, int],
    stride: tuple[int, int],
    score: Callable[[Tensor], Tensor],
    batch: int = 8,
) -> Tensor:
    """Mean of the windows' maps wherever they overlap.

    ``images`` (B, 3, H, W); ``score`` gives (n, K, h, w) maps of n windows, which are resized to
    the window; -> (B, K, H, W). ``batch`` windows, also of different images, go through at once.
    """
    height, width = images.shape[-2:]
    boxes = windows((height, width), window, stride)
    jobs = [(index, box) for index in range(len(images)) for box in boxes]
    total: Tensor | None = None
    count = images.new_zeros(1, 1, height, width, dtype=torch.float32)
    for top, left, bottom, right in boxes:
        count[..., top:bottom, left:right] += 1
    for part in _chunks(jobs, batch):
        crops = torch.stack([images[i, :, t:b, le:r] for i, (t, le, b, r) in part])
        maps = score(crops)
        maps = F.interpolate(maps, size=crops.shape[-2:], mode="bilinear", align_corners=False)
        if total is None:
            total = maps.new_zeros(len(images), maps.shape[1], height, width)
        for (i, (top, left, bottom, right)), window_map in zip(part, maps, strict=True):
            total[i, :, top:bottom, left:right] += window_map
    assert total is not None  # there is at least one window
    return total.div_(count)


def _chunks(jobs: list[tuple[int, Box]], size: int) -> Iterator[list[tuple[int, Box]]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]
