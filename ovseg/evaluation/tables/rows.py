"""The engine: a row for each image and each unit, computed once, kept in a file, read back in order.

A unit is one thing that is measured: a model, a method and its settings on a data set. Images go in groups of
fixed members, so that an image is always encoded together with the same others and its row has the same bytes
whether a run was stopped or not and however many processes take part. The key of a row is made of the unit's
settings and the content of the group, so a changed file, mask or setting is measured again and nothing else.

A picture that cannot be read is a row too, with the reason: it is counted and said, and the rest goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ovseg.errors import OvsegError, one_line
from ovseg.evaluation.data.items import ItemSet
from ovseg.evaluation.tables.processes import World
from ovseg.evaluation.tables.protocol import GROUP
from ovseg.files.journal import Journal, Place, read_row
from ovseg.files.write import make_folder
from ovseg.options import Plain

Item = TypeVar("Item")
SKIPPED = "skipped"
DIGITS = 9
"""Decimals of a number in a row."""
SHOWN = 20
"""Skipped pictures that a record names."""

Measure = Callable[[Sequence[Item], Sequence[str]], Mapping[str, Sequence[Plain]]]
"""From some pictures and the names of units to what each unit says of each picture."""


@dataclass(frozen=True)
class Found:
    """The rows of one unit over a data set, read from the file as they are asked for.

    Attributes:
        places: where the row of each image stands, in the order of the set.
    """

    places: Sequence[Place]

    def __iter__(self) -> Iterator[Plain]:
        """What the unit says of each image that could be read, in the order of the set."""
        for place in self.places:
            row = _value(place)
            if not _reason(row):
                yield row

    def skipped(self) -> list[str]:
        """A line for each image that could not be read or measured."""
        return [reason for place in self.places if (reason := _reason(_value(place)))]


def measure_rows(
    items: ItemSet[Item],
    units: Mapping[str, Mapping[str, Plain]],
    measure: Measure[Item],
    folder: Path,
    world: World | None = None,
    progress: Callable[[int, int], None] | None = None,
    group: int = GROUP,
) -> dict[str, Found]:
    """Measure every unit on every image of a set, what is in ``folder`` already aside.

    Args:
        items: the pictures.
        units: for each unit's name the settings that decide about its rows.
        measure: measures some pictures; it is given the units that are not there yet.
        folder: where the rows are kept.
        world: the processes of the run; None for this one alone.
        progress: called with (images done, images in all) of this process.
        group: images that go together.

    Returns:
        The rows of each unit. Every process has them.

    Raises:
        OvsegError: what is wrong for every image, or the rows cannot be written.
    """
    world = world or World()
    make_folder(folder)
    files = {name: _file(folder, name, settings) for name, settings in units.items()}
    known = {name: _known(file) for name, file in files.items()}
    starts = range(0, len(items), group)[world.rank :: world.size]
    total = sum(min(group, len(items) - start) for start in starts)
    done, keys = 0, dict[int, list[str]]()
    with ExitStack() as stack:
        journals = {
            name: stack.enter_context(Journal(file.with_suffix(f".{world.rank}.jsonl")))
            for name, file in files.items()
        }
        for start in starts:
            indices = range(start, min(start + group, len(items)))
            keys[start] = _keys(items, indices)
            missing = [name for name in units if not set(keys[start]) <= known[name].keys()]
            rows = _measured(items, indices, missing, measure) if missing else {}
            for name in missing:
                journals[name].append([key, row] for key, row in zip(keys[start], rows[name], strict=True))
            done += len(indices)
            if progress is not None:
                progress(done, total)
    everyone = world.gather(keys)  # and nobody goes on before all rows are written
    order = [key for _, group_keys in sorted(_joined(everyone).items()) for key in group_keys]
    found = {}
    for name, file in files.items():
        places = _known(file)
        lacking = sum(key not in places for key in order)
        if lacking:
            raise OvsegError(
                f"expected {len(order)} rows of {name}, {lacking} are missing: the processes of a run need one "
                "folder, one set of files and one set of weights (random ones differ)"
            )
        found[name] = Found([places[key] for key in order])
    return found


def digest_of(content: object) -> str:
    """SHA-256 of what JSON can hold, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file(folder: Path, name: str, settings: Mapping[str, Plain]) -> Path:
    """The unit's file without the rank: its name for people, the digest of its settings for us."""
    return folder / f"{slug(name)}-{digest_of(settings)[:16]}.jsonl"


def slug(name: str) -> str:
    """A name as part of a file's name.

    >>> slug("last blocks, two paths")
    'last-blocks-two-paths'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]


def _known(file: Path) -> dict[str, Place]:
    """The rows of a unit that some process of some run wrote."""
    parts = sorted(file.parent.glob(f"{file.stem}.*.jsonl"))
    found: dict[str, Place] = {}
    for part in parts:
        found.update((str(row[0]), place) for place, row in Journal(part).rows() if isinstance(row, list))
    return found


def _value(place: Place) -> Plain:
    """What a row says: it is its key and this."""
    row = read_row(place)
    assert isinstance(row, list)
    return row[1]


def _keys(items: ItemSet[Item], indices: range) -> list[str]:
    """A key for each image of a group: it depends on the whole group, which is encoded together."""
    whole = digest_of([items.digest(index) for index in indices])
    return [f"{whole[:32]}-{position}" for position in range(len(indices))]


def _joined(parts: Sequence[Mapping[int, list[str]]]) -> dict[int, list[str]]:
    return {start: keys for part in parts for start, keys in part.items()}


def _measured(
    items: ItemSet[Item], indices: range, units: Sequence[str], measure: Measure[Item]
) -> dict[str, list[Plain]]:
    """The rows of a group: a reason for each picture that cannot be read, and what ``measure`` says."""
    samples: list[Item] = []
    reasons: dict[int, str] = {}
    for index in indices:
        try:
            samples.append(items.load(index))
        except OvsegError as error:
            reasons[index] = f"{items.items[index]}: {one_line(error)}"
    measured = measure(samples, units) if samples else {name: [] for name in units}
    rows: dict[str, list[Plain]] = {}
    for name in units:
        each = iter(measured[name])
        rows[name] = [{SKIPPED: reasons[i]} if i in reasons else next(each) for i in indices]
    return rows


def skip(reason: str) -> Plain:
    """The row of a picture that a unit cannot measure."""
    return {SKIPPED: reason}


def describe_skipped(reasons: Sequence[str]) -> dict[str, Plain]:
    """How many pictures were left out, and why, as the records of all scores have it."""
    return {"skipped": len(reasons), "skipped images": list(reasons[:SHOWN])}


def _reason(row: Plain) -> str:
    return str(row[SKIPPED]) if isinstance(row, dict) and SKIPPED in row else ""


def table(row: Plain) -> dict[str, Plain]:
    """A row that is a table by names."""
    assert isinstance(row, dict)
    return row


def numbers(row: Plain) -> list[float]:
    """A row, or a part of one, that is a list of numbers; what is not defined is NaN."""
    assert isinstance(row, list)
    return [number(value) for value in row]


def number(value: Plain) -> float:
    """A number of a row; None stands for what is not defined, NaN."""
    if value is None:
        return math.nan
    assert isinstance(value, (int, float))
    return float(value)


def plain(value: float) -> Plain:
    """A number as a row keeps it: to nine decimals, None for NaN."""
    return None if math.isnan(value) else round(float(value), DIGITS)
