"""Which images a run is over, and what each is called in its files."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovseg.annotation.records import without_ending
from ovseg.errors import UsageError
from ovseg.files.find import cut_name, find_images, output_stems, suffixes, without_results
from ovseg.files.paths import check_file, expand, read_text, shown

MARKS = ("run.json", "manifest.jsonl")
"""What every run folder holds."""
LISTS = (".txt", ".lst", ".list")
"""Files with these endings list images, a path a line."""


@dataclass(frozen=True)
class Job:
    """One image of a run.

    Attributes:
        image: where it lies.
        name: its path below the folder that was searched, with "/": what label files call it.
        stem: the beginning of its files' names in the run folder; no two images share one.
    """

    image: Path
    name: str
    stem: str


def find_inputs(
    given: Sequence[str | os.PathLike[str]], recursive: bool = False, out: Path | None = None
) -> tuple[list[Job], list[str]]:
    """The images that folders, files, patterns and list files name.

    Args:
        given: folders; image files; patterns such as "photos/**/*.jpg"; text files (``LISTS``) with a path a
            line, read from the current folder or else from the list's own.
        recursive: search the folders of a folder too.
        out: the run folder; what lies in it is no input.

    Returns:
        The images, sorted by name, and a line for whatever was left out.

    Raises:
        UsageError: there is no image, or a list cannot be read.
    """
    files: list[Path] = []
    roots: list[Path] = []
    lines: list[str] = []
    for one in given:
        found, root, said = _expanded(one, recursive)
        if root is not None:
            kept = _outside_runs(found, root)
            if len(kept) < len(found):
                said.append(
                    f"{len(found) - len(kept)} files in run folders below {shown(root)} are no inputs"
                )
            found = kept
        files += found
        roots += [root] if root is not None else []
        lines += said
    files = list(dict.fromkeys(files))
    if out is not None:
        inside = os.path.join(os.path.abspath(out), "")
        kept = [file for file in files if not os.path.abspath(file).startswith(inside)]
        if len(kept) < len(files):
            lines.append(f"{len(files) - len(kept)} files in the run folder {shown(out)} are no inputs")
        files = kept
    if not files:
        raise UsageError(lines[0] if lines else "expected images, got none")
    stems = output_stems(files, roots)
    jobs = [Job(file, _name(file, stem, roots), stem) for file, stem in stems.items()]
    return sorted(jobs, key=lambda job: job.stem), lines


def keep_stems(jobs: Sequence[Job], rows: Mapping[str, Mapping[str, object]]) -> list[Job]:
    """The jobs with the stems that their images had before, whatever images came or went since.

    Args:
        jobs: this call's images.
        rows: the rows of the run so far by their stems; "image" is the absolute path of each.

    >>> job = Job(Path("/a/x.png"), "x.png", "x")
    >>> keep_stems([job], {"x": {"image": "/a/x.jpg"}})[0].stem
    'x.png'
    """
    known = {str(row["image"]): stem for stem, row in rows.items() if "image" in row}
    used = set(rows)
    out: list[Job] = []
    for job in jobs:
        stem = known.get(os.path.abspath(job.image))
        if stem is None:
            stem, number = job.stem, 1
            choices = (job.stem, job.name)
            while stem in used:
                number += 1
                stem = choices[number - 1] if number <= len(choices) else f"{job.stem}_{number - 1}"
            stem = cut_name(stem)
            used.add(stem)
        out.append(Job(job.image, job.name, stem))
    return sorted(out, key=lambda job: job.stem)


def _expanded(given: str | os.PathLike[str], recursive: bool) -> tuple[list[Path], Path | None, list[str]]:
    """Files, the folder that they are named from, and lines of what was left out."""
    text = os.fspath(given)
    if not text.strip():
        raise UsageError(f"expected an image or a folder, got {text!r}")
    if "://" in text:
        check_file(text)  # says that an address has to be downloaded first
    path = expand(text)
    if glob.has_magic(text) and not os.path.lexists(path):
        return _matched(text)
    if path.suffix.lower() in LISTS and os.path.isfile(path):
        return _listed(path)
    files, lines = find_images([text], recursive)
    return files, path if os.path.isdir(path) else None, lines


def _outside_runs(files: Sequence[Path], root: Path) -> list[Path]:
    """The files that lie in no run folder below ``root``, which holds results and links to images."""
    known: dict[Path, bool] = {}

    def is_run(folder: Path) -> bool:
        if folder not in known:
            known[folder] = all(os.path.isfile(folder / name) for name in MARKS)
        return known[folder]

    def below(file: Path) -> list[Path]:
        return [folder for folder in file.parents if root in folder.parents]

    return [file for file in files if not any(is_run(folder) for folder in below(file))]


def _matched(pattern: str) -> tuple[list[Path], Path | None, list[str]]:
    root = Path(pattern)
    while glob.has_magic(str(root)):
        root = root.parent
    known = suffixes()
    names = sorted(Path(name) for name in glob.glob(str(Path(pattern).expanduser()), recursive=True))
    files, _ = without_results(
        [name for name in names if name.suffix.lower() in known and os.path.isfile(name)]
    )
    return files, root.expanduser(), [] if files else [f"expected images, {shown(pattern)} matches none"]


def _listed(path: Path) -> tuple[list[Path], Path | None, list[str]]:
    lines = [line.strip() for line in read_text(path, "a list of images").splitlines()]
    named = [expand(line) for line in lines if line and not line.startswith("#")]
    if not named:
        return [], None, [f"expected a list of images, {shown(path)} names none"]
    here = next((one for one in named if not one.is_absolute()), None)
    base = Path(os.path.abspath("." if here is None or os.path.exists(here) else path.parent))
    return [Path(os.path.abspath(base / one)) for one in named], base if here is not None else None, []


def _name(file: Path, stem: str, roots: Sequence[Path]) -> str:
    """What label files call an image: its path below the searched folder where no other image has it."""
    root = next((parent for parent in file.parents if parent in set(roots)), file.parent)
    real = file.relative_to(root).as_posix()
    real = file.name if ".." in real.split("/") else real
    if stem in (cut_name(without_ending(real)), cut_name(real)):
        return real
    return stem + file.suffix
