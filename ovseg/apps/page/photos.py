"""The photos of a page and the decision on each, kept in a run folder of ``ovseg annotate``.

An accepted picture becomes a record and a row of the manifest, a skipped one a row with that reason. So the
page goes on where it was closed, ``ovseg convert`` and ``ovseg review`` read what was accepted, and
``ovseg annotate`` with the same settings does the rest.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ovseg.annotation.records import Picture, without_ending
from ovseg.annotation.run.annotate import make_writers
from ovseg.annotation.run.folder import MANIFEST, RunFolder, Settings, digest_of, read_info
from ovseg.annotation.run.images import ImageFile, Row, find_inputs, read_rows
from ovseg.annotation.run.known import recognise
from ovseg.annotation.run.plan import Outcome, finish, make_plan, renew
from ovseg.annotation.run.reading import Loaded
from ovseg.annotation.run.work import make_record, write_record
from ovseg.apps.page.answers import Step
from ovseg.errors import OvsegError, UsageError, short_repr
from ovseg.files.find import cut_name, suffixes
from ovseg.files.paths import expand, shown
from ovseg.files.write import make_folder, write_file
from ovseg.options import FORMATS, FormatOptions
from ovseg.options.checks import check_choice

UPLOADS = "photos"
"""The folder of added photos, below the run folder."""
SKIPPED = "skipped on the page"
ACCEPTED, OPEN = "accepted", "open"


class Photos:
    """The pictures of a page, in order, and the run folder with the decisions.

    Args:
        out: the run folder; it is created with the first decision or added photo.
        known: what a run records besides its settings.

    Attributes:
        jobs: the pictures, in the order in which they are shown.
        rows: the manifest's rows, by stem.

    Raises:
        OvsegError: the run folder holds something else, or cannot be read.
    """

    def __init__(self, out: Path, known: Mapping[str, object]) -> None:
        self.out, self.known = out, known
        self.jobs: list[ImageFile] = []
        self._run: RunFolder | None = None
        read_info(out)  # another kind of folder is refused before anything is written
        self._rows = read_rows(out / MANIFEST)
        self._add(self._uploaded())

    @property
    def rows(self) -> Mapping[str, Row]:
        return self._rows if self._run is None else self._run.rows

    def open(
        self, folder: str | os.PathLike[str], recursive: bool = False, confined: bool = False
    ) -> list[str]:
        """Replace the pictures by the images of a folder; added photos stay.

        Args:
            folder: a folder, an image, a pattern or a list, as ``ovseg annotate`` takes it.
            recursive: search subfolders, too.
            confined: leave out links to files outside the folder.

        Returns:
            A line for whatever was left out.

        Raises:
            UsageError: it does not exist, or there is no image in it.
        """
        found, lines = find_photos(folder, recursive, self.out)
        if confined:
            inside = inside_folder(found, folder)
            if len(inside) < len(found):
                lines.append(
                    f"{len(found) - len(inside)} links to files outside {shown(folder)} are left out"
                )
            if not inside:
                raise UsageError(lines[-1])
            found = inside
        self.jobs = []
        self._add([*found, *self._uploaded()])
        return lines

    def upload(self, name: str, content: bytes) -> ImageFile:
        """Store a file as a picture of the run; the same name and content are stored once.

        Args:
            name: the file's name; only the last part of a path is used.
            content: the bytes of the file.

        Raises:
            UsageError: the name has no ending of an image.
            OvsegError: it cannot be written.
        """
        name = "".join(letter for letter in re.split(r"[/\\]", name)[-1] if letter.isprintable()).lstrip(". ")
        stem, ending = os.path.splitext(name)
        if not stem or ending.lower() not in suffixes():
            raise UsageError(f"expected a photo such as .jpg or .png, got {short_repr(name)}")
        kept = self._keep(cut_name(stem), ending, content)
        if all(kept.path != known.path for known in self.jobs):
            self._add([kept])
        return next(job for job in self.jobs if job.path == kept.path)

    def state(self, job: ImageFile) -> str:
        """``ACCEPTED``, ``SKIPPED`` or ``OPEN``."""
        row = self.rows.get(job.stem, {})
        if row.get("skipped"):
            return SKIPPED
        return ACCEPTED if row.get("accepted") else OPEN

    def count(self, state: str) -> int:
        """The number of pictures in a state."""
        return sum(self.state(job) == state for job in self.jobs)

    def next_open(self, after: int = -1) -> int | None:
        """The index of the next picture without a decision; after the last picture, the search starts over."""
        places = [*range(after + 1, len(self.jobs)), *range(min(after + 1, len(self.jobs)))]
        return next((place for place in places if self.state(self.jobs[place]) == OPEN), None)

    def steps(self, job: ImageFile) -> list[Step]:
        """The corrections that were stored when the picture was accepted."""
        kept = self.rows.get(job.stem, {}).get("steps")
        return [_read_step(one) for one in kept] if isinstance(kept, list) else []

    def accept(self, loaded: Loaded, found: Picture, steps: Sequence[Step], settings: Settings) -> None:
        """Store the regions of a picture. Everything is on disk when this returns.

        Raises:
            UsageError: another run writes into the run folder.
            OvsegError: they cannot be written.
        """
        assert loaded.picture is not None
        run = self._run_for(settings)
        size = (loaded.picture.shape[0], loaded.picture.shape[1])
        written = write_record(make_record(loaded.row, found, size, run.key), run.path, ())
        decided: Row = {"run": run.key, "accepted": True, "steps": [_as_row(one) for one in steps]}
        self._keep_row(run, {**loaded.row, **written, **decided})

    def skip(self, loaded: Loaded, settings: Settings) -> None:
        """Leave a picture out of the results; it may be accepted later. Raises as ``accept``."""
        run = self._run_for(settings)
        written = run.rows.get(loaded.row["stem"], {}).get("formats", [])
        self._keep_row(run, {"error": SKIPPED, **loaded.row, "skipped": True, "formats": written})

    def export(self, formats: Sequence[str], options: FormatOptions | None = None) -> Outcome:
        """Write label files of all accepted pictures, each format into a folder of its name in the run folder.

        Raises:
            UsageError: a format is unknown or cannot hold the words, or nothing was accepted.
            OvsegError: a file cannot be written.
        """
        listed = list(dict.fromkeys(formats))
        if not listed:
            raise UsageError(f"expected a format, one of {', '.join(FORMATS)}, got none")
        for name in listed:
            check_choice("format", name, FORMATS)
        if all("error" in row for row in self.rows.values()):
            raise UsageError("expected a picture that was accepted, got none")
        run = self._run or self._open_run(self._last_settings())
        writers = make_writers(listed, self.out.absolute(), run.info, options)
        renew(run, make_plan(self.jobs, run, len(self.jobs) or 1).renewed)  # photos that were moved
        outcome = finish(run, writers, self.jobs, 0)
        run.sync()
        return outcome

    def leftovers(self) -> list[str]:
        """Names of pictures that were skipped after an export, whose label files still exist."""
        return [str(row["name"]) for row in self.rows.values() if row.get("skipped") and row.get("formats")]

    def close(self) -> None:
        """Write everything to disk and release the run folder."""
        if self._run is not None:
            self._rows = dict(self._run.rows)
            run, self._run = self._run, None
            run.__exit__()

    def _add(self, jobs: Sequence[ImageFile]) -> None:
        """Append images; those that the run knows keep their stems."""
        listed: dict[str, Row] = {
            job.stem: {"stem": job.stem, "name": job.name, "image": str(job.path)} for job in self.jobs
        }
        self.jobs = [*self.jobs, *recognise(jobs, {**listed, **self.rows})]

    def _uploaded(self) -> list[ImageFile]:
        folder = self.out / UPLOADS
        if not folder.is_dir() or folder.is_symlink():
            return []
        known = suffixes()
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in known)
        files = [path for path in found if not path.is_symlink()]  # what was uploaded is a file
        return [ImageFile(path.absolute(), path.name, without_ending(path.name)) for path in files]

    def _keep(self, stem: str, ending: str, content: bytes) -> ImageFile:
        """Write a file of this content below the run folder, unless it exists already."""
        folder = make_folder(self.out / UPLOADS)
        if folder.is_symlink():
            raise UsageError(f"expected a folder for photos, {shown(folder)} is a link")
        target, number = folder / f"{stem}{ending}", 1
        while os.path.lexists(target) and not _holds(target, content):
            number += 1
            target = folder / f"{stem}_{number}{ending}"
        if not os.path.lexists(target):
            write_file(target, lambda file: file.write(content))
        return ImageFile(target.absolute(), target.name, without_ending(target.name))

    def _keep_row(self, run: RunFolder, row: Row) -> None:
        run.append(row)
        run.sync()

    def _run_for(self, settings: Settings) -> RunFolder:
        if self._run is None or self._run.key != digest_of(settings):
            return self._open_run(settings)
        return self._run

    def _open_run(self, settings: Settings) -> RunFolder:
        self.close()
        self._run = RunFolder(self.out, settings, self.known, mix=True)  # words change while one works
        return self._run

    def _last_settings(self) -> Settings:
        info = read_info(self.out)
        found = info.runs[info.current].get("settings") if info is not None else None
        if not isinstance(found, dict):
            raise UsageError("expected a picture that was accepted, got none")
        return found


def find_photos(
    folder: str | os.PathLike[str], recursive: bool, out: Path
) -> tuple[list[ImageFile], list[str]]:
    """Find the images of a folder.

    Args:
        folder: a folder, an image, a pattern or a list, as ``ovseg annotate`` takes it.
        recursive: with the folders in it.
        out: the run folder; files in it are excluded.

    Raises:
        UsageError: it does not exist, or there is no image in it.
    """
    text = os.fspath(folder).strip()
    if not text:
        raise UsageError("expected a folder of photos, got none")
    if not glob.has_magic(text) and not os.path.exists(expand(text)):
        raise UsageError(f"expected a folder of photos, {shown(text)} does not exist")
    return find_inputs([text], recursive, out)


def inside_folder(found: Sequence[ImageFile], folder: str | os.PathLike[str]) -> list[ImageFile]:
    """Drop images whose files, once links are followed, lie outside the folder or that in which a pattern begins.

    Images that were named one by one or in a list are kept.
    """
    root = Path(expand(os.fspath(folder).strip()))
    while not os.path.lexists(root) and glob.has_magic(str(root)):
        root = root.parent
    if not root.is_dir():
        return list(found)
    begin = os.path.join(os.path.realpath(root), "")
    return [one for one in found if os.path.realpath(one.path).startswith(begin)]


def _holds(path: Path, content: bytes) -> bool:
    """Whether a path is a regular file, not a link, with this content."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != len(content):
        return False
    try:
        return path.read_bytes() == content
    except OSError as error:
        raise OvsegError(f"expected to read {shown(path)}: {error.strerror}") from None


def _as_row(step: Step) -> list[object]:
    """Convert a step to the form in the manifest."""
    return [step.word] if step.click is None else [step.word, step.click[0], step.click[1], step.click[2]]


def _read_step(kept: object) -> Step:
    """Parse what ``_as_row`` wrote. Raises OvsegError for anything else."""
    match kept:
        case [str(word)]:
            return Step(word)
        case [str(word), float() | int() as x, float() | int() as y, bool(on)]:
            return Step(word, (float(x), float(y), on))
    raise OvsegError(f"expected the corrections of a picture in {MANIFEST}, got {kept!r}")
