"""Find the images in folders, and name their results."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from PIL import features

from ovseg.errors import UsageError, described
from ovseg.files.formats import AVIF_HINT, HEIF_HINT, register_heif
from ovseg.files.paths import expand, shown
from ovseg.files.write import MARK, RESULT_ENDINGS

SUFFIXES = frozenset(
    ".bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pgm .png .pnm .ppm .tif .tiff .webp".split()
    + ([".avif"] if features.check("avif") else [])
)
"""Endings of image files in a searched folder, in lower case; see also ``suffixes``."""
HEIF = frozenset([".heic", ".heif"])
RAW = frozenset([".arw", ".cr2", ".cr3", ".dng", ".jxl", ".nef", ".orf", ".psd", ".raf", ".rw2", ".svg"])
LONGEST = 180
"""Longest result name in bytes, without its ending. File systems allow 255 with it."""


def suffixes() -> frozenset[str]:
    """``SUFFIXES``, and HEIC's where pillow-heif is installed."""
    return SUFFIXES | HEIF if register_heif() else SUFFIXES


def find_images(
    paths: Sequence[str | os.PathLike[str]], recursive: bool = False
) -> tuple[list[Path], list[str]]:
    """Find the image files that paths name.

    A path to a file is returned unchecked; reading it will show whether it is an image. A folder is
    searched for files with an ending of ``suffixes()``. Skipped are hidden files (such as ``._photo.png``)
    and ovseg's own results: pictures whose name has a further ending (``NAME.labels.png``) and that either
    carry the mark of ovseg's writers or lie beside the image NAME with an ending that the writers use.

    Args:
        paths: files and folders; a leading ``~`` stands for the home folder.
        recursive: search the folders of a folder too; hidden ones are left out.

    Returns:
        The files, sorted within each folder, none twice; and a line for each folder that held no image,
        could not be searched, or held files that nothing installed here reads, and for each pipe or link to
        nothing that is named like an image.

    Raises:
        UsageError: ``paths`` is not a list of paths.
    """
    if not isinstance(paths, (list, tuple)) or not all(isinstance(p, (str, os.PathLike)) for p in paths):
        raise UsageError(f"expected a list of paths, got {described(paths)}")
    files: list[Path] = []
    lines: list[str] = []
    known = suffixes()
    for path in map(expand, paths):
        if not os.path.isdir(path):
            files.append(path)
            continue
        refused: list[str] = []
        names = list(_visible(path, recursive, known, refused))
        lines += refused
        inside, results = without_results([name for name in names if name.suffix.lower() in known])
        files += inside
        skipped = _skipped(names, known)
        if not inside and not refused:
            told = f"; {results} results of ovseg are no inputs" if results else ""
            wanted = ", ".join(sorted(known))
            lines.append(
                f"expected images ({wanted}), {shown(path)} holds none{told}{skipped and '; ' + skipped}"
            )
        elif skipped:
            lines.append(f"{shown(path)}: {skipped}")
    return list(dict.fromkeys(files)), lines


def output_stems(files: Iterable[Path], searched: Sequence[str | os.PathLike[str]] = ()) -> dict[Path, str]:
    """Name the results of each file: no two alike, and independent of the order of files.

    A file below a searched folder is named by its path from there, another by its own name, both without
    suffix: ``sub/photo``. Only where several files of the call would share that name does each of them keep
    its suffix (``photo.jpg``, ``photo.png``). Where even that is shared, the folder's name is put in front
    (``holiday_photo``), and a number added as the last resort. Names of more than ``LONGEST`` bytes are cut,
    with eight characters of the whole name's SHA-256 at their end.

    Args:
        files: the images, as ``find_images`` gives them.
        searched: the folders that were searched, as they were given to ``find_images``.

    >>> list(output_stems([Path("a/x.jpg"), Path("a/y.png"), Path("b/y.png")]).values())
    ['x', 'a_y', 'b_y']
    """
    roots = {expand(folder) for folder in searched}
    choices = {file: _choices(file, roots) for file in files}
    stems: dict[Path, str] = {}
    taken: set[str] = set()
    left = list(choices)
    for level in range(3):
        counts = Counter(choices[file][level] for file in left)
        alone = [f for f in left if counts[choices[f][level]] == 1 and choices[f][level] not in taken]
        stems.update((file, choices[file][level]) for file in alone)
        taken.update(stems[file] for file in alone)
        left = [file for file in left if file not in stems]
    numbers: Counter[str] = Counter()
    for file in left:
        base = choices[file][2]
        while (name := f"{base}_{numbers[base] + 1}") in taken:
            numbers[base] += 1
        numbers[base] += 1
        stems[file] = name
        taken.add(name)
    return {file: apart(cut_name(stems[file])) for file in choices}


