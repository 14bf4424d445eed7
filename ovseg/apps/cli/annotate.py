"""``ovseg annotate``: folders of images and a list of words to the label files of annotation tools."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ovseg.apps.cli.inputs import Recursive, check_out
from ovseg.apps.cli.loading import (
    DEFAULT,
    MethodName,
    ModelName,
    SegmenterName,
    SegmenterWeights,
    encode_texts,
    little_known,
    load_model,
)
from ovseg.apps.cli.loading import load_segmenter as load_named_segmenter
from ovseg.apps.cli.mask import DEFAULT_SEGMENTER
from ovseg.apps.cli.options import with_options
from ovseg.apps.cli.shared import err, note, reported, tell
from ovseg.errors import UsageError
from ovseg.files.paths import shown
from ovseg.options import FORMATS, SHAPES, AnnotateOptions, FormatOptions, LoadOptions
from ovseg.options.checks import check_choice

ENGINES = ("local", "ray")
EVERY = 30.0
"""Seconds between lines of progress where standard error is no terminal."""

FormatNames = Annotated[
    list[str],
    typer.Option(
        "--format",
        help=f"{', '.join(FORMATS)}. May be repeated, or several with commas.",
        autocompletion=lambda incomplete: [name for name in FORMATS if name.startswith(incomplete)],
    ),
]
Shape = Annotated[
    str,
    typer.Option(
        "--shape",
        help="mask, or polygon where a tool reads no masks (coco, labelme).",
        autocompletion=lambda incomplete: [name for name in SHAPES if name.startswith(incomplete)],
    ),
]
ImagePrefix = Annotated[
    str, typer.Option("--image-prefix", help="What stands before an image's name in Label Studio's tasks.")
]


@reported
@with_options(LoadOptions, AnnotateOptions)
def annotate(
    loading: LoadOptions,
    options: AnnotateOptions,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Folders, images, patterns in quotation marks, or text files that list images.",
            show_default=False,
        ),
    ],
    classes: Annotated[
        str,
        typer.Option(
            "--classes",
            help="A file with a class a line ('car: car, automobile', 'dog >= 0.6', 'not: poster'), "
            "a vocabulary, or 'sky, tree'.",
        ),
    ],
    out_folder: Annotated[str, typer.Option("--out", help="The run folder; the same again goes on.")],
    formats: FormatNames = ["coco"],  # noqa: B006 - typer reads it and changes nothing
    thresholds: Annotated[
        str | None,
        typer.Option("--thresholds", help="A JSON file of thresholds by class, as ovseg review writes."),
    ] = None,
    recursive: Recursive = False,
    mix: Annotated[
        bool, typer.Option("--mix", help="Go on in a run folder that has other settings.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try images again that failed before.")] = False,
    threads: Annotated[int, typer.Option("--threads", help="Images decoded at once.")] = 2,
    engine: Annotated[
        str,
        typer.Option("--engine", help="local: this process; ray: workers of Ray, which needs Ray Data."),
    ] = ENGINES[0],
    workers: Annotated[int, typer.Option("--workers", help="Workers of Ray.")] = 2,
    shape: Shape = FormatOptions.shape,
    image_prefix: ImagePrefix = FormatOptions.image_prefix,
    model: ModelName = DEFAULT,
    method: MethodName = "clip_surgery",
    segmenter: SegmenterName = DEFAULT_SEGMENTER,
    segmenter_weights: SegmenterWeights = None,
) -> None:
    """Annotate many images with the words of a list, in the files of annotation tools.

    Example: ovseg annotate photos --classes classes.txt --out run --format coco --format yolo

    A run that was stopped or killed goes on when the same command is given again. RUN/summary.txt says what
    was found; images that cannot be read are listed there, and the exit code is 1.
    """
    from ovseg.annotation.classes import read_classes, read_thresholds

    folder = check_out(out_folder)
    check_choice("engine", engine, ENGINES)
    listed = format_names(formats)
    chosen = FormatOptions(shape=shape, image_prefix=image_prefix)
    words = read_classes(classes)
    if thresholds is not None:
        words = words.with_thresholds(read_thresholds(thresholds))
    from ovseg.annotation.run.images import find_inputs

    find_inputs(images, recursive, folder)  # a wrong path is said before a model is loaded
    ready = load_model(model, method, loading)
    ready.check_window(options)
    weights = as_weights("segmenter_weights", segmenter_weights) if segmenter_weights is not None else None
    sam = load_named_segmenter(segmenter, weights, loading) if options.task == "instances" else None
    encode_texts(ready, [*words.vocabulary.flat, *words.negatives, *options.rivals, ""], options.templates)
    from ovseg.annotation.finder import LabelFinder, MaskFinder
    from ovseg.annotation.run.annotate import annotate as run

    finder: LabelFinder | MaskFinder
    if sam is None:
        finder = LabelFinder(ready, words, options)
    else:
        finder = MaskFinder(ready, sam, words, options)
    bar = _Bar()
    try:
        with bar:
            outcome = run(
                images,
                words,
                folder,
                finder,
                listed,
                engine=engine,
                format_options=chosen,
                recursive=recursive,
                mix=mix,
                retry=retry,
                threads=threads,
                workers=workers,
                on_note=lambda line: note(f"warning: {line}"),
                progress=bar.to,
            )
    except KeyboardInterrupt:
        note(f"stopped: {bar.done} of {bar.total} images are done; the same command goes on")
        raise typer.Exit(130) from None
    if outcome.gone:
        note(
            f"warning: {len(outcome.gone)} images no longer exist and stay in the files: {outcome.gone[0]} …"
        )
    for name, reason in outcome.failed.items():
        note(f"error: {reason if name in reason else f'{name}: {reason}'}")
    used = () if sam is None else (segmenter, weights)
    for line in little_known(model, loading.weights, *used):
        note(line)
    for line in outcome.lines()[: 1 + len(outcome.masks)]:
        tell(line)
    tell(f"{outcome.done} images in this run, results in {shown(folder)}")
    if outcome.failed:
        raise typer.Exit(1)


def format_names(given: Sequence[str]) -> list[str]:
    """The formats of a command line, each once. Raises UsageError."""
    names = [name.strip() for one in given for name in one.split(",")]
    for name in names:
        check_choice("format", name, FORMATS)
    if not names:
        raise UsageError(f"expected a format, one of {', '.join(FORMATS)}")
    return list(dict.fromkeys(names))


class _Bar:
    """Progress with rate and time left: a bar on a terminal, a line from time to time elsewhere."""

    def __init__(self) -> None:
        self._what, self.done, self.total = "images", 0, 0
        self._first: tuple[float, int] | None = None
        self._said = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._shown = Progress(
            *columns,
            console=err,
            transient=True,
            disable=not err.is_interactive,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._shown.add_task("images", total=None, rate="")

    def __enter__(self) -> None:
        self._shown.start()

    def __exit__(self, *_: object) -> None:
        self._shown.stop()

    def to(self, what: str, done: int, total: int, failed: int) -> None:
        """Show how many of how many images, or of their files in a format, are done, and how many failed."""
        now = time.monotonic()
        if what != self._what or self._first is None:
            self._what, self._first = what, (now, done)
        if what == "images":
            self.done, self.total = done, total
        elapsed, count = now - self._first[0], done - self._first[1]
        rate = count / elapsed if elapsed > 0 and count else 0.0
        said = f"{rate:.2f}/s" + (f", {failed} failed" if failed else "")
        self._shown.update(self._task, description=what, completed=done, total=total, rate=said)
        if not err.is_interactive and now - self._said > EVERY:
            self._said = now
            left = f", {_duration((total - done) / rate)} left" if rate else ""
            note(f"{done} of {total} {what}, {said}{left}")


def _duration(seconds: float) -> str:
    """A time for people.

    >>> _duration(59), _duration(3700), _duration(200000)
    ('1 min', '1 h 2 min', '55 h 33 min')
    """
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
