"""``annotate(...)``: folders of images and a list of words in, a run folder with label files out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ovseg
from ovseg.annotation.classes import Classes, read_classes
from ovseg.annotation.finder import LabelFinder, MaskFinder
from ovseg.annotation.folder import RunFolder, RunInfo
from ovseg.annotation.formats import WRITERS, Target, Writer
from ovseg.annotation.inputs import find_inputs, keep_stems
from ovseg.annotation.on_ray import check_ray, run_jobs_on_ray
from ovseg.annotation.run import Outcome, run_jobs
from ovseg.annotation.step import GROUP
from ovseg.annotation.writing import Progress
from ovseg.errors import UsageError
from ovseg.model import Model, load_model
from ovseg.options import (
    FORMATS,
    AnnotateOptions,
    FormatOptions,
    LoadOptions,
    ModelOptions,
    SegmenterOptions,
)
from ovseg.options.checks import check_choice, check_integer, check_words
from ovseg.segmenters.base import Segmenter
from ovseg.segmenters.load import load_segmenter
from ovseg.words.vocabulary import Names

PACKAGES = ("torch", "open_clip_torch", "numpy", "opencv-python", "pillow", "pycocotools")
"""Packages whose versions a run writes down."""
MOST_THREADS, MOST_WORKERS = 64, 4096


def annotate(
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    classes: Names | os.PathLike[str] | Classes,
    out: str | os.PathLike[str],
    formats: str | Sequence[str] = ("coco",),
    *,
    model: Model,
    segmenter: Segmenter | None = None,
    options: AnnotateOptions | None = None,
    format_options: FormatOptions | None = None,
    recursive: bool = False,
    mix: bool = False,
    retry: bool = False,
    threads: int = 2,
    loading: LoadOptions | None = None,
    on_note: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    recipe: FinderRecipe | None = None,
    workers: int = 2,
) -> Outcome:
    """Annotate images into a run folder. A call that was killed goes on when it is made again.

    Args:
        images: folders, files, patterns such as "photos/*.jpg", or text files that list images.
        classes: as ``read_classes`` takes them: a file, a vocabulary, "sky, tree", a list, a dict.
        out: the run folder.
        formats: names of ``ovseg.options.FORMATS``.
        model: what ``ovseg.load_model`` gives.
        segmenter: what ``ovseg.load_segmenter`` gives; None for its default. Not used for the task "labels".
        options: how regions are found.
        format_options: the choices of the formats.
        recursive: search the folders of a folder too.
        mix: go on where the run folder has other settings.
        retry: try images again that failed before.
        threads: images decoded at once, 1 to 64.
        loading: how the model was loaded, for the record.
        on_note: called with a line for whatever was left out or found damaged.
        progress: called with images done, in all, and failed.
        recipe: how a worker loads the same models; with it, the run is a job of Ray Data.
        workers: how many workers Ray has, 1 to 4096.

    Returns:
        What was done and what failed.

    Raises:
        UsageError: an argument is wrong, the run folder has other settings, or another run writes there.
        OvsegError: a result cannot be written.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> photos, out = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
        >>> Image.fromarray(ovseg.make_scene(3, 64).image).save(photos / "a.png")
        >>> done = annotate(photos, "purple triangle, stripes", out, model=ovseg.load_model())
        >>> done.done, (out / "coco" / "instances.json").is_file()
        (1, True)
    """
    options = options or AnnotateOptions()
    listed = check_words("formats", formats)
    for name in listed:
        check_choice("format", name, FORMATS)
    check_integer("threads", threads, 1, MOST_THREADS)
    check_integer("workers", workers, 1, MOST_WORKERS)
    if recipe is not None:
        check_ray()
    words, options = with_background(read_classes(classes), options)
    folder = Path(out)
    given = [images] if isinstance(images, (str, os.PathLike)) else list(images)
    jobs, lines = find_inputs(given, recursive, folder)
    chosen = replace(format_options or FormatOptions(), overlaps=options.overlap)
    planned = Target(folder, words.names, words.vocabulary.background, options=chosen)
    for name in listed:  # before a model works for hours: can the format hold these classes?
        WRITERS[name](planned)
    finder: MaskFinder | LabelFinder
    if options.task == "labels":
        finder = LabelFinder(model, words, options)
        settings = settings_of(model, None, words, options)
    else:
        chosen_segmenter = segmenter if segmenter is not None else load_segmenter()
        finder = MaskFinder(model, chosen_segmenter, words, options)
        settings = settings_of(model, chosen_segmenter, words, finder.resolved)
    known = known_of(loading or LoadOptions())
    with RunFolder(folder, settings, known, mix) as run:
        for line in [*lines, *run.notes]:
            if on_note is not None:
                on_note(line)
        settled = keep_stems(jobs, run.manifest.rows)
        writers = make_writers(listed, folder.absolute(), run.info, chosen)
        group = options.batch or GROUP
        if recipe is not None:
            return run_jobs_on_ray(
                settled,
                run,
                replace(recipe, classes=words, options=options),
                writers,
                workers=workers,
                threads=threads,
                group=group,
                retry=retry,
                progress=progress,
            )
        return run_jobs(
            settled, run, finder, writers, threads=threads, group=group, retry=retry, progress=progress
        )


@dataclass(frozen=True)
class FinderRecipe:
    """How a finder is made on another machine: the names under which models are loaded.

    Attributes:
        models: the model, and how it is loaded.
        segmenter: the segmenter; None for the task "labels".
        classes, options: the words and how regions are found; ``annotate`` fills them in.
    """

    models: ModelOptions
    segmenter: SegmenterOptions | None = None
    classes: Classes | None = None
    options: AnnotateOptions = field(default_factory=AnnotateOptions)

    def __call__(self) -> MaskFinder | LabelFinder:
        """Load the models and make the finder. Raises OvsegError as loading does."""
        if self.classes is None:
            raise UsageError("expected the classes of a finder, got none")
        model, segmenter = self.load()
        if segmenter is None:
            return LabelFinder(model, self.classes, self.options)
        return MaskFinder(model, segmenter, self.classes, self.options)

    def load(self) -> tuple[Model, Segmenter | None]:
        """The model and the segmenter, None for the task "labels". Raises OvsegError as loading does."""
        chosen = self.models
        model = load_model(chosen.model, chosen.weights, method=chosen.method, options=chosen.loading)
        if self.segmenter is None:
            return model, None
        named = self.segmenter
        return model, load_segmenter(named.segmenter, named.segmenter_weights, options=chosen.loading)


def make_writers(formats: Sequence[str], folder: Path, info: RunInfo, options: FormatOptions) -> list[Writer]:
    """The writers of some formats below a folder, for the classes of a run."""
    return [
        WRITERS[name](
            Target(
                folder / name,
                info.names,
                info.background,
                info.task == "labels",
                f"ovseg {ovseg.__version__} {info.current}",
                options,
            )
        )
        for name in dict.fromkeys(formats)
    ]


def settings_of(
    model: Model, segmenter: Segmenter | None, classes: Classes, options: AnnotateOptions
) -> dict[str, object]:
    """Whatever decides the regions of a run: its digest tells two runs apart.

    The device and the number of images in a batch are not part of it.
    """
    described = options.describe()
    del described["batch"]
    return {**models_of(model, segmenter), "classes": classes.describe(), "options": described}


def models_of(model: Model, segmenter: Segmenter | None) -> dict[str, object]:
    """The version of ovseg, and which models with which weights."""
    weights = model.loaded.weights
    return {
        "ovseg": ovseg.__version__,
        "model": {
            "name": model.loaded.name,
            "weights": weights.given if weights.is_random else weights.sha256,
            "method": model.method.name,
            "precision": str(next(model.clip.visual.parameters()).dtype).removeprefix("torch."),
        },
        "segmenter": None if segmenter is None else segmenter.name,
    }


def known_of(loading: LoadOptions) -> dict[str, object]:
    """What a run writes down besides: versions of packages, and how the model was loaded."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # installed in another way, as opencv-python-headless
            versions[name] = "unknown"
    return {"packages": versions, "loading": loading.describe()}


def with_background(classes: Classes, options: AnnotateOptions) -> tuple[Classes, AnnotateOptions]:
    """Words as ``background`` become a class of that name, as in ``Model.segment``."""
    if options.background is None:
        return classes, options
    vocabulary = classes.vocabulary.with_background(options.background)
    return replace(classes, vocabulary=vocabulary), replace(options, background=None)
