"""What passes between the parts of ovseg: frozen dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", bound="NDArray[Any]")


def read_only(array: Array) -> Array:
    """A view of ``array`` that cannot be written to: results may be shared, so nobody may change them."""
    view = array.view()
    view.flags.writeable = False
    return view


def check_array(what: str, value: object, axes: str, kinds: str = "uif") -> None:
    """Raise UsageError unless ``value`` is an array of numbers with the axes that ``axes`` names.

    ``kinds`` are the letters of NumPy's kinds of types that are taken.

    >>> check_array("a map", np.zeros((2, 3)), "(H, W)")
    """
    count = len([axis for axis in axes.strip("()").split(",") if axis])
    if not isinstance(value, np.ndarray):
        raise UsageError(f"expected {what} {axes} as an array, got {type(value).__name__}")
    if value.ndim != count or value.dtype.kind not in kinds:
        raise UsageError(f"expected {what} {axes} of numbers, got {value.shape} {value.dtype}")


@dataclass(frozen=True)
class ImageTokens:
    """The projected tokens of a batch of images, not L2-normalised.

    Attributes:
        patches: (B, N, D), row-major over ``grid``, N = h * w.
        class_token: (B, D) of the original path, equal to open_clip's own image feature.
        grid: (h, w).
        bias_token: (B, D) class token of the changed path, for methods that subtract it from every
            patch (SegEarth-OV), None otherwise.

    Example:
        >>> import torch
        >>> ImageTokens(torch.zeros(1, 6, 8), torch.zeros(1, 8), (2, 3)).grid
        (2, 3)
    """

    patches: Tensor
    class_token: Tensor
    grid: tuple[int, int]
    bias_token: Tensor | None = None

    def __post_init__(self) -> None:
        batch, count, width = self.patches.shape
        if count != self.grid[0] * self.grid[1] or self.class_token.shape != (batch, width):
            raise UsageError(
                f"patches {tuple(self.patches.shape)}, class_token {tuple(self.class_token.shape)} "
                f"and grid {self.grid} do not belong together"
            )


@dataclass(frozen=True)
class ImageFeatures:
    """One image as a frozen CLIP sees it, ready to be compared with texts.

    Attributes:
        places: (N, D), row-major over ``grid``; its product with a text's unit feature is the text's score
            there.
        class_tokens: (n, D), L2-normalised: one for the whole image, or one for each window.
        grid: (h, w), N = h * w.
    """

    places: Tensor
    class_tokens: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True, eq=False)
class PointPrompts:
    """Points for a promptable segmenter: one set stands for one object.

    Attributes:
        xy: (P, 2) float32, (x, y) in pixels of the original image. P may be 0.
        labels: (P,) uint8, 1 on the object and 0 beside it. Positives come first.

    Example:
        >>> prompts = PointPrompts(np.array([[5, 9], [1, 2]], np.float32), np.array([1, 0], np.uint8))
        >>> len(prompts), prompts.positives.tolist()
        (2, [[5.0, 9.0]])
    """

    xy: NDArray[np.float32]
    labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        check_array("xy", self.xy, "(P, 2)")
        check_array("labels", self.labels, "(P,)", "uifb")
        if self.xy.shape[1] != 2 or self.labels.shape != self.xy.shape[:1]:
            raise UsageError(
                f"expected xy (P, 2) and labels (P,), got {self.xy.shape} and {self.labels.shape}"
            )
        if not np.isin(self.labels, (0, 1)).all():
            raise UsageError(f"expected labels 0 and 1, got {str(np.unique(self.labels).tolist())[:60]}")
        object.__setattr__(self, "xy", read_only(self.xy))
        object.__setattr__(self, "labels", read_only(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PointPrompts):
            return NotImplemented
        return np.array_equal(self.xy, other.xy) and np.array_equal(self.labels, other.labels)

    __hash__ = None  # type: ignore[assignment]  # arrays are compared, and arrays have no hash

    @property
    def positives(self) -> NDArray[np.float32]:
        """(P⁺, 2): the points on the object."""
        return self.xy[self.labels == 1]

    @property
    def negatives(self) -> NDArray[np.float32]:
        """(P⁻, 2): the points beside it."""
        return self.xy[self.labels == 0]
