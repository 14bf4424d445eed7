"""A folder of photographs with masks, arranged as FolderDataset reads it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.convert.write import Converted, look_up, read_labels, write_all
from ovseg.files.write import make_folder, write_file
from ovseg.metrics import VOID
from ovseg.words.vocabulary import Vocabulary, find_vocabulary


def arrange_photos(source: Path, vocabulary: str | Vocabulary, out: Path, split: str = "val") -> Converted:
    """Arrange a folder of photographs with masks as ``FolderDataset`` reads it.

    Args:
        source: a folder with images/*.jpg, masks/*.png, classes.txt (line k, from 0, names the value k) and
            SPLIT.txt with the names of the images without ending.
        vocabulary: the classes to keep, in the order of the new labels; the others become void.
        out: gets images/SPLIT and annotations/SPLIT.
        split: the name of the list.

    Returns:
        How many label maps were written and how many were there already.

    Raises:
        UsageError: the folder or one of its lists does not exist.
        DataError: an image or a mask is missing, or a value or a name has no class.
    """
    classes = [name.strip() for name in _lines(source / "classes.txt") if name.strip()]
    table = _table(classes, find_vocabulary(vocabulary), source)
    stems = [name.strip() for name in _lines(source / f"{split}.txt") if name.strip()]
    for stem in stems:
        for path in (source / f"images/{stem}.jpg", source / f"masks/{stem}.png"):
            if not path.is_file():
                raise DataError(f"expected {path}, which {split}.txt lists, it does not exist")
    images = make_folder(out / "images" / split)
    for stem in stems:
        _copy(source / f"images/{stem}.jpg", images / f"{stem}.jpg")
    wanted = f"values below {len(classes)} or {VOID}"
    jobs = [
        (
            out / f"annotations/{split}/{stem}.png",
            lambda path=source / f"masks/{stem}.png": look_up(read_labels(path), table, path, wanted),
        )
        for stem in stems
    ]
    return write_all(jobs, source.name)


def _table(classes: list[str], vocabulary: Vocabulary, source: Path) -> NDArray[np.int_]:
    """(256,): value in a mask -> index in the vocabulary, VOID, or -1 where there is no such class."""
    places = {_plain(name): index for index, name in enumerate(vocabulary.names)}
    given = {_plain(name) for name in classes}
    absent = [name for name in vocabulary.names if _plain(name) not in given]
    if absent:
        raise DataError(
            f"expected the classes of {source}, the vocabulary has {absent[0]!r}, which is none of them"
        )
    table = np.full(256, -1)
    for value, name in enumerate(classes):
        table[value] = places.get(_plain(name), VOID)
    table[VOID] = VOID
    return table


def _plain(name: str) -> str:
    """A name without its spaces: VOC writes "diningtable" and "tv/monitor"."""
    return name.lower().replace(" ", "").replace("/", "")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise UsageError(f"expected a folder with {path.name}, {path} does not exist")
    return path.read_text(encoding="utf-8").splitlines()


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        with source.open("rb") as content:
            write_file(target, lambda file: shutil.copyfileobj(content, file))
    except OSError as error:
        raise DataError(f"expected to read {source}: {error.strerror}") from None
