"""Arrays and tensors to (H, W, 3) uint8 RGB where their layout and range leave no doubt."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import ImageError, UsageError, one_line
from ovseg.files.limits import check_pixels
from ovseg.files.values import to_rgb

LAYOUTS = "(H, W), (H, W, 1), (H, W, 3), (H, W, 4) or (3, H, W)"


@runtime_checkable
class SupportsArray(Protocol):
    """What NumPy can turn into an array: tensors of PyTorch (on any device), JAX and others."""

    def __array__(self) -> NDArray[np.generic]: ...


def array_to_rgb(source: SupportsArray | NDArray[np.generic], limit: int) -> NDArray[np.uint8]:
    """One picture as an array or tensor to (H, W, 3) uint8 RGB; such an array is returned as it is.

    Args:
        source: (H, W) or (H, W, 1) grey, (H, W, 3) RGB, (H, W, 4) RGBA laid on white, or (3, H, W) RGB where
            the last axis is not 1, 3 or 4 long; values by the rule of ``ovseg.files.values.to_rgb``, all finite.
        limit: the largest number of pixels.

    Raises:
        UsageError: another shape, type or range, or values that are not finite.

    >>> array_to_rgb(np.array([[0.0, 1.0]]), 100).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    values = _as_array(source)
    said = f"got {values.shape} {values.dtype}"
    if values.dtype.kind not in "biuf":
        raise UsageError(f"expected an array of numbers {LAYOUTS}, {said}")
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or 0 in values.shape:
        raise UsageError(f"expected one picture as an array {LAYOUTS} with pixels, {said}")
    if values.shape[2] not in (1, 3, 4):
        if values.shape[0] != 3:
            raise UsageError(f"expected one picture as an array {LAYOUTS}, {said}")
        values = np.moveaxis(values, 0, -1)
    check_pixels(values.shape[0], values.shape[1], limit, "the array")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UsageError(f"expected finite values, {said} with NaN or infinity")
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    colours, alpha = (values[..., :3], values[..., 3]) if values.shape[2] == 4 else (values, None)
    try:
        return to_rgb(colours, alpha)
    except ImageError as error:
        raise UsageError(f"{error} ({said})") from None


def _as_array(source: SupportsArray | NDArray[np.generic]) -> NDArray[np.generic]:
    """The values on the CPU. Tensors are known by their methods: this module does not import torch."""
    if isinstance(source, np.ma.MaskedArray):
        raise UsageError("expected an array without a mask: fill it first, array.filled(255)")
    if isinstance(source, np.ndarray):
        return np.asarray(source)  # the array itself; of a subclass such as matrix, its plain view
    kind = type(source).__name__
    try:
        detach = getattr(source, "detach", None)
        if detach is None:
            return np.asarray(source)
        tensor = detach().cpu()
        return np.asarray(tensor.float().numpy() if "bfloat16" in str(tensor.dtype) else tensor.numpy())
    except Exception as error:  # a tensor without values (device "meta"), sparse, or quantised
        raise UsageError(
            f"expected a picture, got a {kind} that is no array: {one_line(error)[:200]}"
        ) from None
