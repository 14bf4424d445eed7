"""Scores of names for a whole image."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ovseg.errors import UsageError
from ovseg.options.checks import check_integer
from ovseg.results.base import NamedResult, check_ending, check_names
from ovseg.results.types import check_array, read_only


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
