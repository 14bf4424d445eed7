"""What all results have in common, and forms that several of them take."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import MissingPackageError, UnknownNameError, UsageError, described
from ovseg.files.paths import shown
from ovseg.options.checks import check_name_or_path

if TYPE_CHECKING:
    import supervision


def void_value(classes: int) -> int:
    """The label of pixels that belong to none of ``classes`` classes: 255 up to 255 classes, 65535 beyond.

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
