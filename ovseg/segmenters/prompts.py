"""Check prompts and convert them from lists, arrays or tensors to arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ovseg.errors import UsageError, described

Box: TypeAlias = "tuple[float, float, float, float]"
"""x0, y0, x1, y1 in pixels of the image."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """The prompt for one object; ``Segmenter.decode_many`` checks it.

    Attributes:
        points: (P, 2), (x, y) in pixels of the image.
        labels: (P,), 1 on the object and 0 beside it; None: all on it.
        box: (x0, y0, x1, y1) in pixels of the image.
        mask: (h, w) logits in the segmenter's low resolution.
        rival: (h, w) logits of what else could be meant, for segmenters with ``accepts_rival``.
    """

    points: ArrayLike | None = None
    labels: ArrayLike | None = None
    box: ArrayLike | None = None
    mask: ArrayLike | None = None
    rival: ArrayLike | None = None


@dataclass(frozen=True, eq=False)
class CheckedPrompt:
    """A prompt checked against its image: ``points`` (P, 2), ``labels`` (P,), ``box`` (4,), maps (h, w)."""

    points: NDArray[np.float32]
    labels: NDArray[np.uint8]
    box: NDArray[np.float32] | None
    mask: NDArray[np.float32] | None
    rival: NDArray[np.float32] | None = None

    @property
    def form(self) -> tuple[int, bool, bool]:
        """Prompts of equal form can be decoded in one call."""
        return len(self.labels), self.box is not None, self.mask is not None


def check_prompt(size: tuple[int, int], prompt: Prompt) -> CheckedPrompt:
    """A prompt for an image of ``size`` (height, width) as arrays. Raises UsageError."""
    if not isinstance(prompt, Prompt):
        raise UsageError(f"expected a Prompt, got {described(prompt)}")
    points, labels = _check_points(size, prompt.points, prompt.labels)
    box = None if prompt.box is None else check_box(prompt.box, size)
    mask, rival = (None if one is None else _check_mask(one) for one in (prompt.mask, prompt.rival))
    if box is None and mask is None and not labels.any():
        raise UsageError("expected a foreground point, a box or a mask, got none")
    return CheckedPrompt(points, labels, box, mask, rival)


def check_point(x: object, y: object, size: tuple[int, int]) -> tuple[float, float]:
    """(x, y) inside an image of ``size`` (height, width), as float32 can hold it. Raises UsageError."""
    place = as_numbers("a point (x, y)", (as_numbers("x", x), as_numbers("y", y)))
    if place.shape != (2,):
        raise UsageError(f"expected a point (x, y) of two numbers, got {described(x)} and {described(y)}")
    _check_inside(place[None], size)
    kept = _in_float32(place[None], size)[0]
    return float(kept[0]), float(kept[1])


def check_box(box: object, size: tuple[int, int]) -> NDArray[np.float32]:
    """(4,) float32, cut to the image. Raises UsageError for a box without area or wholly outside."""
    array = as_numbers("a box (x0, y0, x1, y1)", box)
    if array.shape != (4,):
        raise UsageError(f"expected a box (x0, y0, x1, y1), got {described(box)}")
    limit = np.array([size[1], size[0], size[1], size[0]], np.float64)
    cut = np.clip(array, 0, limit).astype(np.float32)
    if not (cut[2] > cut[0] and cut[3] > cut[1]):  # also false for NaN
        got = ", ".join(f"{side:g}" for side in array)
        raise UsageError(
            f"expected a box with an area inside {size[1]} x {size[0]} pixels, x0 < x1 and y0 < y1, got ({got})"
        )
    return cut


def check_boxes(boxes: object, size: tuple[int, int]) -> NDArray[np.float32]:
    """(N, 4) float32, each cut to the image; N may be 0. Raises UsageError."""
    array = as_numbers("boxes (N, 4)", boxes)
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise UsageError(f"expected boxes (N, 4) of x0, y0, x1, y1, got {described(boxes)}")
    return np.stack([check_box(box, size) for box in array])


def as_numbers(what: str, value: object, kinds: str = "iuf") -> NDArray[np.float64]:
    """Lists, NumPy's arrays and scalars, and tensors on any device as a float64 array.

    ``kinds``: the accepted kinds of NumPy's dtypes. Raises UsageError.
    """
    try:
        if hasattr(value, "detach"):  # a tensor may require gradients, or have a dtype that NumPy lacks
            value = value.detach().cpu().double()
        array = np.asarray(value)
        if array.dtype.kind not in kinds:
            raise TypeError
        return array.astype(np.float64)
    except Exception:  # an arbitrary object may raise anything
        raise UsageError(f"expected {what} as numbers, got {described(value)}") from None


def _check_points(
    size: tuple[int, int], points: object, labels: object
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    places = np.zeros((0, 2)) if points is None else as_numbers("points (P, 2)", points)
    if places.size == 0:
        places = places.reshape(0, 2)
    if labels is None:
        marks = np.ones(len(places)) if places.ndim else np.ones(0)
    else:
        marks = as_numbers("labels (P,)", labels, kinds="iufb")
    if places.ndim != 2 or places.shape[1] != 2 or marks.shape != places.shape[:1]:
        raise UsageError(f"expected points (P, 2) and labels (P,), got {places.shape} and {marks.shape}")
    if not np.isin(marks, (0, 1)).all():
        raise UsageError(f"expected labels 1 and 0, got {described(marks.tolist())}")
    _check_inside(places, size)
    return _in_float32(places, size), marks.astype(np.uint8)


def _check_inside(places: NDArray[np.float64], size: tuple[int, int]) -> None:
    for x, y in places:
        if not (0 <= x < size[1] and 0 <= y < size[0]):  # also false for NaN
            raise UsageError(
                f"expected a point inside the image of {size[1]} x {size[0]} pixels, got ({x:g}, {y:g})"
            )


def _in_float32(places: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Round to float32 without moving a point on the last pixel over the image's edge."""
    edge = np.nextafter(np.array([size[1], size[0]], np.float32), np.float32(0))
    return np.minimum(places.astype(np.float32), edge)


def _check_mask(mask: object) -> NDArray[np.float32]:
    array = as_numbers("logits (h, w) as a mask", mask)
    if array.ndim != 2 or array.size == 0 or not np.isfinite(array).all():
        raise UsageError(f"expected logits (h, w) as a mask, all of them finite, got {described(mask)}")
    return array.astype(np.float32)
