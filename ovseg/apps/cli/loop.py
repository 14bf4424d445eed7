"""Runs many images through a model with progress; failures are reported and counted, and the loop goes on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import typer

from ovseg.apps.cli.shared import describe, err, note, tell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture: TypeAlias = NDArray[np.uint8]

Result = TypeVar("Result")
EVERY = 30.0
"""Seconds between lines of progress where standard error is no terminal."""


class Bar:
    """Progress with rate and remaining time: a bar on a terminal, else a line every ``EVERY`` seconds.

    Attributes:
        done, total: number of images, or of whatever ``what`` names.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.done, self.total = 0, total or 0
        self._what = what
        self._first: tuple[float, int] | None = None
        self._said = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        # Standard output is not redirected: it may go to a file or another program.
        self._shown = Progress(
            *columns,
            console=err,
            transient=True,
            disable=not err.is_interactive,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._shown.add_task(what, total=total, rate="")

    def __enter__(self) -> Bar:
        self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.stop()

    def to(self, done: int, total: int, failed: int = 0) -> None:
        """Update the progress; ``failed`` is included in ``done``."""
        self.done, self.total = done, total
        self.stage(self._what, done, total, failed)

    def stage(self, what: str, done: int, total: int, failed: int = 0) -> None:
        """Update one stage of several, such as images and then the files of each format."""
        now = time.monotonic()
        if what == "images":
            self.done, self.total = done, total
        if what != self._what or self._first is None:
            self._what, self._first = what, (now, done)
        elapsed, count = now - self._first[0], done - self._first[1]
        rate = count / elapsed if elapsed > 0 else 0.0
        said = (f"{rate:.2f}/s" if rate else "") + (f", {failed} failed" if failed else "")
        self._shown.update(self._task, description=what, completed=done, total=total, rate=said)
        if not err.is_interactive and now - self._said > EVERY:
            self._said = now
            left = f", {_duration((total - done) / rate)} left" if rate else ""
            note(f"{done} of {total} {what}, {said}{left}")


def _duration(seconds: float) -> str:
    """Format a duration.

    >>> _duration(59), _duration(3700), _duration(200000)
    ('1 min', '1 h 2 min', '55 h 33 min')
    """
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@contextmanager
def bars(what: str) -> Iterator[Callable[[int, int], None]]:
    """A ``Bar`` as a progress callback (done, total)."""
    with Bar(what) as bar:
        yield bar.to


# ---------------------------------------------------------------------------------------------- images


@dataclass(frozen=True)
class Opened:
    """What is kept of an image until its result is written.

    Attributes:
        file: the image's path.
        size: (height, width) in pixels.
        view: (h, w, 3), the picture, possibly reduced for viewing.
    """

    file: Path
    size: tuple[int, int]
    view: Picture


@dataclass(frozen=True)
class Work(Generic[Result]):
    """The steps of a command for each image.

    Attributes:
        open: reads a file; returns the picture (H, W, 3) and what is kept of it.
        each: maps (file, picture) pairs to results, in order. It may read ahead, so that pictures of one
            size are encoded in a batch.
        finish: writes a result; returns the lines to print.
    """

    open: Callable[[Path], tuple[Picture, Opened]]
    each: Callable[[Iterator[tuple[Path, Picture]]], Iterator[Result]]
    finish: Callable[[Opened, Result], Iterable[str]]

    def lines(self, opened: Opened, result: Result) -> list[str] | Exception:
        """Finish an image; returns its lines, or the error."""
        try:
            return list(self.finish(opened, result))
        except Exception as error:
            return error

    def alone(self, file: Path) -> list[str] | Exception:
        """Process one image alone; returns its lines, or the error."""
        try:
            picture, opened = self.open(file)
            return self.lines(opened, next(self.each(iter([(file, picture)]))))
        except Exception as error:
            return error


def run_images(
    files: Sequence[Path], work: Work[Result], folder: Path | None = None, notes: Sequence[str] = ()
) -> None:
    """Process every image, and print at the end how many succeeded.

    Args:
        files: the images.
        work: the steps. Its errors are attributed to single images: check before what concerns all of them.
        folder: the folder of results; None for commands that only print, which end when the pipe is closed.
        notes: lines for standard error, printed if an image succeeded.

    Raises:
        typer.Exit: 1 if an image failed, 130 after Ctrl-C.
    """
    done = failed = 0
    try:
        with Bar("images", len(files)) as bar:
            for file, lines in _through(files, work):
                if isinstance(lines, Exception):
                    note(f"error: {describe(lines, file)}")
                    failed += 1
                else:
                    done += 1
                    if not all([tell(line) for line in lines]) and folder is None:
                        raise typer.Exit(0)
                bar.to(done + failed, len(files))
    except KeyboardInterrupt:
        kept = f"; results in {folder}" if folder and done else ""
        note(f"stopped: {done} of {len(files)} images are done{kept}")
        raise typer.Exit(130) from None
    if done:
        for line in notes:
            note(line)
    if folder is not None:
        tell(f"{done} of {len(files)} images" + (f", results in {folder}" if done else ""))
    if failed:
        raise typer.Exit(1)


def _through(files: Sequence[Path], work: Work[Result]) -> Iterator[tuple[Path, list[str] | Exception]]:
    """Yield each image with its lines or its error, as soon as it is finished."""
    left = deque(files)
    while left:
        waiting: deque[Opened] = deque()
        unread: deque[tuple[Path, Exception]] = deque()

        def pictures(
            waiting: deque[Opened] = waiting, unread: deque[tuple[Path, Exception]] = unread
        ) -> Iterator[tuple[Path, Picture]]:
            while left:
                file = left.popleft()
                try:
                    picture, opened = work.open(file)
                except Exception as error:
                    unread.append((file, error))
                    continue
                waiting.append(opened)
                yield file, picture
                del picture  # free it before the next one is read

        try:
            for result in work.each(pictures()):
                while unread:
                    yield unread.popleft()
                opened = waiting.popleft()
                yield opened.file, work.lines(opened, result)
        except Exception as error:  # one of the waiting images failed: process them one by one
            if not waiting and not unread:
                raise
            if len(waiting) == 1:
                yield waiting[0].file, error
            else:
                yield from ((opened.file, work.alone(opened.file)) for opened in waiting)
        yield from unread
