"""One image after the other: what fails is said and counted, the rest is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ovseg.apps.cli.shared import describe, err, note, tell


@dataclass(frozen=True)
class Bar:
    """A progress bar on standard error; nothing is drawn where that is no terminal."""

    progress: Progress
    task: TaskID

    def to(self, done: int, total: int) -> None:
        """Set how much of how much is done."""
        self.progress.update(self.task, completed=done, total=total)


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Bar]:
    """A bar that is taken away when the block is left, by an error or Ctrl-C too."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Standard output is left alone: what is printed there may go to a file or another program.
    shown = Progress(
        *columns,
        console=err,
        transient=True,
        disable=not err.is_interactive,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with shown as progress:
        yield Bar(progress, progress.add_task(what, total=total))


@contextmanager
def bars(what: str) -> Iterator[Callable[[int, int], None]]:
    """``progress_bar`` as a function of (done, total), for rooms that know no bar."""
    with progress_bar(what) as bar:
        yield bar.to


def run_images(
    files: Sequence[Path],
    work: Callable[[Path], Iterable[str]],
    folder: Path | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Every image through ``work``; at the end, how many were done.

    Args:
        files: the images.
        work: does one image and gives the lines to print. Whatever it raises concerns this image alone: what
            is wrong for every image has to be checked before.
        folder: where the results go; None for commands that only print, which end when nobody reads any more.
        notes: lines for standard error once something was done.

    Raises:
        typer.Exit: 1 where an image failed, 130 after Ctrl-C.
    """
    done = failed = 0
    try:
        with progress_bar("images", len(files)) as bar:
            for file in files:
                try:
                    lines = list(work(file))
                except Exception as error:
                    note(f"error: {describe(error, file)}")
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
