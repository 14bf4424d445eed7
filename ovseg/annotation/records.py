"""The record of an image: its regions as run lengths, with class, score and prompt.

Readers return ``Record`` objects and writers take them, so a format is one reader and one writer. Masks are
kept as COCO's run lengths: a photograph's take kilobytes, arrays megabytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovseg.errors import DataError, described
from ovseg.files.paths import shown
from ovseg.files.values import VARIABLE, pixel_limit
from ovseg.results.coco import Mask

MOST_PIXELS = 2**31 - 1
"""Most pixels of an image, whatever the limit: the run lengths of pycocotools count in 32 bits."""


@dataclass(frozen=True)
class Region:
    """One object, or all pixels of a class.

    Attributes:
        label: the class's name.
        mask: its pixels.
        score: the segmenter's estimate of the mask's quality, or what a tool calls the score; None where
            there is none.
        prompt: the texts that found it.
        method: the models that found it.
    """

    label: str
    mask: Mask
    score: float | None = None
    prompt: str | None = None
    method: str | None = None

    def known(self) -> dict[str, object]:
        """Score, prompt and method, without those that are None."""
        found = {"score": self.score, "prompt": self.prompt, "method": self.method}
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class Picture:
    """The regions found in one picture, and the presence of each class."""

    regions: tuple[Region, ...]
    presence: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Record:
    """One image and its regions.

    Attributes:
        name: the image's path below the images' folder, with "/" between folders: "sub/photo.jpg".
        size: (height, width) in pixels of the upright image.
        regions: in order; where two share pixels, the later one is on top.
        stem: the beginning of its files' names, "sub/photo"; empty for the name without its ending.
        image: where the image lies, or None where that is not known.
        presence: how likely each class is in the image, 0..1; classes that are not listed are below 0.01.
        void: pixels of which nothing is known, or None where there are none.
        run: the settings that made it, a key of the run folder's ``run.json``.
    """

    name: str
    size: tuple[int, int]
    regions: tuple[Region, ...] = ()
    stem: str = ""
    image: str | None = None
    presence: Mapping[str, float] | None = None
    void: Mask | None = None
    run: str | None = None

    def __post_init__(self) -> None:
        if not self.stem:
            object.__setattr__(self, "stem", without_ending(self.name))

    def describe(self) -> dict[str, object]:
        """The record as JSON can hold it; ``parse_record`` reads it."""
        return {
            "name": self.name,
            "stem": self.stem,
            "image": self.image,
            "size": list(self.size),
            "run": self.run,
            "presence": None if self.presence is None else dict(self.presence),
            "void": None if self.void is None else self.void.counts,
            "regions": [
                {
                    "label": one.label,
                    "score": one.score,
                    "prompt": one.prompt,
                    "method": one.method,
                    "counts": one.mask.counts,
                }
                for one in self.regions
            ],
        }


def without_ending(name: str) -> str:
    """A path without its file ending.

    >>> without_ending("a.b/photo.jpg"), without_ending("a.b/photo")
    ('a.b/photo', 'a.b/photo')
    """
    folder, slash, file = name.rpartition("/")
    stem = file.rpartition(".")[0]
    return folder + slash + (stem or file)


def check_size(size: object, where: str) -> tuple[int, int]:
    """Check (height, width) of an image as stated in a file.

    Raises:
        DataError: they are not two positive numbers, or exceed the pixel limit.
    """
    try:
        height, width = (int(side) for side in size)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        height = width = 0
    if min(height, width) < 1:
        raise DataError(f"expected an image's height and width in pixels in {where}, got {described(size)}")
    most = min(pixel_limit(), MOST_PIXELS)
    if height * width > most:
        raise DataError(
            f"expected an image of at most {most:,} pixels in {where}, got {width} x {height}: "
            f"raise {VARIABLE} if memory allows"
        )
    return height, width


def read_record(path: Path) -> Record:
    """Read a record from the file that a run wrote.

    Raises:
        DataError: the file is missing, damaged, or something else.
    """
    try:
        return parse_record(json.loads(path.read_bytes()), shown(path))
    except OSError as error:
        raise DataError(f"expected a record, {shown(path)}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise DataError(f"expected a record as JSON, {shown(path)} is none") from None


def parse_record(content: Any, where: str) -> Record:
    """A record from what ``Record.describe`` gave. Raises DataError for anything else."""
    try:
        size = check_size(content["size"], where)

        def mask(counts: object) -> Mask:
            return Mask(size, str(counts)).checked()

        regions = tuple(
            Region(str(one["label"]), mask(one["counts"]), one["score"], one["prompt"], one["method"])
            for one in content["regions"]
        )
        return Record(
            str(content["name"]),
            size,
            regions,
            str(content["stem"]),
            content["image"],
            content["presence"],
            None if content["void"] is None else mask(content["void"]),
            content["run"],
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise DataError(f"expected a record of ovseg annotate, {where} is none: {error!r}") from None


class ByName:
    """Looks up records by image name, each once: in full, without ending, or by a unique file name."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)
        self.used: set[int] = set()
        self.by: list[dict[str, int]] = []
        for form in FORMS:
            keys = [form(record.name) for record in self.records]
            once = Counter(keys)
            self.by.append({key: index for index, key in enumerate(keys) if once[key] == 1})

    def find(self, name: str) -> Record | None:
        """The record of an image that was not found before; None where there is none."""
        for form, known in zip(FORMS, self.by, strict=True):
            index = known.get(form(name))
            if index is not None and index not in self.used:
                self.used.add(index)
                return self.records[index]
        return None

    def unused(self) -> list[str]:
        """The names of the records that were not found."""
        return [record.name for index, record in enumerate(self.records) if index not in self.used]


_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""Label Studio's prefix of uploaded files' names."""
FORMS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    without_ending,
    lambda name: without_ending(name).rpartition("/")[2],
    lambda name: _UPLOADED.sub("", without_ending(name).rpartition("/")[2]),
)
