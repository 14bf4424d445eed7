"""The arguments that all commands on images have: which files, which names, and where results go."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovseg.apps.cli.commands import OWN
from ovseg.apps.cli.loop import Opened
from ovseg.apps.cli.shared import note
from ovseg.errors import ImageError, UsageError, short_repr
from ovseg.files.paths import check_file, expand, shown
from ovseg.options import Options
from ovseg.options.fields import ANY_TEXT, FLAG, TEXT, option
from ovseg.words.vocabulary import Vocabulary, as_vocabulary, load_vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGE = 50_000_000
"""Pixels from which on it is said how much memory an image takes."""
Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE... NAMES", help="Images or folders, then the names: 'sky, tree'.", show_default=False
    ),
]


@dataclass(frozen=True, kw_only=True)
class NamedImages(Options):
    """Which names a command looks for in its images."""

    vocabulary: str | None = option(
        None,
        TEXT,
        "A data set's names (ovseg list vocabularies) or a file, a name a line, in place of NAMES.",
        OWN,
    )
    recursive: bool = option(False, FLAG, "Search the folders of a folder too.", OWN)


@dataclass(frozen=True, kw_only=True)
class ResultFiles(NamedImages):
    """Where a command's results go."""

    out: str = option("ovseg-out", ANY_TEXT, "Folder for the results.", OWN)


@dataclass(frozen=True, kw_only=True)
class ArrayFiles(ResultFiles):
    """Which files there are besides pictures."""

    npz: bool = option(False, FLAG, "Also write the arrays.", OWN)
    json: bool = option(False, FLAG, "Also write a JSON file for each image.", OWN)


@dataclass(frozen=True)
class Inputs:
    """What a command works on.

    Attributes:
        stems: each image with the beginning of its results' names.
        names: the names, from the arguments or a vocabulary.
    """

    stems: dict[Path, str]
    names: Vocabulary

    @property
    def files(self) -> list[Path]:
        """The images."""
        return list(self.stems)


def read_inputs(arguments: Sequence[str], chosen: NamedImages, caption: bool = False) -> Inputs:
    """The images and names of a command line. No image is opened.

    Without a vocabulary the last words are the names: all that are neither a file or folder nor written like
    one, "photo.jpg sky cow" as well as "photo.jpg 'sky, cow'".

    Args:
        arguments: images or folders, then the names.
        chosen: a vocabulary in place of names, and whether folders are searched to the bottom.
        caption: the names are one text, commas included.

    Raises:
        UsageError: there are no names, or no images, or none of the paths exists.
    """
    paths, words = list(arguments), list[str]()
    if chosen.vocabulary is None:
        paths, words = _split(paths)
    check_paths(paths)
    names = load_vocabulary(chosen.vocabulary) if chosen.vocabulary is not None else _names(words, caption)
    from ovseg.files.find import find_images, output_stems

    files, lines = find_images(paths, chosen.recursive)
    if not files:
        raise UsageError(lines[0])
    for line in lines:
        note(f"warning: {line}")
    return Inputs(output_stems(files, paths), names)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Paths, of which there is at least one, and the words after them, of which there is at least one."""
    if len(arguments) < 2:
        raise UsageError(f"expected images and then the names, got only {arguments[0]!r}")
    first = len(arguments) - 1
    if _is_picture(arguments[first]):
        last = shown(arguments[first])
        raise UsageError(f"expected the names after the images, got an image last: {last}")
    while first > 1 and not _is_path(arguments[first - 1]):
        first -= 1
    return arguments[:first], arguments[first:]


def _is_path(text: str) -> bool:
    """Whether an argument is a file or folder, or is written like one: with a slash, or an ending."""
    return (
        bool(re.search(r"[/\\]|\.\w{2,5}$", text))
        or text.startswith("~")
        or os.path.lexists(expand(text or "."))
    )


def _is_picture(text: str) -> bool:
    if not re.search(r"\.\w{2,5}$", text) or not os.path.isfile(text):
        return False
    from ovseg.files.find import suffixes

    return Path(text).suffix.lower() in suffixes()


def _names(words: Sequence[str], caption: bool) -> Vocabulary:
    if not caption:
        return as_vocabulary(words[0] if len(words) == 1 else ", ".join(map(_without_comma, words)))
    if len(words) > 1:
        raise UsageError(
            f"expected one caption in quotation marks, got {short_repr(' '.join(words))} without"
        )
    return as_vocabulary(words)


def _without_comma(word: str) -> str:
    return word.rstrip().removesuffix(",")


def check_paths(paths: Sequence[str]) -> None:
    """Raise UsageError for an empty path or an address, and where no path exists: else the others are done."""
    missing = []
    for path in paths:
        if not path.strip():
            raise UsageError(f"expected an image or a folder, got {path!r}")
        try:
            if not os.path.isdir(expand(path)):
                check_file(path, "an image or a folder")
        except ImageError as error:
            missing.append(error)
    if missing and len(missing) == len(paths):
        raise UsageError(str(missing[0]))


def open_image(file: Path, takes: int, side: int | None = None) -> tuple[NDArray[np.uint8], Opened]:
    """The picture (H, W, 3) of a file and what is kept of it; what a large one takes is said.

    Args:
        file: the image.
        takes: bytes of memory that the work on it takes for each pixel.
        side: the longest side in pixels of the picture that is kept; None keeps it as it is.

    Raises:
        ImageError: the file cannot be read.
    """
    from ovseg.files import pictures
    from ovseg.files.sizes import shrunk, viewing_size

    image = pictures.load_image(file)
    size = (image.shape[0], image.shape[1])
    pixels = size[0] * size[1]
    if pixels > LARGE:
        gigabytes = pixels * takes / 1e9
        note(f"note: {shown(file)} has {pixels / 1e6:.0f} megapixels, which take about {gigabytes:.1f} GB")
    return image, Opened(file, size, shrunk(image, size if side is None else viewing_size(size, side)))


def check_out(text: str) -> Path:
    """The folder for results, which is not made yet.

    Raises:
        UsageError: the text is empty, or a file is in the way.
    """
    if not text.strip():
        raise UsageError(f"expected --out as a folder, got {text!r}")
    folder = expand(text)
    for part in [folder, *folder.parents]:
        if os.path.lexists(part):
            if not part.is_dir():
                raise UsageError(f"expected a folder for results, {shown(part)} is no folder")
            break
    return folder
