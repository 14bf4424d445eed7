"""The run folder: its settings, manifest and records; for any number of readers and one writer.

run.json          the settings of every run into this folder, by their digest
manifest.jsonl    a line for each finished image
records/          NAME.json: the regions of each image; every format is written from them
coco/ voc/ …      the formats
summary.json, summary.txt
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from ovseg.annotation.records import Record, read_record
from ovseg.annotation.run.images import Row, read_rows
from ovseg.annotation.run.known import is_same
from ovseg.errors import DataError, UsageError
from ovseg.files.find import suffixes
from ovseg.files.journal import Journal, Json
from ovseg.files.paths import shown
from ovseg.files.write import locked, make_folder, write_json
from ovseg.options import FORMATS

KIND = "ovseg annotate"
RUN, MANIFEST, RECORDS, LOCK = "run.json", "manifest.jsonl", "records", ".lock"
Settings = Mapping[str, object]


@dataclass(frozen=True)
class RunInfo:
    """The content of ``run.json``.

    Attributes:
        current: the digest of the settings of the last run.
        runs: by the digest of their settings, each run's settings, package versions and device.
    """

    current: str
    runs: dict[str, dict[str, object]]

    @property
    def names(self) -> tuple[str, ...]:
        """All classes: those of the last run in order, then further ones of earlier runs, sorted."""
        listed = [self.names_of(key) for key in (self.current, *sorted(self.runs))]
        extra = {name for names in listed for name in names} - set(listed[0])
        return (*listed[0], *sorted(extra))

    @property
    def background(self) -> int | None:
        """The index of the class "background" in ``names``, or None."""
        folded = [" ".join(name.split()).casefold() for name in self.names]
        return folded.index("background") if "background" in folded else None

    @property
    def task(self) -> str:
        """The last run's task: "instances" or "labels"."""
        return str(self._part(self.current, "options").get("task", "instances"))

    @property
    def overlaps(self) -> bool:
        """Whether regions of the last run may share pixels."""
        return bool(self._part(self.current, "options").get("overlap", True))

    def names_of(self, key: str | None) -> list[str]:
        """The classes of one run, in order."""
        found = self._part(key, "classes").get("names")
        return [str(name) for name in found] if isinstance(found, list) else []

    def _part(self, key: str | None, part: str) -> Mapping[str, object]:
        settings = self.runs.get(key or "", {}).get("settings")
        found = settings.get(part) if isinstance(settings, dict) else None
        return found if isinstance(found, dict) else {}


def digest_of(settings: Settings) -> str:
    """A digest of settings in twelve hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def read_info(folder: Path) -> RunInfo | None:
    """Read ``run.json``; None if the folder has none.

    Raises:
        DataError: it has another content.
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
    """The path of an image's record."""
    return folder / RECORDS / f"{stem}.json"


def record_of(folder: Path, row: Row) -> Record:
    """The record of a finished image. Raises DataError.

    Its ``image`` is the manifest's path if that file still has the content that the run saw, else None. The
    path in the record is not trusted, because the file may be linked or copied.
    """
    image = row.get("image")
    known = image is not None and Path(image).suffix.lower() in suffixes()  # else it is linked to as an image
    seen = image is not None and known and row.get("bytes") is not None and is_same(row, image)
    return replace(read_record(record_path(folder, row["stem"])), image=image if seen else None)


def records_of(folder: Path, rows: Mapping[str, Row]) -> Iterator[Record]:
    """The records of all finished images, sorted by their stems. Raises DataError."""
    good = [row for _, row in sorted(rows.items()) if "error" not in row]
    return map(partial(record_of, folder), good)  # a generator would end with the first damaged record


def read_run(folder: Path) -> tuple[RunInfo, Callable[[], Iterator[Record]], dict[str, Row]]:
    """Read a run folder's settings, records and rows. A run may be writing to it.

    Raises:
        DataError: it is not a run folder.
    """
    info = read_info(folder)
    if info is None:
        raise DataError(f"expected the folder of a run, {shown(folder)} has no {RUN}")
    rows = read_rows(folder / MANIFEST)
    return info, lambda: records_of(folder, rows), rows


