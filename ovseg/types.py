"""What passes between the rooms of ovseg: frozen dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ImageTokens:
    """The projected tokens of a batch of images, not L2-normalised.

    ``patches`` (B, N, D) row-major over ``grid`` (h, w) with N = h * w; ``class_token`` (B, D) of
    the original path, equal to open_clip's own image feature.
    """

    patches: Tensor
    class_token: Tensor
    grid: tuple[int, int]

    def __post_init__(self) -> None:
        batch, count, width = self.patches.shape
        if count != self.grid[0] * self.grid[1] or self.class_token.shape != (batch, width):
            raise ValueError(
                f"patches {tuple(self.patches.shape)}, class_token {tuple(self.class_token.shape)} "
                f"and grid {self.grid} do not belong together"
            )


@dataclass(frozen=True)
class SimilarityMap:
    """How similar each place of an image is to each text.

    ``values`` (K, H, W) float32 in 0..1 at the image's size, min-max normalised per text (a map
    that is constant is 0 everywhere); ``grid_values`` (K, h, w) float32, the similarities on the token
    grid before normalisation; ``names`` the K texts.
    """

    values: np.ndarray
    grid_values: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.grid_values.ndim != 3:
            raise ValueError(
                f"wanted (K, H, W) and (K, h, w), got {self.values.shape} and {self.grid_values.shape}"
            )
        if not len(self.names) == len(self.values) == len(self.grid_values):
            raise ValueError(
                f"{len(self.names)} names for {len(self.values)} maps and {len(self.grid_values)} grids"
            )

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype, copy=bool(copy) or dtype is not None)

    def __getitem__(self, name: str) -> np.ndarray:
        """The (H, W) map of one text."""
        return self.values[self.names.index(name)]


@dataclass(frozen=True)
class LabelMap:
    """One class index per pixel.

    ``labels`` (H, W), uint8 for up to 255 classes and uint16 beyond; index k is ``names[k]``;
    ``void`` (the dtype's largest value) marks pixels that belong to no class.
    """

    labels: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"wanted (H, W) uint8 or uint16, got {self.labels.shape} {self.labels.dtype}")
        known = self.labels[self.labels != self.void]
        if known.size and int(known.max()) >= len(self.names):
            raise ValueError(f"label {int(known.max())} for {len(self.names)} names")

    @property
    def void(self) -> int:
        """The value of pixels that belong to no class."""
        return int(np.iinfo(self.labels.dtype).max)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.labels, dtype=dtype, copy=bool(copy) or dtype is not None)

    def mask(self, name: str) -> np.ndarray:
        """(H, W) bool: where the label is ``name``."""
        return np.asarray(self.labels == self.names.index(name))

    def shares(self) -> dict[str, float]:
        """The share of the image's pixels each name covers, largest first, names without pixels left out."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names))[: len(self.names)]
        order = sorted(np.flatnonzero(counts), key=lambda k: -counts[k])
        return {self.names[k]: float(counts[k]) / self.labels.size for k in order}


@dataclass(frozen=True)
class PointPrompts:
    """Clicks for a promptable segmenter: one set stands for one object.

    ``xy`` (P, 2) float32, (x, y) in pixels of the original image; ``labels`` (P,) uint8, 1 on the
    object and 0 beside it. Positives come first. P may be 0.
    """

    xy: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.xy.ndim != 2 or self.xy.shape[1] != 2 or self.labels.shape != self.xy.shape[:1]:
            raise ValueError(f"wanted xy (P, 2) and labels (P,), got {self.xy.shape} and {self.labels.shape}")
        if not np.isin(self.labels, (0, 1)).all():
            raise ValueError(f"wanted labels 0 and 1, got {np.unique(self.labels).tolist()}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positives(self) -> np.ndarray:
        """(P⁺, 2): the points on the object."""
        return np.asarray(self.xy[self.labels == 1])

    @property
    def negatives(self) -> np.ndarray:
        """(P⁻, 2): the points beside it."""
        return np.asarray(self.xy[self.labels == 0])
