"""Arguments of the commands on images: files, names, and the folder of results."""

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
"""Images with more pixels than this get a note on their memory use."""
Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE... NAMES", help="Images or folders, then the names: 'sky, tree'.", show_default=False
    ),
]


@dataclass(frozen=True, kw_only=True)
class NamedImages(Options):
    """The source of the names, and how folders are searched."""

    vocabulary: str | None = option(
        None,
        TEXT,
        "A data set's names (ovseg list vocabularies) or a file, a name a line, in place of NAMES.",
        OWN,
    )
    recursive: bool = option(False, FLAG, "Search the folders of a folder too.", OWN)


@dataclass(frozen=True, kw_only=True)
class ResultFiles(NamedImages):
    """The folder of a command's results."""

    out: str = option("ovseg-out", ANY_TEXT, "Folder for the results.", OWN)


@dataclass(frozen=True, kw_only=True)
class ArrayFiles(ResultFiles):
    """Which files are written beside pictures."""

    npz: bool = option(False, FLAG, "Also write the arrays.", OWN)
    json: bool = option(False, FLAG, "Also write a JSON file for each image.", OWN)


@dataclass(frozen=True)
class Inputs:
    """The images and names of a command line.

    Attributes:
        stems: by image, the beginning of its results' file names.
        names: the names, from the arguments or a vocabulary.
    """

    stems: dict[Path, str]
    names: Vocabulary

    @property
    def files(self) -> list[Path]:
        """The images."""
        return list(self.stems)


def read_inputs(arguments: Sequence[str], chosen: NamedImages, caption: bool = False) -> Inputs:
    """Split the arguments into images and names, and find the images. No image is opened.

    Without a vocabulary, the names are the last arguments that neither exist as files or folders nor look
    like paths: "photo.jpg sky cow" or "photo.jpg 'sky, cow'".

    Args:
        arguments: images or folders, then the names.
        chosen: a vocabulary in place of names, and whether subfolders are searched.
        caption: the names are one text, which may contain commas.

    Raises:
        UsageError: there are no names or no images, or none of the paths exists.
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
    """Split arguments into at least one path and, after it, at least one word."""
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
    """Whether an argument exists as a file or folder, or looks like a path: it has a slash or an ending."""
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
    """Raise UsageError for an empty path or a URL, or if no path exists; single missing ones are noted later."""
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
    """Read a picture (H, W, 3), and what is kept of it; a large one gets a note on its memory use.

    Args:
        file: the image.
        takes: bytes of memory per pixel that the command needs.
        side: the long side in pixels of the picture that is kept; None for the original size.

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
    """Check the folder for results, which is created later.

    Raises:
        UsageError: the text is empty, or a file has this path.
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
