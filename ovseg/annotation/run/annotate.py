"""``annotate(...)``: from folders of images and a list of classes to a run folder with label files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import ovseg
from ovseg.annotation.classes import Classes, read_classes
from ovseg.annotation.formats import Target, Writer, writers_of
from ovseg.annotation.run.engines import check_ray, run_local, run_on_ray
from ovseg.annotation.run.folder import RunFolder, RunInfo, Settings
from ovseg.annotation.run.images import find_inputs
from ovseg.annotation.run.known import recognise
from ovseg.annotation.run.plan import Outcome, Progress, Tally, finish, make_plan, renew
from ovseg.annotation.run.work import Finder, Work
from ovseg.errors import UsageError
from ovseg.options import FormatOptions, RunOptions
from ovseg.words.names import fold
from ovseg.words.vocabulary import Names

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ovseg.options.annotation import RunChoices

PACKAGES = ("torch", "open_clip_torch", "numpy", "opencv-python", "pillow", "pycocotools")
"""Packages whose versions ``run.json`` records."""


def annotate(
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    classes: Names | os.PathLike[str] | Classes,
    out: str | os.PathLike[str],
    finder: Finder | None = None,
    formats: str | Sequence[str] = ("coco",),
    *,
    format_options: FormatOptions | None = None,
    progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
    options: RunOptions | None = None,
    **choices: Unpack[RunChoices],
) -> Outcome:
    """Annotate images into a run folder. After a crash or a kill, the same call resumes the run.

    Args:
        images: folders, files, patterns such as "photos/*.jpg", or text files that list images.
        classes: as ``read_classes`` takes them: a file, a vocabulary, "sky, tree", a list, a dict.
        out: the run folder.
        finder: finds the regions of each class: a ``MaskFinder`` or ``LabelFinder`` of these classes, or an
            object of your own with ``find``, ``describe`` and ``batch`` (picklable for engine="ray").
            None: a ``MaskFinder`` with the embedded models.
        formats: names of ``ovseg.options.FORMATS``.
        format_options: options of the formats.
        progress: called with (stage, done, total, failed images); stages are "images", "files" and each
            format's name.
        on_note: called with a line for each input that was skipped or found damaged.
        options, choices: a ``RunOptions``, or its fields as keywords.

    Returns:
        What was done and what failed. Each finished image is on the disk at once.

    Raises:
        UsageError: an argument is wrong, the run folder has other settings, or another run writes there.
        MissingPackageError: Ray is not installed.
        OvsegError: a result cannot be written, or Ray's job fails.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> photos, out = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
        >>> Image.fromarray(ovseg.make_scene(3, 64).image).save(photos / "a.png")
        >>> done = annotate(photos, "purple triangle, stripes", out)
        >>> done.done, (out / "coco" / "instances.json").is_file()
        (1, True)
    """
    going = RunOptions.make(options, choices)
    if going.engine == "ray":
        check_ray()
    words = read_classes(classes)
    listed = check_formats(formats, words, format_options)
    folder = Path(os.path.abspath(out))
    found, notes = find_inputs(images, going.recursive, folder)
    finder = default_finder(words) if finder is None else finder
    tell = on_note or (lambda line: None)
    settings = settings_of(finder, words)
    with RunFolder(folder, settings, known_of(getattr(finder, "device", None)), going.mix) as run:
        for line in [*notes, *run.notes]:
            tell(line)
        plan = make_plan(recognise(found, run.rows), run, finder.batch, going.retry)
        renew(run, plan.renewed)
        writers = make_writers(listed, folder, run.info, format_options)
        work = Work(finder, writers, folder, run.key, going.threads)
        tally = Tally(run, plan, progress)
        if plan.groups and going.engine == "ray":
            run_on_ray(work, plan, tally.add, going.workers)
        elif plan.groups:
            run_local(work, plan, tally.add)
        done = finish(run, writers, plan.images, tally.done, progress)
        for line in writers[0].target.skipped.lines():  # shared by all writers
            tell(line)
        return done


def default_finder(classes: Classes) -> Finder:
    """A ``MaskFinder`` with the embedded models."""
    from ovseg.annotation.finder import MaskFinder
    from ovseg.model import load_model
    from ovseg.segmenters.load import load_segmenter

    return MaskFinder(load_model(), load_segmenter(), classes)


def check_formats(
    formats: str | Sequence[str], classes: Classes, options: FormatOptions | None = None
) -> list[str]:
    """Return the names of the formats, each once.

    Raises:
        UsageError: a format is unknown or cannot hold the classes.
    """
    background = classes.vocabulary.background
    target = Target(Path(), classes.names, background, options=options or FormatOptions())
    return [writer.name for writer in writers_of(formats, target)]


def make_writers(
    formats: Sequence[str], folder: Path, info: RunInfo, options: FormatOptions | None = None
) -> list[Writer]:
    """Create the formats' writers for the folder and the classes of a run."""
    chosen = replace(options or FormatOptions(), overlaps=info.overlaps)
    source = f"ovseg {ovseg.__version__} {info.current}"
    target = Target(folder, info.names, info.background, info.task == "labels", source, chosen)
    return writers_of(formats, target)


def settings_of(finder: Finder, classes: Classes) -> Settings:
    """Everything that decides the regions of a run; its digest identifies the run.

    Raises:
        UsageError: the finder has other classes, or a description that JSON cannot hold.
    """
    described = {"classes": classes.describe(), **finder.describe()}
    own = described["classes"]
    names = set(own["names"]) if isinstance(own, dict) else set()
    if set(classes.objects) != {name for name in names if fold(name) != "background"}:
        raise UsageError(f"expected a finder of {', '.join(classes.names)}, got one of {', '.join(names)}")
    try:
        settings: dict[str, object] = json.loads(json.dumps(described))
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected a finder described by what JSON can hold: {error}") from None
    return settings


def known_of(device: object) -> Settings:
    """What ``run.json`` records beside the settings: package versions and the models' device."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # installed in another way, as opencv-python-headless
            versions[name] = "unknown"
    return {"packages": versions, "device": str(device)}
