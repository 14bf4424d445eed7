"""The run folder: its settings, its manifest, its records; for one writer, or for reading.

run.json          the settings of every run into this folder, by their digest
manifest.jsonl    a line for each finished image
records/          NAME.json: the regions of each image, from which every format is written
coco/ voc/ …      the formats
summary.json, summary.txt
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ovseg.annotation.manifest import Lock, Manifest, Row, read_rows
from ovseg.annotation.records import Record, read_record
from ovseg.errors import DataError, UsageError
from ovseg.files.paths import shown
from ovseg.files.write import make_folder, write_json

KIND = "ovseg annotate"
RUN, MANIFEST, RECORDS = "run.json", "manifest.jsonl", "records"
Settings = dict[str, object]


@dataclass(frozen=True)
class RunInfo:
    """What ``run.json`` says.

    Attributes:
        current: the digest of the settings of the last run.
        runs: each run's settings and what else is known of it, by the digest of the settings.
    """

    current: str
    runs: dict[str, dict[str, object]]

    @property
    def names(self) -> tuple[str, ...]:
        """Every class: those of the last run in order, then those of earlier ones, sorted."""
        listed = [self._names(key) for key in (self.current, *sorted(self.runs))]
        extra = {name for names in listed for name in names} - set(listed[0])
        return (*listed[0], *sorted(extra))

    @property
    def background(self) -> int | None:
        """The index of the class "background" among ``names``."""
        folded = [" ".join(name.split()).casefold() for name in self.names]
        return folded.index("background") if "background" in folded else None

    @property
    def task(self) -> str:
        """What the last run made: "instances" or "labels"."""
        return str(self._part(self.current, "options").get("task", "instances"))

    def _names(self, key: str) -> list[str]:
        found = self._part(key, "classes").get("names")
        return [str(name) for name in found] if isinstance(found, list) else []

    def _part(self, key: str, part: str) -> Mapping[str, object]:
        settings = self.runs.get(key, {}).get("settings")
        found = settings.get(part) if isinstance(settings, dict) else None
        return found if isinstance(found, dict) else {}


def digest_of(settings: Mapping[str, object]) -> str:
    """Twelve hexadecimal digits that are equal for equal settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def read_info(folder: Path) -> RunInfo | None:
    """What ``run.json`` says; None where the folder has none.

    Raises:
        DataError: it is something else.
    """
    path = folder / RUN
    try:
        content = json.loads(path.read_bytes())
        if content["kind"] != KIND or content["current"] not in content["runs"]:
            raise KeyError
        return RunInfo(content["current"], content["runs"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"expected to read {shown(path)}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"expected the settings of a run, {shown(path)} holds something else") from None


def record_path(folder: Path, stem: str) -> Path:
    """The file of one image's record."""
    return folder / RECORDS / f"{stem}.json"


def records_of(folder: Path, rows: Mapping[str, Row]) -> Iterator[Record]:
    """The records of all finished images, sorted by their stems. Raises DataError."""
    for stem in sorted(stem for stem, row in rows.items() if "error" not in row):
        yield read_record(record_path(folder, stem))


def read_run(folder: Path) -> tuple[RunInfo, Callable[[], Iterator[Record]], dict[str, Row]]:
    """A run folder for reading, while a run may go on: its settings, its records and its rows.

    Raises:
        DataError: it is no run folder.
    """
    info = read_info(folder)
    if info is None:
        raise DataError(f"expected the folder of a run, {shown(folder)} has no {RUN}")
    rows, _, _ = read_rows(folder / MANIFEST)
    return info, lambda: records_of(folder, rows), rows


class RunFolder:
    """A run folder that this process alone writes into.

    Args:
        path: the folder; it is made where it is missing.
        settings: whatever decides the result.
        known: what else is written down of the run: versions, device.
        mix: go on where the folder's settings are others.

    Attributes:
        info: what ``run.json`` says now.
        key: the digest of these settings.
        manifest: the rows.
        notes: what was found damaged and is done again.

    Raises:
        UsageError: another run writes there, or its settings are others and ``mix`` is False.
        OvsegError: the folder cannot be written.
    """

    def __init__(
        self, path: Path, settings: Settings, known: Mapping[str, object], mix: bool = False
    ) -> None:
        self.path = make_folder(path)
        self.key = digest_of(settings)
        self.notes: list[str] = []
        self._lock = Lock(path)
        try:
            before = read_info(path)
            if before is not None:
                self._check(before, settings, mix)
                _remove_partial(path)
            self.reordered = before is not None and before.current != self.key
            runs = {**(before.runs if before else {}), self.key: {"settings": settings, **known}}
            self.info = RunInfo(self.key, runs)
            if before is None or before != self.info:
                write_json(path / RUN, {"kind": KIND, "current": self.key, "runs": runs})
            self.manifest = Manifest(path / MANIFEST)
        except BaseException:
            self._lock.release()
            raise
        if self.manifest.damaged:
            self.notes.append(
                f"{self.manifest.damaged} damaged lines of {MANIFEST}: their images are done again"
            )

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.manifest.close()
        self._lock.release()

    def records(self) -> Iterator[Record]:
        """The records of all finished images, sorted by their stems. Raises DataError."""
        return records_of(self.path, self.manifest.rows)

    def record_path(self, stem: str) -> Path:
        """The file of one image's record."""
        return record_path(self.path, stem)

    def _check(self, before: RunInfo, settings: Settings, mix: bool) -> None:
        if self.key == before.current or mix:
            return
        old = before.runs[before.current].get("settings")
        changed = differences(old, settings)
        told = "; ".join(changed[:4]) + (f" and {len(changed) - 4} more" if len(changed) > 4 else "")
        raise UsageError(
            f"expected the settings of the run in {shown(self.path)}, got others: {told}. Take another folder, "
            "or mix (--mix) to go on with these: finished images stay as they are"
        )


def differences(old: object, new: object, path: str = "") -> list[str]:
    """A line for each value that differs between two settings.

    >>> differences({"options": {"clean": 0.02, "halve": True}}, {"options": {"clean": 0.1, "halve": True}})
    ['options.clean 0.02 -> 0.1']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*new, *(key for key in old if key not in new)]
        parts = [
            differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key)) for key in keys
        ]
        return [line for part in parts for line in part]
    return [] if old == new else [f"{path} {_brief(old)} -> {_brief(new)}"]


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _remove_partial(folder: Path) -> None:
    """Remove what a killed run was just writing; nobody else writes here."""
    for place, _, files in os.walk(folder):
        for name in files:
            if name.startswith(".ovseg-"):
                with suppress(OSError):
                    os.unlink(os.path.join(place, name))


def counted(rows: Sequence[Row]) -> dict[str, int]:
    """Masks of each class over some rows, in alphabetical order."""
    total: dict[str, int] = {}
    for row in rows:
        masks = row.get("masks")
        for name, count in masks.items() if isinstance(masks, dict) else ():
            total[name] = total.get(name, 0) + int(count)
    return dict(sorted(total.items()))
