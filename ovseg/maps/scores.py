"""Scores of every text at every place, kept small and enlarged row by row.

A label map of a large photograph needs the score of every text at every pixel, but never at all pixels at
once. So the scores stay on token grids, of the whole image or of its windows, and ``render`` gives any rows
of the map at any size. All maps are bilinear with aligned pixel centres.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.errors import UsageError

BAND_VALUES = 2**24
"""Scores (texts x pixels) that are held at once on the way to a label map, 64 MB in float32."""


class ScoreMap(Protocol):
    """Scores of T texts over a map of ``size`` (height, width)."""

    @property
    def texts(self) -> int:
        """T."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the map."""
        ...

    def rows(self, index: Tensor) -> Tensor:
        """The rows ``index`` (R,) int64, on the CPU and ascending: (T, R, width)."""
        ...


@dataclass(frozen=True)
class GridScores:
    """The scores of a whole image on its token grid: ``grid`` (T, h, w)."""

    grid: Tensor

    @property
    def texts(self) -> int:
        return self.grid.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        return (self.grid.shape[1], self.grid.shape[2])

    def rows(self, index: Tensor) -> Tensor:
        return self.grid[:, index.to(self.grid.device)]


@dataclass(frozen=True)
class WindowScores:
    """The mean of the windows' maps wherever they overlap, at the size of the resized image.

    Attributes:
        size: (height, width) of the image that was cut into windows, in pixels.
        boxes: where each window lies.
        grids: the scores of each window on its token grid, (T, h, w).
    """

    size: tuple[int, int]
    boxes: Sequence[Box]
    grids: Sequence[Tensor]

    @property
    def texts(self) -> int:
        return self.grids[0].shape[0]

    def rows(self, index: Tensor) -> Tensor:
        total = self.grids[0].new_zeros(self.texts, len(index), self.size[1])
        count = total.new_zeros(1, len(index), self.size[1])
        for (top, left, bottom, right), grid in zip(self.boxes, self.grids, strict=True):
            first, last = (int(torch.searchsorted(index, edge)) for edge in (top, bottom))
            if first == last:
                continue
            inside = index[first:last] - top
            total[:, first:last, left:right] += _rows(GridScores(grid), (bottom - top, right - left), inside)
            count[:, first:last, left:right] += 1
        return total / count


@dataclass(frozen=True)
class Resized:
    """``scores`` at another size."""

    scores: ScoreMap
    size: tuple[int, int]

    @property
    def texts(self) -> int:
        return self.scores.texts

    def rows(self, index: Tensor) -> Tensor:
        return _rows(self.scores, self.size, index)


@dataclass(frozen=True)
class Cropped:
    """The part of ``scores`` inside ``box``."""

    scores: ScoreMap
    box: Box

    @property
    def texts(self) -> int:
        return self.scores.texts

    @property
    def size(self) -> tuple[int, int]:
        top, left, bottom, right = self.box
        return (bottom - top, right - left)

    def rows(self, index: Tensor) -> Tensor:
        return self.scores.rows(index + self.box[0])[:, :, self.box[1] : self.box[3]]


@dataclass(frozen=True)
class Flipped:
    """``scores`` mirrored, left to right (``horizontal``), top to bottom (``vertical``), or both."""

    scores: ScoreMap
    horizontal: bool
    vertical: bool

    @property
    def texts(self) -> int:
        return self.scores.texts

    @property
    def size(self) -> tuple[int, int]:
        return self.scores.size

    def rows(self, index: Tensor) -> Tensor:
        if self.vertical:
            values = self.scores.rows((self.size[0] - 1 - index).flip(0)).flip(1)
        else:
            values = self.scores.rows(index)
        return values.flip(2) if self.horizontal else values


def render(scores: ScoreMap, size: tuple[int, int], rows: range | None = None) -> Tensor:
    """Rows of the map at ``size``: bilinear, pixel centres aligned.

    Args:
        scores: T maps of any size.
        size: (height, width) wanted.
        rows: which rows of it; None for all.

    Returns:
        (T, len(rows), width), on the scores' device.

    >>> render(GridScores(torch.tensor([[[0.0, 1.0]]])), (1, 4))
    tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    wanted = range(size[0]) if rows is None else rows
    return _rows(scores, size, torch.arange(wanted.start, wanted.stop))


def bands(scores: ScoreMap, size: tuple[int, int]) -> Iterator[Tensor]:
    """The map at ``size`` from the top down, in bands (T, rows, width) of at most ``BAND_VALUES`` scores."""
    height, width = size
    step = max(1, BAND_VALUES // (width * scores.texts))
    for top in range(0, height, step):
        yield render(scores, size, range(top, min(top + step, height)))


def _rows(scores: ScoreMap, size: tuple[int, int], index: Tensor) -> Tensor:
    height = scores.size[0]
    if size[0] == height:
        band = scores.rows(index)
    else:
        place = ((index.float() + 0.5) * (height / size[0]) - 0.5).clamp(0, height - 1)
        upper = place.floor().long()
        lower = (upper + 1).clamp_max(height - 1)
        needed = torch.unique(torch.cat([upper, lower]))  # ascending
        values = scores.rows(needed)
        above, below = (torch.searchsorted(needed, row).to(values.device) for row in (upper, lower))
        share = (place - upper).to(values)[:, None].expand(-1, values.shape[2])
        band = torch.lerp(values[:, above], values[:, below], share)
    if band.shape[2] == size[1]:
        return band
    return F.interpolate(band[None], (band.shape[1], size[1]), mode="bilinear", align_corners=False)[0]


Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels, bottom and right exclusive."""


def windows(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> list[Box]:
    """Windows over an image, row by row.

    The last window of a row or column is moved back so that it ends at the image's edge. Where the image is
    smaller than the window there is one window as long as the image.

    Args:
        size: (height, width) of the image in pixels.
        window: (height, width) of a window.
        stride: distance between two windows, (vertical, horizontal), at most the window.

    Raises:
        UsageError: a stride is below 1 or beyond the window.

    >>> windows((4, 10), (4, 4), (4, 4))
    [(0, 0, 4, 4), (0, 4, 4, 8), (0, 6, 4, 10)]
    """
    rows, columns = (_spans(s, w, d) for s, w, d in zip(size, window, stride, strict=True))
    return [(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def _spans(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    if window < 1 or not 1 <= stride <= window:
        raise UsageError(f"expected 1 <= stride <= window, got stride {stride} and window {window}")
    count = max(0, -(-(length - window) // stride)) + 1
    starts = [max(0, min(i * stride, length - window)) for i in range(count)]
    return [(start, min(start + window, length)) for start in starts]
