"""Which images a run has seen before, by their path, their name and content, or their content alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ovseg.annotation.run.images import ImageFile, Row
from ovseg.files.find import cut_name
from ovseg.files.paths import sha256_of


def recognise(images: Sequence[ImageFile], rows: Mapping[str, Row]) -> list[ImageFile]:
    """Give images that the run knows their earlier names, even if images were added, removed or moved since.

    Images are matched by path. Those with a new path are matched by name and content with rows whose own
    image is not among ``images``, so that a folder may be moved or mounted elsewhere; then by content alone
    with rows whose image no longer exists. An image that was renamed keeps its stem, and its name is new.

    Args:
        images: the images of this call.
        rows: the run's rows, by stem.

    >>> image = ImageFile(Path("/a/x.png"), "x.png", "x")
    >>> recognise([image], {"x": {"stem": "x", "image": "/a/x.jpg", "name": "x.jpg"}})[0].stem
    'x.png'
    """
    here = {str(image.path) for image in images}
    by_path = {row["image"]: row for row in rows.values() if "image" in row}
    elsewhere: dict[str, list[Row]] = {}
    for path, row in by_path.items():
        if path not in here:
            elsewhere.setdefault(row["name"], []).append(row)
    used = set(rows)
    out: list[ImageFile] = []
    new: list[ImageFile] = []
    for image in images:
        known = by_path.get(str(image.path)) or _moved(image, elsewhere)
        if known is None:
            new.append(image)
        else:
            out.append(replace(image, name=known["name"], stem=known["stem"]))
    lost = _lost(row for found in elsewhere.values() for row in found)
    for image in new:
        if (known := _renamed(image, lost)) is not None:
            out.append(replace(image, stem=known["stem"]))
            continue
        stem, number = cut_name(image.stem), 1
        while stem in used:  # the name with its ending, then numbers
            stem = cut_name(image.name if number == 1 else f"{image.stem}_{number}")
            number += 1
        used.add(stem)
        out.append(replace(image, stem=stem))
    return sorted(out, key=lambda image: image.stem)


def is_same(row: Row, path: str | os.PathLike[str]) -> bool:
    """Whether a file is unchanged since its row: same size, and same time or content."""
    try:
        found = os.stat(path)
        if found.st_size != row.get("bytes"):
            return False
        return found.st_mtime_ns == row.get("mtime") or sha256_of(Path(path)) == row.get("sha256")
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return row.get("bytes") is None  # it could not be read then either


def _moved(image: ImageFile, elsewhere: Mapping[str, list[Row]]) -> Row | None:
    """The row of an image that was moved; it is removed from ``elsewhere``."""
    rows = elsewhere.get(image.name, [])
    found = next((row for row in rows if row.get("bytes") is not None and is_same(row, image.path)), None)
    if found is not None:
        rows.remove(found)
    return found


def _lost(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """The rows with a result whose image no longer exists, by the bytes of its file."""
    lost: dict[int, list[Row]] = {}
    for row in rows:
        size = row.get("bytes")
        if size and "error" not in row and not os.path.lexists(row["image"]):
            lost.setdefault(size, []).append(row)
    return lost


def _renamed(image: ImageFile, lost: Mapping[int, list[Row]]) -> Row | None:
    """The row of an image that has another name now; it is removed from ``lost``."""
    try:
        rows = lost.get(os.stat(image.path).st_size, [])
        digest = sha256_of(image.path) if rows else None
    except (OSError, ValueError):
        return None
    found = next((row for row in rows if row.get("sha256") == digest), None)
    if found is not None:
        rows.remove(found)
    return found
