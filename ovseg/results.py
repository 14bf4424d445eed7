"""What the model gives back: similarity maps, label maps and scores, each with its names.

Results behave like read-only mappings from a name to what was found for it: ``len``, iteration over the
names, ``name in result`` and ``result[name]``. Their arrays cannot be written to; two results are equal where
names and arrays are. They save themselves and show themselves in a notebook.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ovseg.checks import Size, check_integer, check_name_or_path, check_size, pair
from ovseg.errors import MissingPackageError, UnknownNameError, UsageError
from ovseg.types import read_only

if TYPE_CHECKING:
    import supervision

MAX_SIZE = 2**20
"""The longest side of a map in pixels."""
MAX_VALUES = 2**30
"""Values at the image's size that one array of maps may hold (4 GiB in float32)."""
_FLAT = 1e-6  # below float32's resolution of a cosine, differences within a map are rounding


def void_value(classes: int) -> int:
    """The label of pixels that belong to none of ``classes`` classes: 255 up to 255 classes, 65535 beyond.

    >>> void_value(255), void_value(256)
    (255, 65535)
    """
    return 255 if classes <= 255 else 65535


class NamedResult:
    """Base of the results: a read-only mapping whose keys are ``names``."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def index(self, name: str) -> int:
        """The position of ``name`` among ``names``.

        Raises:
            UnknownNameError: the result holds no such name.
        """
        if name not in self.names:
            shown = ", ".join(map(repr, self.names[:8])) + (" …" if len(self.names) > 8 else "")
            raise UnknownNameError(f"wanted one of {shown}, got {name!r}")
        return self.names.index(name)


@dataclass(frozen=True, eq=False)
class SimilarityMap(NamedResult):
    """How similar each place of an image is to each text (Eq. 1 of CLIP Surgery).

    The maps are kept on the token grid and enlarged when they are asked for, so a large photograph with many
    texts takes no memory until then.

    Attributes:
        grid_values: (K, h, w) float32, the similarities on the token grid before normalisation.
        names: the K texts.
        size: (height, width) of the image in pixels.

    Example:
        >>> found = SimilarityMap(np.array([[[0.0, 0.5], [0.5, 1.0]]], np.float32), ("sky",), (4, 6))
        >>> found["sky"].shape, float(found["sky"].max()), "tree" in found
        ((4, 6), 1.0, False)
    """

    grid_values: NDArray[np.float32]
    names: tuple[str, ...]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.grid_values.ndim != 3 or len(self.grid_values) != len(self.names):
            raise ValueError(f"wanted ({len(self.names)}, h, w) values, got {self.grid_values.shape}")
        object.__setattr__(self, "grid_values", read_only(self.grid_values))

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """The map of one text, (H, W) float32 in 0..1 at the image's size; see ``at``."""
        return self._map(self.index(name), self.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SimilarityMap):
            return NotImplemented
        same = self.names == other.names and self.size == other.size
        return same and np.array_equal(self.grid_values, other.grid_values)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    @property
    def values(self) -> NDArray[np.float32]:
        """(K, H, W) float32 in 0..1: every map at the image's size; see ``at``."""
        return self.at(self.size)

    def at(self, size: Size) -> NDArray[np.float32]:
        """Every map at ``size``: bilinear from the grid, then min-max normalised per text.

        A map that is the same everywhere becomes 0 everywhere.

        Args:
            size: one side of a square, or (height, width), in pixels.

        Returns:
            (K, height, width) float32 in 0..1.

        Raises:
            UsageError: the size is none, or the array would hold more than ``MAX_VALUES`` values.
        """
        checked = check_size("size", size, MAX_SIZE)
        if checked is None:
            raise UsageError("wanted a size as an integer or (height, width), got None")
        size = pair(checked)
        count = len(self) * size[0] * size[1]
        if count > MAX_VALUES:
            raise UsageError(
                f"wanted at most {MAX_VALUES:,} values in one array, {len(self)} maps of "
                f"{size[0]} x {size[1]} have {count:,}: ask for single maps, result[name], or for a "
                "smaller size, result.at(size)"
            )
        out = np.empty((len(self), *size), np.float32)
        for index in range(len(self)):
            out[index] = self._map(index, size)
        return out

    def _map(self, index: int, size: tuple[int, int]) -> NDArray[np.float32]:
        import cv2

        grid = np.ascontiguousarray(self.grid_values[index], np.float32)
        values = np.asarray(cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)
        low, spread = values.min(), values.max() - values.min()
        return (values - low) / spread if spread > _FLAT else np.zeros(size, np.float32)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.float32]:
        return np.asarray(self.values, dtype)

    def save(self, path: str | Path) -> None:
        """Write the maps: ``.npz`` (grid_values, names, size), or a picture of them (``.png``, ``.jpg``)."""
        from ovseg.io.writers import write_arrays, write_picture

        if _ending(path, (".npz", ".png", ".jpg", ".jpeg")) == ".npz":
            write_arrays(
                Path(path), grid_values=self.grid_values, names=np.array(self.names), size=np.array(self.size)
            )
        else:
            write_picture(Path(path), self._picture())

    def _picture(self) -> NDArray[np.uint8]:
        from ovseg import figures

        scale = min(1.0, 320 / max(self.size))
        size = (max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale)))
        shown = [
            figures.titled(figures.heat(self._map(index, size)), name)
            for index, name in enumerate(self.names[:20])
        ]
        return figures.grid([shown[start : start + 4] for start in range(0, len(shown), 4)])

    def _repr_html_(self) -> str:
        return _as_html(self._picture(), f"similarity to {', '.join(self.names[:20])}")


