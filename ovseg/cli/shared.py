"""What the commands share: options, errors as one line, images one after the other."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ovseg.errors import OvsegError, OvsegWarning, UsageError

if TYPE_CHECKING:
    import numpy as np

    from ovseg.model import Model
    from ovseg.vocabulary import Vocabulary

# Paths are printed as they are: ":cat:" in one is no emoji.
out, err = Console(soft_wrap=True, emoji=False), Console(stderr=True, soft_wrap=True, emoji=False)

Images = Annotated[
    list[str], typer.Argument(metavar="IMAGE… NAMES", help="Images or folders, then the names: 'sky, tree'.")
]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
ModelName = Annotated[str, typer.Option("--model", help="'tiny' (embedded) or a name of open_clip's.")]
Weights = Annotated[str | None, typer.Option(help="open_clip tag or checkpoint file, e.g. openai.")]
MethodName = Annotated[
    str, typer.Option(help="clip, maskclip, clip_surgery, gem, sclip, clearclip, naclip, segearth.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")]
Precision = Annotated[str, typer.Option(help="fp32, bf16, or fp16 on a GPU.")]
SizeText = Annotated[
    str | None, typer.Option("--size", help="Encoder input: 512 for a square, 384x512 for height x width.")
]
Templates = Annotated[
    str, typer.Option(help="Prompts: paper (85), imagenet (80), plain, or 'a photo of a {}'.")
]
VocabularyName = Annotated[
    str | None, typer.Option("--vocabulary", help="A data set's names or a file instead of NAMES.")
]
Npz = Annotated[bool, typer.Option("--npz", help="Also write the arrays.")]
Json = Annotated[bool, typer.Option("--json", help="Also write a JSON per image.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
Cache = Annotated[bool, typer.Option("--cache/--no-cache", help="Keep text features on disk.")]


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """ovseg's errors become one line and their exit code; so do its warnings, without the code."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other packages' warnings are for developers
            warnings.simplefilter("always", OvsegWarning)
            warnings.showwarning = lambda message, *_, **__: err.print(f"warning: {message}", markup=False)
            try:
                command(*args, **options)
            except OvsegError as error:
                say(error)
                raise typer.Exit(error.exit_code) from None
            except KeyboardInterrupt:
                err.print("stopped; what was finished is kept")
                raise typer.Exit(130) from None

    return run


def say(error: Exception) -> None:
    err.print(f"error: {' '.join(str(error).split())}", markup=False, highlight=False)


def images_and_names(arguments: Sequence[str], vocabulary: str | None) -> tuple[list[Path], Vocabulary]:
    from ovseg.io.images import SUFFIXES, find_images
    from ovseg.vocabulary import as_vocabulary, load_vocabulary

    paths = list(arguments)
    if vocabulary is not None:
        names = load_vocabulary(vocabulary)
    elif len(paths) < 2:
        raise UsageError(f"wanted images and then the names, got only {paths[0]!r}")
    else:
        last = paths.pop()
        if Path(last).suffix.lower() in SUFFIXES and os.path.isfile(last):
            raise UsageError(f"wanted the names after the images, got an image last: {last}")
        names = as_vocabulary(last)
    files, empty = find_images(paths)
    if empty and not files:
        raise UsageError(empty[0])
    for line in empty:
        err.print(f"warning: {line}", markup=False)
    return files, names


def load_model(
    name: str, weights: str | None, method: str, device: str, precision: str, offline: bool, cache: bool
) -> Model:
    from ovseg.clip.embedded import NAME
    from ovseg.model import load_model as load

    if name != NAME and weights is None:
        raise UsageError(
            f"wanted --weights (a tag or a file) with --model {name}: random weights see nothing"
        )
    return load(
        name, weights, method=method, device=device, precision=precision, cache=cache, offline=offline
    )


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise UsageError(f"wanted --size 512 or 384x512 (height x width), got {text!r}")
    values = [int(part) for part in parts]
    return values[0] if len(values) == 1 else (values[0], values[1])


def parse_background(text: str | None) -> float | list[str] | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return [word.strip() for word in text.split(",")]


def add_ending(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)


def run_images(files: list[Path], folder: Path, work: Callable[[np.ndarray, Path], None]) -> None:
    """Every image through ``work``; what fails is said and counted, the rest is done."""
    from ovseg.io.images import load_image, output_stems
    from ovseg.io.writers import make_folder

    make_folder(folder)
    failed = 0
    for file, stem in tracked(list(output_stems(files).items())):
        try:
            work(load_image(file), folder / stem)
        except OvsegError as error:
            if error.exit_code == 2:  # the call is wrong, and would be for every image
                raise
            say(error)
            failed += 1
    done = len(files) - failed
    out.print(f"{done} of {len(files)} images, results in {folder}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(1)


def tracked(items: list[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not sys.stderr.isatty()) as progress:
        yield from progress.track(items, description="images")
