"""Scores of names: a map of each over the image, and one score of each for the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ovseg.errors import UsageError
from ovseg.options.checks import Size, check_integer, check_size, pair
from ovseg.results.base import NamedResult, as_html, check_array, check_ending, check_names, read_only

MAX_SIZE = 2**20
"""The longest side of a map in pixels."""
MAX_VALUES = 2**30
"""Values at the image's size that one array of maps may hold (4 GiB in float32)."""
_FLAT = 1e-6  # below float32's resolution of a cosine, differences within a map are rounding


@dataclass(frozen=True, eq=False)
class SimilarityMap(NamedResult[NDArray[np.float32]]):
    """How similar each place of an image is to each text (Eq. 1 of CLIP Surgery).

    The maps are kept on the token grid and enlarged when they are asked for, so a large photograph with many
    texts takes no memory until then.

    Attributes:
        grid: (K, h, w) float32, the similarities on the token grid before normalisation.
        names: the K texts.
        size: (height, width) of the image in pixels.

    Example:
        >>> found = SimilarityMap(np.array([[[0.0, 0.5], [0.5, 1.0]]], np.float32), ("sky",), (4, 6))
        >>> found["sky"].shape, float(found["sky"].max()), "tree" in found
        ((4, 6), 1.0, False)
    """

    grid: NDArray[np.float32]
    names: tuple[str, ...]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        check_names(self)
        check_array("values", self.grid, "(K, h, w)")
        if len(self.grid) != len(self.names) or 0 in self.grid.shape[1:]:
            raise UsageError(f"expected ({len(self.names)}, h, w) values, got {self.grid.shape}")
        size = check_size("size", self.size, MAX_SIZE)
        if not isinstance(size, tuple):
            raise UsageError(f"expected size as (height, width), got {size}")
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "grid", read_only(self.grid))

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """The map of one text, (H, W) float32 in 0..1 at the image's size; see ``at``."""
        return self._map(self.index(name), self.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SimilarityMap):
            return NotImplemented
        same = self.names == other.names and self.size == other.size
        return same and np.array_equal(self.grid, other.grid)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    @property
    def array(self) -> NDArray[np.float32]:
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
            raise UsageError("expected a size as an integer or (height, width), got None")
        size = pair(checked)
        count = len(self) * size[0] * size[1]
        if count > MAX_VALUES:
            raise UsageError(
                f"expected at most {MAX_VALUES:,} values in one array, {len(self)} maps of "
                f"{size[0]} x {size[1]} have {count:,}: ask for single maps, result[name], or for a "
                "smaller size, result.at(size)"
            )
        out = np.empty((len(self), *size), np.float32)
        for index in range(len(self)):
            out[index] = self._map(index, size)
        return out

    def _map(self, index: int, size: tuple[int, int]) -> NDArray[np.float32]:
        import cv2

        grid = np.ascontiguousarray(self.grid[index], np.float32)
        values = np.asarray(cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)
        low, spread = values.min(), values.max() - values.min()
        return (values - low) / spread if spread > _FLAT else np.zeros(size, np.float32)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.float32]:
        return np.asarray(self.array, dtype)

    def save(self, path: str | Path) -> None:
        """Write the maps: ``.npz`` (grid_values, names, size), or a picture of them (``.png``, ``.jpg``)."""
        from ovseg.files.write import write_arrays, write_picture

        if check_ending(path, (".npz", ".png", ".jpg", ".jpeg")) == ".npz":
            write_arrays(
                Path(path), grid_values=self.grid, names=np.array(self.names), size=np.array(self.size)
            )
        else:
            write_picture(Path(path), self._picture())

    def _picture(self) -> NDArray[np.uint8]:
        from ovseg.results import figures

        scale = min(1.0, 320 / max(self.size))
        size = (max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale)))
        shown = [
            figures.titled(figures.heat(self._map(index, size)), name)
            for index, name in enumerate(self.names[:20])
        ]
        rows = figures.grid([shown[start : start + 4] for start in range(0, len(shown), 4)])
        bar = figures.colour_bar(max(200, rows.shape[1] - 12), "lowest of each map", "highest")
        return figures.grid([[rows], [bar]], gap=6)

    def _repr_html_(self) -> str:
        return as_html(self._picture(), f"similarity to {', '.join(self.names[:20])}")


@dataclass(frozen=True, eq=False)
class Recognition(NamedResult[float]):
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
        check_names(self)
        check_array("scores", self.scores, "(K,)")
        if len(self.scores) != len(self.names):
            raise UsageError(f"expected ({len(self.names)},) scores, got {self.scores.shape}")
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
        from ovseg.files.write import write_json

        check_ending(path, (".json",))
        write_json(Path(path), dict(self.best()))

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{score:.4f}</td></tr>" for name, score in self.best(20)
        )
        return f"<table><tr><th>name</th><th>score</th></tr>{rows}</table>"