@dataclass(frozen=True, eq=False)
class LabelMap(NamedResult):
    """One class for each pixel.

    Attributes:
        labels: (H, W), uint8 for up to 255 classes and uint16 beyond; value k stands for ``names[k]``.
        names: the K class names.
        probabilities: (K, H, W) float32 in 0..1, where they were asked for, else None.

    Example:
        >>> found = LabelMap(np.array([[0, 0, 1], [0, 255, 1]], np.uint8), ("sky", "tree"))
        >>> found.areas, found.boxes["tree"]
        ({'sky': 3, 'tree': 2}, (2, 0, 3, 2))
        >>> found["tree"].sum(), found.void
        (np.int64(2), 255)
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    names: tuple[str, ...]
    probabilities: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"wanted (H, W) uint8 or uint16, got {self.labels.shape} {self.labels.dtype}")
        known = self.labels[self.labels != self.void]
        if known.size and int(known.max()) >= len(self.names):
            raise ValueError(f"wanted labels below {len(self.names)} or {self.void}, got {int(known.max())}")
        object.__setattr__(self, "labels", read_only(self.labels))
        if self.probabilities is not None:
            if self.probabilities.shape != (len(self.names), *self.labels.shape):
                raise ValueError(f"wanted probabilities (K, H, W), got {self.probabilities.shape}")
            object.__setattr__(self, "probabilities", read_only(self.probabilities))

    def __getitem__(self, name: str) -> NDArray[np.bool_]:
        """(H, W) bool: the pixels whose class is ``name``."""
        return np.asarray(self.labels == self.index(name))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelMap):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.labels, other.labels)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    @property
    def void(self) -> int:
        """The value of pixels that belong to no class: the largest of the labels' type."""
        return int(np.iinfo(self.labels.dtype).max)

    @property
    def areas(self) -> dict[str, int]:
        """Pixels of each class that has any, in the order of ``names``."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names))[: len(self.names)]
        return {name: int(count) for name, count in zip(self.names, counts, strict=True) if count}

    @property
    def shares(self) -> dict[str, float]:
        """The share of the image's pixels that each class covers, in 0..1, the largest first."""
        ordered = sorted(self.areas.items(), key=lambda item: -item[1])
        return {name: count / self.labels.size for name, count in ordered}

    @property
    def boxes(self) -> dict[str, tuple[int, int, int, int]]:
        """The bounds (x0, y0, x1, y1) of each class that has pixels; x1 and y1 are exclusive."""
        return {name: bounds(self[name]) for name in self.areas}

    def to_detections(self) -> supervision.Detections:
        """``supervision.Detections`` with one mask for each class that has pixels.

        Raises:
            MissingPackageError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise MissingPackageError("to_detections wanted supervision: pip install supervision") from None
        found = list(self.areas)
        masks = np.stack([self[name] for name in found]) if found else np.zeros((0, *self.labels.shape), bool)
        return supervision.Detections(
            xyxy=np.array([self.boxes[name] for name in found], np.float32).reshape(-1, 4),
            mask=masks,
            class_id=np.array([self.index(name) for name in found], int),
            data={"class_name": np.array(found, dtype=str)},
        )

    def to_coco(self, image_id: int = 1) -> list[dict[str, object]]:
        """COCO annotations, one for each class that has pixels.

        Args:
            image_id: the image that the annotations are of.

        Returns:
            Dictionaries with id (from 1), image_id, category_id (the class's position, from 1), segmentation
            (run lengths as text), area (pixels), bbox (x, y, width, height) and iscrowd 0.
        """
        return [
            coco_annotation(self[name], number, image_id, self.index(name) + 1)
            for number, name in enumerate(self.areas, 1)
        ]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        return np.array(self.labels, dtype) if copy or dtype is not None else np.asarray(self.labels)

    def save(self, path: str | Path) -> None:
        """Write the labels: ``.png`` (indices with a palette; 16 bit beyond 255 classes) or ``.npz``."""
        from ovseg import figures
        from ovseg.io.writers import write_arrays, write_labels

        if _ending(path, (".png", ".npz")) == ".png":
            write_labels(Path(path), self.labels, figures.palette(len(self.names)))
            return
        arrays = {} if self.probabilities is None else {"probabilities": self.probabilities}
        write_arrays(Path(path), labels=self.labels, names=np.array(self.names), **arrays)

    def _repr_html_(self) -> str:
        from ovseg import figures

        colours = figures.palette(len(self.names))
        picture = figures.fit(figures.colour_labels(self.labels, colours), min(320, self.labels.shape[0]))
        entries = [(name, tuple(colours[self.index(name)].tolist())) for name in self.shares]
        return _as_html(figures.with_legend(picture, entries), f"labels {', '.join(self.shares)}")


@dataclass(frozen=True, eq=False)
class Recognition(NamedResult):
    """One score for each name, for a whole image.

    Attributes:
        scores: (K,) float32 in the order of ``names``; what they mean depends on the surgery that was asked
            for.
        names: the K names.

    Example:
        >>> found = Recognition(np.array([0.1, 0.3], np.float32), ("cat", "dog"))
        >>> found.best(1)
        [('dog', 0.30000001192092896)]
    """

    scores: NDArray[np.float32]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.names),):
            raise ValueError(f"wanted ({len(self.names)},) scores, got {self.scores.shape}")
        object.__setattr__(self, "scores", read_only(self.scores))

    def __getitem__(self, name: str) -> float:
        """The score of one name."""
        return float(self.scores[self.index(name)])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recognition):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.scores, other.scores)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    def best(self, count: int | None = None) -> list[tuple[str, float]]:
        """The ``count`` names with the highest scores (None: all of them), the highest first.

        Raises UsageError for a ``count`` that is no integer or below 1.
        """
        if count is not None:
            count = check_integer("count", count, 1, 2**31 - 1)
        order = np.argsort(-self.scores, kind="stable")[:count]
        return [(self.names[k], float(self.scores[k])) for k in order]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        return np.array(self.scores, dtype) if copy or dtype is not None else np.asarray(self.scores)

    def save(self, path: str | Path) -> None:
        """Write names and scores as ``.json``, the highest score first."""
        from ovseg.io.writers import write_json

        _ending(path, (".json",))
        write_json(Path(path), dict(self.best()))

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{score:.4f}</td></tr>" for name, score in self.best(20)
        )
        return f"<table><tr><th>name</th><th>score</th></tr>{rows}</table>"


def coco_annotation(
    mask: NDArray[np.bool_], number: int, image_id: int, category_id: int
) -> dict[str, object]:
    """COCO's annotation of a mask (H, W): run lengths as text, area in pixels, bbox (x, y, width, height)."""
    from pycocotools import mask as rle

    coded = rle.encode(np.asfortranarray(mask, np.uint8))
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": {"size": list(mask.shape), "counts": coded["counts"].decode()},
        "area": int(mask.sum()),
        "bbox": [float(side) for side in rle.toBbox(coded)],
        "iscrowd": 0,
    }


def bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The bounds (x0, y0, x1, y1) of a mask (H, W) that has pixels; x1 and y1 are exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _ending(path: str | Path, allowed: tuple[str, ...]) -> str:
    ending = Path(check_name_or_path("a file name", path)).suffix.lower()
    if ending not in allowed:
        raise UsageError(f"wanted a file name ending in {', '.join(allowed)}, got {str(path)!r}")
    return ending


def _as_html(picture: NDArray[np.uint8], description: str) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    coded = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(description, quote=True)}" src="data:image/png;base64,{coded}">'
