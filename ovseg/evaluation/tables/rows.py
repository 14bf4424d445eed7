"""The engine: one row per image and unit, computed once, kept in a file, read back in order.

A unit is a model with a method and its settings on a data set. Images are encoded in fixed groups, so a row has
the same bytes in a resumed run and for any number of processes. A row is found by the unit's settings and the
content of its group, so exactly the rows of changed files, masks or settings are measured again.

A picture that cannot be read gets a row with the reason; it is counted and reported, and the run continues.

A run may have several processes, started by torchrun (``World``): each measures every n-th group.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from ovseg.errors import OvsegError, UsageError, one_line
from ovseg.evaluation.data.items import ItemSet
from ovseg.files.journal import Journal, Place, read_row
from ovseg.files.write import make_folder
from ovseg.options import Plain

Item = TypeVar("Item")
Part = TypeVar("Part")
PATIENCE = timedelta(days=7)
"""Time limit for waiting on other processes, whose shares of a data set may take much longer."""
SKIPPED = "skipped"
DIGITS = 9
"""Decimals of the numbers in a row."""
SHOWN = 20
"""The number of skipped pictures that a record names."""

Measure = Callable[[Sequence[Item], Sequence[str]], Mapping[str, Sequence[Plain]]]
"""Measures some pictures for the named units: unit -> a row per picture."""


@dataclass(frozen=True)
class World:
    """The rank of this process and the number of processes.

    Attributes:
        rank: 0 for the first.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes the results."""
        return self.rank == 0

    def gather(self, part: Part) -> list[Part]:
        """Collect ``part`` of every process, in the order of ranks; every process gets the list."""
        if self.size == 1:
            return [part]
        from torch import distributed

        parts: list[Part] = [part] * self.size
        distributed.all_gather_object(parts, part)
        return parts


def join() -> World:
    """Connect to the other processes of torchrun through its environment variables.

    Raises:
        UsageError: a variable is missing or not a number.
    """
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        return World()
    numbers = []
    for name in ("RANK", "WORLD_SIZE"):
        value = os.environ.get(name, "")
        if not value.isascii() or not value.isdigit():
            raise UsageError(f"expected a number in {name}, as torchrun sets it, got {value!r}")
        numbers.append(int(value))
    world = World(*numbers)
    if world.size < 1 or world.rank >= world.size:
        raise UsageError(f"expected RANK below WORLD_SIZE, got {world.rank} of {world.size}")
    if world.size > 1:
        from torch import distributed

        if not distributed.is_initialized():
            distributed.init_process_group("gloo", timeout=PATIENCE)
    return world


def leave() -> None:
    """Disconnect from the other processes."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


@dataclass
class Counted:
    """The pictures behind a score.

    Attributes:
        images: number of pictures measured.
        skipped: one line per picture that could not be read or measured.
    """

    images: int = 0
    skipped: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Plain]:
        """The numbers of measured and skipped images, and the first reasons."""
        return {
            "images": self.images,
            "skipped": len(self.skipped),
            "skipped images": list(self.skipped[:SHOWN]),
        }


@dataclass(frozen=True)
class Found:
    """The rows of one unit over a data set, read lazily from the file.

    Attributes:
        places: the file position of each image's row, in the order of the set.
    """

    places: Sequence[Place]

    def __iter__(self) -> Iterator[Plain]:
        """The rows of the images that were measured, in the order of the set."""
        return self.into(Counted())

    def into(self, counted: Counted) -> Iterator[Plain]:
        """The same rows; ``counted`` records their number and the reasons of skipped images."""
        for place in self.places:
            key_and_row = read_row(place)
            assert isinstance(key_and_row, list)
            row = key_and_row[1]
            if isinstance(row, dict) and SKIPPED in row:
                counted.skipped.append(str(row[SKIPPED]))
            else:
                counted.images += 1
                yield row


def measure_rows(
    items: ItemSet[Item],
    units: Mapping[str, Mapping[str, Plain]],
    measure: Measure[Item],
    folder: Path,
    world: World | None = None,
    progress: Callable[[int, int], None] | None = None,
    group: int = 16,
) -> dict[str, Found]:
    """Measure every unit on every image of a set, except rows that are already in ``folder``.

    Args:
        items: the pictures.
        units: unit name -> the settings that its rows depend on.
        measure: measures some pictures for the units whose rows are missing.
        folder: the folder of the rows.
        world: the processes of the run; None for this one alone.
        progress: called with (images done, images in all) of this process.
        group: number of images that are encoded together.

    Returns:
        The rows of each unit, in every process.

    Raises:
        OvsegError: a fault that affects every image, or the rows cannot be written.
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
    everyone = world.gather(keys)  # also a barrier: all rows are written
    joined = {start: group_keys for part in everyone for start, group_keys in part.items()}
    order = [key for _, group_keys in sorted(joined.items()) for key in group_keys]
    return {name: _found(name, file, order) for name, file in files.items()}


def _found(name: str, file: Path, order: Sequence[str]) -> Found:
    """The rows with these keys. Raises OvsegError if some are missing."""
    places = _known(file)
    lacking = sum(key not in places for key in order)
    if lacking:
        raise OvsegError(
            f"expected {len(order)} rows of {name}, {lacking} are missing: the processes of a run need one "
            "folder, one set of files and one set of weights (random ones differ)"
        )
    return Found([places[key] for key in order])


def digest_of(content: object) -> str:
    """SHA-256 of JSON content, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file(folder: Path, name: str, settings: Mapping[str, Plain]) -> Path:
    """The unit's file without the rank: a readable name and a digest of the settings."""
    return folder / f"{slug(name)}-{digest_of(settings)[:16]}.jsonl"


def slug(name: str) -> str:
    """Make a name usable in a file name.

    >>> slug("last blocks, two paths")
    'last-blocks-two-paths'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]


def _known(file: Path) -> dict[str, Place]:
    """Key -> position of the unit's rows, from all processes and earlier runs."""
    found: dict[str, Place] = {}
    for part in sorted(file.parent.glob(f"{file.stem}.*.jsonl")):
        found.update((str(row[0]), place) for place, row in Journal(part).rows() if isinstance(row, list))
    return found


def _keys(items: ItemSet[Item], indices: range) -> list[str]:
    """A key per image of a group; it depends on the whole group, because that is encoded together."""
    whole = digest_of([items.digest(index) for index in indices])
    return [f"{whole[:32]}-{position}" for position in range(len(indices))]


def _measured(
    items: ItemSet[Item], indices: range, units: Sequence[str], measure: Measure[Item]
) -> dict[str, list[Plain]]:
    """The rows of a group: those of ``measure``, or the reason for each picture that cannot be read."""
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
    """The row of a picture that cannot be measured."""
    return {SKIPPED: reason}


def table(row: Plain) -> dict[str, Plain]:
    """Narrow a row to a dict."""
    assert isinstance(row, dict)
    return row


def numbers(row: Plain) -> list[float]:
    """Read a list of numbers from a row; undefined values (None) become NaN."""
    assert isinstance(row, list)
    return [number(value) for value in row]


def number(value: Plain) -> float:
    """Read a number from a row; an undefined value (None) becomes NaN."""
    if value is None:
        return math.nan
    assert isinstance(value, (int, float))
    return float(value)


def plain(value: float) -> Plain:
    """Store a number in a row: rounded to nine decimals, None for NaN."""
    return None if math.isnan(value) else round(float(value), DIGITS)
