"""Base classes and checks of the results, all frozen and validated."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import MissingPackageError, UnknownNameError, UsageError, described
from ovseg.files.paths import shown
from ovseg.options.checks import check_name_or_path

if TYPE_CHECKING:
    import supervision
    from torch import Tensor


def void_value(classes: int) -> int:
    """The void label for ``classes`` classes: 255 up to 255 classes, 65535 beyond.

    >>> void_value(255), void_value(256)
    (255, 65535)
    """
    return 255 if classes <= 255 else 65535


Value = TypeVar("Value", covariant=True)


class NamedResult(Mapping[str, Value]):
    """Base of the results: a read-only mapping whose keys are ``names``."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.names

    def index(self, name: str) -> int:
        """The position of ``name`` among ``names``.

        Raises:
            UnknownNameError: the result holds no such name.
        """
        if name not in self:
            shown = ", ".join(map(repr, self.names[:8])) + (" …" if len(self.names) > 8 else "")
            raise UnknownNameError(f"expected one of {shown}, got {described(name)}")
        return self.names.index(name)


def check_names(result: NamedResult[object]) -> None:
    """Turn a list of names into a tuple. Raises UsageError unless each is a text."""
    names: object = result.names
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"expected names as a tuple of texts, got {type(names).__name__}")
    object.__setattr__(result, "names", tuple(names))


def bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The bounds (x0, y0, x1, y1) of a mask (H, W) that has pixels; x1 and y1 are exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def check_ending(path: str | Path, allowed: tuple[str, ...]) -> str:
    ending = Path(check_name_or_path("a file name", path)).suffix.lower()
    if ending not in allowed:
        raise UsageError(f"expected a file name ending in {', '.join(allowed)}, got {shown(path)}")
    return ending


def as_png(picture: NDArray[np.uint8]) -> bytes:
    """The content of a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def as_html(picture: NDArray[np.uint8], description: str) -> str:
    coded = base64.b64encode(as_png(picture)).decode()
    return f'<img alt="{escape(description, quote=True)}" src="data:image/png;base64,{coded}">'


def as_detections(
    masks: NDArray[np.bool_],
    class_ids: Sequence[int],
    names: Sequence[str],
    scores: NDArray[np.float32] | None = None,
) -> supervision.Detections:
    """Masks (M, H, W) with their boxes and the number and name of each one's class.

    Raises:
        MissingPackageError: supervision is not installed.
    """
    try:
        import supervision
    except ImportError:
        raise MissingPackageError("to_detections needs supervision: pip install supervision") from None
    return supervision.Detections(
        xyxy=np.array([bounds(mask) for mask in masks], np.float32).reshape(-1, 4),
        mask=masks,
        confidence=scores,
        class_id=np.array(class_ids, int),
        data={"class_name": np.array(names, dtype=str)},
    )


Array = TypeVar("Array", bound="NDArray[Any]")


def read_only(array: Array) -> Array:
    """A read-only view of ``array``: results are shared, so they do not change."""
    view = array.view()
    view.flags.writeable = False
    return view


def check_array(what: str, value: object, axes: str, kinds: str = "uif") -> None:
    """Raise UsageError unless ``value`` is an array of numbers with the axes that ``axes`` names.

    ``kinds`` are the accepted dtype kinds, as NumPy's letters.

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
