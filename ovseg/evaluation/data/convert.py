"""Helpers of the conversions to MMSegmentation's layout, and photographs with masks for FolderDataset.

``coco``, ``context`` and ``cityscapes`` convert their own data sets. Files are written atomically and existing
ones are kept, so an interrupted conversion resumes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.samples import read_lines
from ovseg.files.labels import load_labels
from ovseg.files.write import make_folder, write_file, write_picture
from ovseg.metrics import VOID
from ovseg.words.vocabulary import Vocabulary, find_vocabulary

Job = tuple[
    Path, Callable[[], NDArray[np.uint8]]
]  # a file, and a function that makes its label map (H, W) uint8


@dataclass(frozen=True)
class Converted:
    """The number of label maps ``written``, and of existing ones ``kept``."""

    written: int
    kept: int

    def __str__(self) -> str:
        return f"{self.written} label maps written, {self.kept} were there already"


def write_all(jobs: Sequence[Job], title: str) -> Converted:
    """Write each missing label map as a grey PNG; folders are created."""
    for folder in {path.parent for path, _ in jobs}:
        make_folder(folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    written = 0
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for path, make in progress.track(jobs, description=title):
            if not path.exists():
                write_picture(path, make())  # grey: no palette that another reader might turn into colours
                written += 1
    return Converted(written, len(jobs) - written)


def write_list(path: Path, names: Sequence[str]) -> None:
    """Write names, one per line, sorted. Raises DataError if ``path`` exists with other names."""
    wanted = sorted(names)
    if path.exists():
        found = sorted(path.read_text(encoding="utf-8").split())
        if found != wanted:
            raise DataError(
                f"expected {path} to list the {len(wanted)} images of this split, it lists others"
            )
        return
    make_folder(path.parent)
    content = "".join(f"{name}\n" for name in wanted)
    write_file(path, lambda file: file.write(content.encode()))


def converted_maps(
    paths: Sequence[tuple[Path, Path]], table: NDArray[np.int_], what: str, title: str
) -> Converted:
    """Map the values of each label map (source, target) through ``table``. Raises as ``look_up``."""
    jobs = [
        (target, lambda source=source: look_up(load_labels(source), table, source, what))
        for source, target in paths
    ]
    return write_all(jobs, title)


def look_up(
    values: NDArray[np.integer], table: NDArray[np.int_], source: object, what: str
) -> NDArray[np.uint8]:
    """``table[values]`` as uint8. Raises DataError for a value that ``table`` lacks or marks with -1."""
    found = np.unique(values)
    wrong = found[(found < 0) | (found >= len(table)) | (table[np.clip(found, 0, len(table) - 1)] < 0)]
    if wrong.size:
        raise DataError(f"expected {what}, {source} holds {', '.join(map(str, wrong[:5]))}")
    return table[values].astype(np.uint8)


def read_json(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Read a JSON object with these keys. Raises UsageError for a missing file, DataError for other content."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"expected a JSON file, got {path}, which does not exist") from None
    except (OSError, ValueError) as error:
        raise DataError(f"expected a JSON file, {path} cannot be read: {error}") from None
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f"expected a JSON file with {', '.join(keys)}, {path} lacks {', '.join(missing)}")
    return dict(content)


def files_in(folder: Path, ending: str) -> list[Path]:
    """The files of a folder with that ending, sorted. Raises UsageError if there are none."""
    found = sorted(folder.glob(f"*{ending}"))
    if not found:
        problem = "has none" if folder.is_dir() else "does not exist"
        raise UsageError(f"expected a folder with *{ending}, {folder} {problem}")
    return found


# ----------------------------------------------------------------------------------------- photographs


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
    classes = read_lines(source / "classes.txt")
    table = _table(classes, find_vocabulary(vocabulary), source)
    stems = read_lines(source / f"{split}.txt")
    for stem in stems:
        for path in (source / f"images/{stem}.jpg", source / f"masks/{stem}.png"):
            if not path.is_file():
                raise DataError(f"expected {path}, which {split}.txt lists, it does not exist")
    images = make_folder(out / "images" / split)
    for stem in stems:
        _copy(source / f"images/{stem}.jpg", images / f"{stem}.jpg")
    paths = [(source / f"masks/{stem}.png", out / f"annotations/{split}/{stem}.png") for stem in stems]
    return converted_maps(paths, table, f"values below {len(classes)} or {VOID}", source.name)


def _table(classes: list[str], vocabulary: Vocabulary, source: Path) -> NDArray[np.int_]:
    """(256,): mask value -> vocabulary index, VOID for dropped classes, -1 for unknown values."""
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


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        with source.open("rb") as content:
            write_file(target, lambda file: shutil.copyfileobj(content, file))
    except OSError as error:
        raise DataError(f"expected to read {source}: {error.strerror}") from None
