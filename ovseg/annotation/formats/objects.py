"""What a reader collects of one image: its objects, void pixels, and a count of what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.records import Record, Region
from ovseg.errors import ImageError, one_line
from ovseg.files.formats import upright_size
from ovseg.files.paths import shown
from ovseg.results.coco import Mask

MOST_KINDS = 40
KEPT = ("score", "prompt", "method")
"""The attributes that a region keeps."""


class Skipped:
    """Counts what was left out, by its kind and the place where it stands.

    >>> skipped = Skipped()
    >>> skipped.add("shapes 'line'", "a.json, shape 2")
    >>> skipped.add("shapes 'line'", "a.json, shape 7")
    >>> skipped.lines()
    ["left out shapes 'line': 2, the first in a.json, shape 2"]
    """

    def __init__(self) -> None:
        self._places: dict[str, dict[str, None]] = {}  # places once each: files are read more than once

    def add(self, kind: str, place: str) -> None:
        """Count something at a place, which no other of its kind has."""
        self._places.setdefault(kind, {})[f"in {place}"] = None

    def failed(self, kind: str, error: Exception) -> None:
        """Count something that an error kept from being read; the error names the place."""
        self._places.setdefault(kind, {})[f"is: {one_line(error)}"] = None

    def __bool__(self) -> bool:
        return bool(self._places)

    def lines(self) -> list[str]:
        """A line for each kind, for people; at most ``MOST_KINDS``, as a file may have any number of keys."""
        lines = [
            f"left out {kind}: {len(places)}, the first {next(iter(places))}"
            for kind, places in self._places.items()
        ]
        more = len(lines) - MOST_KINDS
        return lines if more <= 0 else [*lines[:MOST_KINDS], f"left out {more} further kinds"]


class Objects:
    """Collects the regions of one image, the later ones on top; parts of one group become one object.

    Args:
        skipped: counts what is left out.
        place: the image as messages name it.
    """

    def __init__(self, skipped: Skipped, place: str) -> None:
        self.skipped, self.place = skipped, place
        self._parts: dict[object, list[Region]] = {}
        self._void: list[Mask] = []

    def add(self, number: object, region: Region, group: object = None) -> None:
        """Add the entry with this number; regions of one label and one group form one object."""
        if not region.mask.area:
            self.skip(number, "objects without a pixel")
            return
        key = ("alone", number, region.label) if group is None else ("group", str(group), region.label)
        self._parts.setdefault(key, []).append(region)

    def skip(self, number: object, kind: str) -> None:
        """Count the entry with this number as left out."""
        self.skipped.add(kind, f"{self.place}, number {number}")

    def skip_extras(self, number: object, extras: Mapping[str, object], known: Sequence[str] = ()) -> None:
        """Count the attributes and flags of the entry with this number that are set and not ``known``."""
        for key, value in extras.items():
            if key not in (*KEPT, *known) and is_set(value):
                self.skip(number, f"attributes {key!r}")

    def hide(self, mask: Mask) -> None:
        """Add void pixels."""
        self._void.append(mask)

    def record(self, name: str, size: tuple[int, int], image: str | None, stem: str = "") -> Record:
        """The image with its objects, in the order of their first parts; see ``fitting`` for the picture."""
        regions = tuple(
            replace(parts[0], mask=Mask.union([part.mask for part in parts]))
            for parts in self._parts.values()
        )
        void = Mask.union(self._void) if self._void else None
        return Record(name, size, regions, stem, fitting(image, size, self.skipped), void=void)


def fitting(image: str | None, size: tuple[int, int], skipped: Skipped) -> str | None:
    """The place of an image if its upright picture has a size (height, width); otherwise it is counted."""
    if image is None:
        return None
    try:
        found = upright_size(Path(image))
    except ImageError as error:
        skipped.failed("links to images that cannot be read", error)
        return None
    if found == size:
        return image
    where = f"{shown(image)}, {found[1]} x {found[0]}, annotated as {size[1]} x {size[0]}"
    skipped.add("links to images of another size than their annotations", where)
    return None


def label_record(
    name: str,
    labels: NDArray[np.integer],
    names: Mapping[int, str],
    void: set[int],
    image: str | None,
    skipped: Skipped,
) -> Record:
    """A label map (H, W) as a record: one region for each value that has a name.

    Args:
        name: of the image.
        labels: the values.
        names: the class of each value; values that are neither here nor in ``void`` are no object.
        void: values of pixels of which nothing is known.
        image: where the image lies; see ``fitting``.
        skipped: counts what is left out.
    """
    size = (labels.shape[0], labels.shape[1])
    found = np.unique(labels).tolist()
    regions = tuple(Region(names[value], Mask.of(labels == value)) for value in found if value in names)
    unknown = [value for value in found if value in void]
    mask = Mask.of(np.isin(labels, unknown)) if unknown else None
    return Record(name, size, regions, image=fitting(image, size, skipped), void=mask)


def as_score(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value):
        return float(value)
    return None


def is_set(value: object) -> bool:
    """Whether a flag or an attribute of a foreign file says something; tools write "0" and "false" too.

    >>> [value for value in (None, False, 0, "0", "False", "", 1, "red") if is_set(value)]
    [1, 'red']
    """
    return bool(value) and str(value).strip().casefold() not in ("", "0", "0.0", "false", "none")
