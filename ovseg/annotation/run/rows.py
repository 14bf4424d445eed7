"""The rows of a run's manifest: what is known of each image."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, cast

from ovseg.files.journal import Journal, Json


class Row(TypedDict, total=False):
    """What is known of an image of a run.

    Of every image: ``stem`` and ``name`` as label files have them, ``image``, its path; ``bytes``, ``mtime``
    (in nanoseconds) and ``sha256`` of its file, None or missing where it could not be read. Without a result:
    ``error``, and ``again`` where the next call tries again. With one: its ``size`` (height, width), the
    number of ``masks`` of each class, the bytes of its ``record``, the ``formats`` that have its files, the
    ``classes`` that these are numbered by where they are not those of the ``run`` that made them. From the
    page: ``accepted``, ``skipped`` and its ``steps``.
    """

    stem: str
    name: str
    image: str
    bytes: int | None
    mtime: int | None
    sha256: str | None
    error: str
    again: bool
    size: list[int]
    masks: dict[str, int]
    record: int
    formats: list[str]
    classes: list[str]
    run: str
    accepted: bool
    skipped: bool
    steps: list[object]


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of a manifest by stem, without opening it for writing. Raises OvsegError."""
    return {row["stem"]: row for _, found in Journal(path).rows() if (row := _checked(found)) is not None}


_TYPES = {
    "stem": str,
    "name": str,
    "image": str,
    "error": str,
    "masks": dict,
    "record": int,
    "formats": list,
    "classes": list,
    "run": str,
    "steps": list,
}
"""What a row is relied on to hold, where it has that key."""


def _checked(found: Json) -> Row | None:
    if not isinstance(found, dict) or "stem" not in found:
        return None
    right = all(isinstance(found.get(key, kind()), kind) for key, kind in _TYPES.items())
    return cast("Row", found) if right else None
