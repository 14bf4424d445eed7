"""The images of a run: finding them, their names in label files, and their rows in the manifest."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from ovseg.annotation.records import without_ending
from ovseg.errors import UsageError
from ovseg.files.find import cut_name, find_images, output_stems, suffixes, without_results
from ovseg.files.journal import Journal, Json
from ovseg.files.paths import check_file, expand, read_text, shown


class Row(TypedDict, total=False):
    """The manifest's row of an image.

    Always: ``stem`` and ``name`` as in label files; ``image``, its path; ``bytes``, ``mtime`` (nanoseconds)
    and ``sha256`` of the file, None or missing if it could not be read. For an image without a result:
    ``error``, and ``again`` if the next call retries it. With a result: ``size`` (height, width), the number
    of ``masks`` of each class, the bytes of its ``record``, the ``formats`` that were written, and the
    ``classes`` by which these are numbered, if they differ from those of its ``run``. From the page:
    ``accepted``, ``skipped`` and ``steps``.
    """

    stem: str
    name: str
    image: str
    bytes: int | None
    mtime: int | None
    sha256: str | None
    error: str
    again: bool
    size: list[int]
    masks: dict[str, int]
    record: int
    formats: list[str]
    classes: list[str]
    run: str
    accepted: bool
    skipped: bool
    steps: list[object]


def read_rows(path: Path) -> dict[str, Row]:
    """Read the rows of a manifest, by stem. Raises OvsegError."""
    return {row["stem"]: row for _, found in Journal(path).rows() if (row := _checked(found)) is not None}


_TYPES = {
    "stem": str,
    "name": str,
    "image": str,
    "error": str,
    "masks": dict,
    "record": int,
    "formats": list,
    "classes": list,
    "run": str,
    "steps": list,
}
"""Types of the values that the code relies on, if the key is present."""


def _checked(found: Json) -> Row | None:
    if not isinstance(found, dict) or "stem" not in found:
        return None
    right = all(isinstance(found.get(key, kind()), kind) for key, kind in _TYPES.items())
    return cast("Row", found) if right else None


MARKS = ("run.json", "manifest.jsonl")
"""Files that identify a run folder."""
LISTS = (".txt", ".lst", ".list")
"""Endings of files that list images, a path a line."""


@dataclass(frozen=True)
class ImageFile:
    """One image of a run.

    Attributes:
        path: the absolute path.
        name: its name in label files: the path below the searched folder, with "/".
        stem: the beginning of its files' names in the run folder, unique in the run.
    """

    path: Path
    name: str
    stem: str


def find_inputs(
    given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    recursive: bool = False,
    out: Path | None = None,
) -> tuple[list[ImageFile], list[str]]:
    """Find the images that folders, files, patterns and list files name.

    Args:
        given: folders; image files; patterns such as "photos/**/*.jpg"; text files (``LISTS``) with a path a
            line, read from the current folder or else from the list's own.
        recursive: search subfolders, too.
        out: the run folder; files in it are excluded.

    Returns:
        The images, sorted by stem, and a line for each kind of input that was excluded.

    Raises:
        UsageError: no image is found, or a list cannot be read.
    """
    files: list[Path] = []
    roots: list[Path] = []
    lines: list[str] = []
    for one in [given] if isinstance(given, (str, os.PathLike)) else given:
        found, root, said = _expanded(one, recursive)
        lines += said
        if root is not None:
            kept = _outside_runs(found, root)
            if len(kept) < len(found):
                lines.append(
                    f"{len(found) - len(kept)} files in run folders below {shown(root)} are no inputs"
                )
            found = kept
            roots.append(root)
        files += found
    files = list(dict.fromkeys(files))
    if out is not None:
        inside = os.path.join(os.path.abspath(out), "")
        kept = [file for file in files if not os.path.abspath(file).startswith(inside)]
        if len(kept) < len(files):
            lines.append(f"{len(files) - len(kept)} files in the run folder {shown(out)} are no inputs")
        files = kept
    if not files:
        raise UsageError(lines[0] if lines else "expected images, got none")
    if not any(map(os.path.lexists, files)):
        raise UsageError(f"expected images or a folder, {shown(files[0])} does not exist")
    images = [
        ImageFile(Path(os.path.abspath(file)), _name(file, stem, roots), stem)
        for file, stem in output_stems(files, roots).items()
    ]
    return sorted(images, key=lambda image: image.stem), lines


def _expanded(given: str | os.PathLike[str], recursive: bool) -> tuple[list[Path], Path | None, list[str]]:
    """Files, the folder that their names start from, and lines on what was excluded."""
    text = os.fspath(given)
    if not text.strip():
        raise UsageError(f"expected an image or a folder, got {text!r}")
    if "://" in text:
        check_file(text)  # raises: an address has to be downloaded first
    path = expand(text)
    if glob.has_magic(text) and not os.path.lexists(path):
        return _matched(text)
    if path.suffix.lower() in LISTS and os.path.isfile(path):
        return _listed(path)
    files, lines = find_images([text], recursive)
    return files, path if os.path.isdir(path) else None, lines


def _outside_runs(files: Sequence[Path], root: Path) -> list[Path]:
    """Exclude files in run folders below ``root``: these are results, and links to images."""
    known: dict[Path, bool] = {}

    def is_run(folder: Path) -> bool:
        if folder not in known:
            known[folder] = all(os.path.isfile(folder / name) for name in MARKS)
        return known[folder]

    return [
        file for file in files if not any(is_run(folder) for folder in file.parents if root in folder.parents)
    ]


def _matched(pattern: str) -> tuple[list[Path], Path | None, list[str]]:
    root = Path(pattern)
    while glob.has_magic(str(root)):
        root = root.parent
    known = suffixes()
    names = sorted({Path(name) for name in _glob(str(Path(pattern).expanduser()))})
    files, _ = without_results(
        [name for name in names if name.suffix.lower() in known and os.path.isfile(name)]
    )
    return files, root.expanduser(), [] if files else [f"expected images, {shown(pattern)} matches none"]


def _glob(pattern: str) -> set[str]:
    """Paths that match, as ``glob.glob`` finds them, except that "**" enters no link to a folder.

    Links may lead back to a folder above them, where ``glob.glob`` goes round until the system stops it.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        return set(glob.glob(pattern))
    place = parts.index("**")
    rest = parts[place + 1 :] or ("*",)
    found: set[str] = set()
    for base in glob.glob(os.path.join(*parts[:place], "")) if place else ["."]:
        for folder, inner, _ in os.walk(base):
            inner[:] = [name for name in inner if not name.startswith(".")]
            found |= _glob(os.path.join(glob.escape(folder), *rest))
    return found


def _listed(path: Path) -> tuple[list[Path], Path | None, list[str]]:
    lines = [line.strip() for line in read_text(path, "a list of images").splitlines()]
    named = [expand(line) for line in lines if line and not line.startswith("#")]
    if not named:
        return [], None, [f"expected a list of images, {shown(path)} names none"]
    here = next((one for one in named if not one.is_absolute()), None)
    base = Path(os.path.abspath("." if here is None or os.path.exists(here) else path.parent))
    return [Path(os.path.abspath(base / one)) for one in named], base if here is not None else None, []


def _name(file: Path, stem: str, roots: Sequence[Path]) -> str:
    """An image's name in label files: the path below the searched folder if it is unique, else from ``stem``."""
    root = next((parent for parent in file.parents if parent in set(roots)), file.parent)
    real = file.relative_to(root).as_posix()
    real = file.name if ".." in real.split("/") else real
    if stem in (cut_name(without_ending(real)), cut_name(real)):
        return real
    return stem + file.suffix
