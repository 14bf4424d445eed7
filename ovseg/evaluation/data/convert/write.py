"""Many label maps to files, each whole or not at all, none twice, with a progress bar."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ovseg.errors import DataError, UsageError
from ovseg.files.write import make_folder, write_file, write_picture

Job = tuple[Path, Callable[[], NDArray[np.uint8]]]  # a file, and what makes its label map (H, W) uint8


@dataclass(frozen=True)
class Converted:
    """How many label maps were ``written``, and how many were there already and ``kept``."""

    written: int
    kept: int

    def __str__(self) -> str:
        return f"{self.written} label maps written, {self.kept} were there already"


def write_all(jobs: Sequence[Job], title: str) -> Converted:
    """Every label map whose file is missing, as a grey PNG; folders are made."""
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
    """Write names, one a line, sorted. Raises DataError where ``path`` lists other names already."""
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


def read_labels(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 of a PNG of one channel, a palette's indices as they are. Raises DataError."""
    try:
        labels = np.asarray(Image.open(path))
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"expected a label map, {path} cannot be read: {error}") from None
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise DataError(f"expected 8-bit labels of one channel, {path} has {labels.shape} {labels.dtype}")
    return labels


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
    """A JSON object with these keys. Raises UsageError for a missing file, DataError for another content."""
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
    """The files of a folder with that ending, sorted. Raises UsageError where there are none."""
    found = sorted(folder.glob(f"*{ending}"))
    if not found:
        problem = "has none" if folder.is_dir() else "does not exist"
        raise UsageError(f"expected a folder with *{ending}, {folder} {problem}")
    return found
