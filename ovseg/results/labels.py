"""Label maps: one class for each pixel of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ovseg.errors import UsageError
from ovseg.results.base import (
    NamedResult,
    as_detections,
    as_html,
    bounds,
    check_array,
    check_ending,
    check_names,
    read_only,
)
from ovseg.results.coco import Mask, coco_annotation

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, eq=False)
class LabelMap(NamedResult[NDArray[np.bool_]]):
    """One class for each pixel.

    Attributes:
        array: (H, W), uint8 for up to 255 classes and uint16 beyond; value k stands for ``names[k]``.
        names: the K class names.
        probabilities: (K, H, W) float32 in 0..1, where they were asked for, else None.

    Example:
        >>> found = LabelMap(np.array([[0, 0, 1], [0, 255, 1]], np.uint8), ("sky", "tree"))
        >>> found.areas, found.boxes["tree"]
        ({'sky': 3, 'tree': 2}, (2, 0, 3, 2))
        >>> found["tree"].sum(), found.void
        (np.int64(2), 255)
    """

    array: NDArray[np.uint8] | NDArray[np.uint16]
    names: tuple[str, ...]
    probabilities: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        check_names(self)
        check_array("array", self.array, "(H, W)")
        if self.array.dtype not in (np.uint8, np.uint16) or 0 in self.array.shape:
            raise UsageError(f"expected (H, W) uint8 or uint16, got {self.array.shape} {self.array.dtype}")
        known = self.array[self.array != self.void]
        if known.size and int(known.max()) >= len(self.names):
            raise UsageError(
                f"expected labels below {len(self.names)} or {self.void}, got {int(known.max())}"
            )
        object.__setattr__(self, "array", read_only(self.array))
        if self.probabilities is not None:
            check_array("probabilities", self.probabilities, "(K, H, W)")
            if self.probabilities.shape != (len(self.names), *self.array.shape):
                raise UsageError(f"expected probabilities (K, H, W), got {self.probabilities.shape}")
            object.__setattr__(self, "probabilities", read_only(self.probabilities))

    def __getitem__(self, name: str) -> NDArray[np.bool_]:
        """(H, W) bool: the pixels whose class is ``name``."""
        return np.asarray(self.array == self.index(name))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelMap):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.array, other.array)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    @property
    def void(self) -> int:
        """The value of pixels that belong to no class: the largest of the labels' type."""
        return int(np.iinfo(self.array.dtype).max)

    @property
    def areas(self) -> dict[str, int]:
        """Pixels of each class that has any, in the order of ``names``."""
        counts = np.bincount(self.array.ravel(), minlength=len(self.names))[: len(self.names)]
        return {name: int(count) for name, count in zip(self.names, counts, strict=True) if count}

    @property
    def shares(self) -> dict[str, float]:
        """The share of the image's pixels that each class covers, in 0..1, the largest first."""
        ordered = sorted(self.areas.items(), key=lambda item: -item[1])
        return {name: count / self.array.size for name, count in ordered}

    @property
    def boxes(self) -> dict[str, tuple[int, int, int, int]]:
        """The bounds (x0, y0, x1, y1) of each class that has pixels; x1 and y1 are exclusive."""
        return {name: bounds(self[name]) for name in self.areas}

    def to_detections(self) -> supervision.Detections:
        """``supervision.Detections`` with one mask for each class that has pixels.

        Raises:
            MissingPackageError: supervision is not installed.
        """
        found = list(self.areas)
        masks = np.stack([self[name] for name in found]) if found else np.zeros((0, *self.array.shape), bool)
        return as_detections(masks, [self.index(name) for name in found], found)

    def to_coco(self, image_id: int = 1) -> list[dict[str, object]]:
        """COCO annotations, one for each class that has pixels.

        Args:
            image_id: the image that the annotations are of.

        Returns:
            Dictionaries with id (from 1), image_id, category_id (the class's position, from 1), segmentation
            (run lengths as text), area (pixels), bbox (x, y, width, height) and iscrowd 0.
        """
        return [
            coco_annotation(Mask.of(self[name]), number, image_id, self.index(name) + 1)
            for number, name in enumerate(self.areas, 1)
        ]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        return np.array(self.array, dtype) if copy or dtype is not None else np.asarray(self.array)

    def save(self, path: str | Path) -> None:
        """Write the labels: ``.png`` (indices with a palette; 16 bit beyond 255 classes) or ``.npz``."""
        from ovseg.files.write import write_arrays, write_labels
        from ovseg.results import figures

        if check_ending(path, (".png", ".npz")) == ".png":
            write_labels(Path(path), self.array, figures.palette(len(self.names)))
            return
        arrays = {} if self.probabilities is None else {"probabilities": self.probabilities}
        write_arrays(Path(path), labels=self.array, names=np.array(self.names), **arrays)

    def _repr_html_(self) -> str:
        from ovseg.results import figures

        colours = figures.palette(len(self.names))
        picture = figures.fit(figures.colour_labels(self.array, colours), min(320, self.array.shape[0]))
        entries = [(name, tuple(colours[self.index(name)].tolist())) for name in self.shares]
        return as_html(figures.with_legend(picture, entries), f"labels {', '.join(self.shares)}")