class RunFolder:
    """A run folder, locked for writing by this process.

    Args:
        path: the folder, which is created if it is missing.
        settings: everything that decides the result.
        known: recorded beside the settings: versions, device.
        mix: resume a run that has different settings.

    Attributes:
        info: the content of ``run.json``.
        key: the digest of ``settings``.
        rows: the manifest's row of each image, by stem.
        notes: a line on damaged content that was removed.

    Raises:
        UsageError: another run holds the lock, the settings differ and ``mix`` is False, or a folder in it is
            a link.
        OvsegError: the folder cannot be written.
    """

    def __init__(self, path: Path, settings: Settings, known: Settings, mix: bool = False) -> None:
        self.path = make_folder(path)
        self.key = digest_of(settings)
        with ExitStack() as held:
            held.enter_context(locked(path / LOCK, wait=False))
            before = read_info(path)
            if before is not None:
                self._check(before, settings, mix)
            _clean(path, before is not None)
            runs = {**(before.runs if before else {}), self.key: {"settings": settings, **known}}
            self.info = RunInfo(self.key, runs)
            if before != self.info:
                write_json(path / RUN, {"kind": KIND, "current": self.key, "runs": runs})
            self._journal = held.enter_context(Journal(path / MANIFEST))
            damaged = self._journal.repair()
            again = f"{damaged} damaged lines of {MANIFEST}: their images are done again"
            self.notes = [again] if damaged else []
            self.rows = read_rows(path / MANIFEST)
            self._held = held.pop_all()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def append(self, row: Row) -> None:
        """Append a row to the manifest, after its files were written.

        Raises:
            OvsegError: it cannot be written; the manifest is unchanged.
        """
        self._journal.append([cast("Json", row)])
        self.rows[row["stem"]] = row

    def sync(self) -> None:
        """Flush the manifest to the disk."""
        self._journal.sync()

    def finished(self) -> list[Row]:
        """The rows of images with a result, sorted by their stems."""
        return [row for _, row in sorted(self.rows.items()) if "error" not in row]

    def records(self) -> Iterator[Record]:
        """The records of all finished images, sorted by their stems. Raises DataError."""
        return records_of(self.path, self.rows)

    def _check(self, before: RunInfo, settings: Settings, mix: bool) -> None:
        if self.key == before.current or mix:
            return
        changed = differences(before.runs[before.current].get("settings"), settings)
        told = "; ".join(changed[:4]) + (f" and {len(changed) - 4} more" if len(changed) > 4 else "")
        raise UsageError(
            f"expected the settings of the run in {shown(self.path)}, got others: {told}. Take another folder, "
            "or mix (--mix) to go on with these: finished images stay as they are"
        )


def differences(old: object, new: object, path: str = "") -> list[str]:
    """Describe each value that differs between two settings, one a line.

    >>> differences({"options": {"clean": 0.02, "batch": 1}}, {"options": {"clean": 0.1, "batch": 1}})
    ['options.clean 0.02 -> 0.1']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*new, *(key for key in old if key not in new)]
        parts = (differences(old.get(key), new.get(key), f"{path}.{key}".lstrip(".")) for key in keys)
        return [line for part in parts for line in part]
    return [] if old == new else [f"{path} {_brief(old)} -> {_brief(new)}"]


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _clean(folder: Path, is_run: bool) -> None:
    """Reject links in place of folders, because writes would follow them; remove temporary files of a kill.

    Args:
        folder: the run folder, locked.
        is_run: whether it was a run folder before, so that temporary files in it are ovseg's.
    """
    ours = [(str(folder), [RECORDS, *FORMATS], os.listdir(folder))]
    ours += [found for name in ours[0][1] for found in os.walk(folder / name)]
    for place, folders, files in ours:
        for name in folders:
            if os.path.islink(path := os.path.join(place, name)):
                raise UsageError(f"expected the folder of a run, {shown(path)} is a link")
        for name in files if is_run else ():
            if name.startswith(".ovseg-"):
                with suppress(OSError):
                    os.unlink(os.path.join(place, name))