def _choices(file: Path, roots: set[Path]) -> tuple[str, str, str]:
    root = next((parent for parent in file.parents if parent in roots), file.parent)
    inner = file.relative_to(root).parent
    if ".." in inner.parts:  # "." was searched and "../photo.jpg" named: results stay in their folder
        root, inner = file.parent, Path()
    front = os.path.basename(os.path.abspath(root))
    names = file.stem, file.name, f"{front}_{file.stem}" if front else file.stem
    one, two, three = ((inner / name).as_posix() for name in names)
    return one, two, three


def cut_name(name: str, most: int = LONGEST) -> str:
    """A name of at most ``most`` bytes; one that is cut ends in eight characters of the whole name's SHA-256.

    Folders in front of the name are kept as they are.

    >>> cut_name("photo", 20), cut_name("a rather long name", 15)
    ('photo', 'a rath~aa518411')
    """
    folder, _, last = name.rpartition("/")
    raw = os.fsencode(last)
    if len(raw) > most:
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
        last = f"{raw[: most - 9].decode(errors='ignore')}~{digest}"
    return f"{folder}/{last}" if folder else last


def apart(name: str) -> str:
    """A result's name whose folders are called like no file: the results of a.jpg may be a file a.json.

    >>> apart("a.json/c"), apart("a.json_/c"), apart("v1.0/c.d")
    ('a.json_/c', 'a.json__/c', 'v1.0/c.d')
    """
    *folders, last = name.split("/")
    known = {*SUFFIXES, *HEIF, ".json", ".txt", ".xml", ".npz"}
    return "/".join(
        [
            *(f"{one}_" if os.path.splitext(one.rstrip("_"))[1].lower() in known else one for one in folders),
            last,
        ]
    )


def _visible(folder: Path, recursive: bool, known: frozenset[str], refused: list[str]) -> Iterator[Path]:
    """Files that are not hidden, sorted by name.

    ``refused`` gets a line for each folder that cannot be searched, and for whatever is named like an image
    by an ending of ``known`` and is no file: a pipe, a device, a link to nothing.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        refused.append(f"expected images, {shown(folder)} cannot be searched: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_so(entry.is_file):
            yield folder / entry.name
        elif recursive and entry.is_dir(follow_symlinks=False):
            yield from _visible(folder / entry.name, recursive, known, refused)
        elif not _is_so(entry.is_dir) and Path(entry.name).suffix.lower() in known:
            reason = "exists, but is no file" if os.path.exists(entry.path) else "is a link to nothing"
            refused.append(f"expected an image file, {shown(entry.path)} {reason}")


def _is_so(ask: Callable[[], bool]) -> bool:
    """The answer of a folder entry's method; False for a link to itself, which raises."""
    try:
        return ask()
    except OSError:
        return False


def without_results(images: Sequence[Path]) -> tuple[list[Path], int]:
    """The images without ovseg's own results, and the number of results left out."""
    stems = {(image.parent, name) for image in images for name in (image.stem, image.name)}
    kept = [image for image in images if not _is_result(image, stems)]
    return kept, len(images) - len(kept)


def _is_result(image: Path, stems: set[tuple[Path, str]]) -> bool:
    name, dot, ending = image.stem.rpartition(".")
    if not dot or not name:
        return False
    if ending in RESULT_ENDINGS and (image.parent, name) in stems:
        return True
    try:
        with image.open("rb") as file:
            return MARK in file.read(1024)
    except OSError:
        return False  # said when it is read


def _skipped(names: list[Path], known: frozenset[str]) -> str:
    """A message that counts files no installed library reads, with remedies; empty if there are none."""
    found = Counter(name.suffix.lower() for name in names)
    parts = []
    for endings, hint in (
        (HEIF - known, HEIF_HINT),
        (frozenset([".avif"]) - known, AVIF_HINT),
        (RAW - known, "convert them to TIFF or PNG"),
    ):
        if counts := [f"{found[ending]} {ending}" for ending in sorted(endings) if found[ending]]:
            parts.append(f"{', '.join(counts)} ({hint})")
    return f"skipped {'; '.join(parts)}" if parts else ""
