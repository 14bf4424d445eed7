"""The arguments that all commands on images have: which files, which names, and where results go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovseg.apps.cli.shared import note
from ovseg.errors import UsageError
from ovseg.files.paths import check_file, expand, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.words.vocabulary import Vocabulary


def _vocabularies(incomplete: str) -> list[str]:
    from ovseg.words.vocabulary import list_vocabularies

    return [name for name in list_vocabularies() if name.startswith(incomplete)]


Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE... NAMES", help="Images or folders, then the names: 'sky, tree'.", show_default=False
    ),
]
Out = Annotated[str, typer.Option("--out", help="Folder for the results.")]
LARGE = 50_000_000
"""Pixels from which on it is said how much memory an image takes."""
DEFAULT_OUT = "ovseg-out"
VocabularyName = Annotated[
    str | None,
    typer.Option(
        "--vocabulary",
        help="A data set's names (ovseg list vocabularies) or a file, a name a line, in place of NAMES.",
        autocompletion=_vocabularies,
    ),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Search the folders of a folder too.")]
Npz = Annotated[bool, typer.Option("--npz", help="Also write the arrays.")]
Json = Annotated[bool, typer.Option("--json", help="Also write a JSON file for each image.")]


@dataclass(frozen=True)
class Inputs:
    """What a command works on.

    Attributes:
        stems: each image with the beginning of its results' names.
        names: the names, from an argument or a vocabulary.
    """

    stems: dict[Path, str]
    names: Vocabulary


def read_inputs(
    arguments: Sequence[str], vocabulary: str | None, recursive: bool = False, caption: bool = False
) -> Inputs:
    """The images and names of a command line. No image is opened.

    ``caption``: the names are one text, commas included.

    Raises:
        UsageError: there are no names, or no images.
    """
    from ovseg.files.find import find_images, output_stems
    from ovseg.words.vocabulary import load_vocabulary

    paths = list(arguments)
    names = load_vocabulary(vocabulary) if vocabulary is not None else _names(paths, caption)
    for path in paths:
        if not path.strip():
            raise UsageError(f"expected an image or a folder, got {path!r}")
        if "://" in path:
            check_file(path)  # says that an address has to be downloaded first
    files, lines = find_images(paths, recursive)
    if not files:
        raise UsageError(lines[0])
    for line in lines:
        note(f"warning: {line}")
    return Inputs(output_stems(files, paths), names)


def _names(paths: list[str], caption: bool) -> Vocabulary:
    """The names that stand last among the arguments; they are taken from ``paths``."""
    from ovseg.files.find import suffixes
    from ovseg.words.vocabulary import as_vocabulary

    if len(paths) < 2:
        raise UsageError(f"expected images and then the names, got only {paths[0]!r}")
    last = paths.pop()
    if Path(last).suffix.lower() in suffixes() and os.path.isfile(last):
        raise UsageError(f"expected the names after the images, got an image last: {shown(last)}")
    return as_vocabulary([last] if caption else last)


def open_image(file: Path, takes: int) -> NDArray[np.uint8]:
    """The picture (H, W, 3) of a file; of a large one it is said how much memory the work on it takes.

    Args:
        file: the image.
        takes: bytes for each pixel.

    Raises:
        ImageError: the file cannot be read.
    """
    from ovseg.files import pictures

    image = pictures.load_image(file)
    pixels = image.shape[0] * image.shape[1]
    if pixels > LARGE:
        gigabytes = pixels * takes / 1e9
        note(f"note: {shown(file)} has {pixels / 1e6:.0f} megapixels, which take about {gigabytes:.1f} GB")
    return image


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
