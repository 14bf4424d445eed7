"""``ovseg annotate``, ``review`` and ``convert``: annotations made, compared with the truth, converted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovseg.apps.cli.commands import LISTED, OWN, required, with_options
from ovseg.apps.cli.inputs import check_out, check_paths
from ovseg.apps.cli.loading import check_models, encode_texts, little_known, load_model, load_segmenter
from ovseg.apps.cli.loop import Bar
from ovseg.apps.cli.shared import note, reported, tell
from ovseg.errors import UsageError
from ovseg.files.paths import shown
from ovseg.options import (
    FORMATS,
    AnnotateOptions,
    FormatOptions,
    ModelOptions,
    Options,
    RunOptions,
    SegmenterOptions,
)
from ovseg.options.checks import check_choice
from ovseg.options.fields import ANY_TEXT, TEXT, option

if TYPE_CHECKING:
    from ovseg.annotation.classes import Classes
    from ovseg.annotation.finder import LabelFinder, MaskFinder
    from ovseg.annotation.review import Review
    from ovseg.annotation.run.plan import Outcome


FORMATS_HELP = f"{', '.join(FORMATS)}. May be repeated, or several with commas."
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES...",
        help="Folders, images, patterns in quotation marks, or text files that list images.",
        show_default=False,
    ),
]


@dataclass(frozen=True, kw_only=True)
class WrittenFormats(FormatOptions):
    """The formats to write, and their options."""

    formats: Sequence[str] = option((), LISTED, FORMATS_HELP, OWN)

    def __post_init__(self) -> None:
        """Split names at commas, and keep each once."""
        super().__post_init__()
        names = [name.strip() for one in self.formats for name in one.split(",")]
        for name in names:
            check_choice("format", name, FORMATS)
        if not names:
            raise UsageError(f"expected a format, one of {', '.join(FORMATS)}")
        object.__setattr__(self, "formats", tuple(dict.fromkeys(names)))

    @property
    def choices(self) -> FormatOptions:
        """The formats' options only."""
        return FormatOptions(**{name: getattr(self, name) for name in FormatOptions.names()})


@dataclass(frozen=True, kw_only=True)
class RunFormats(WrittenFormats):
    """The formats of a run."""

    formats: Sequence[str] = option(("coco",), LISTED, FORMATS_HELP, OWN)


@dataclass(frozen=True, kw_only=True)
class RunWords(Options):
    """The classes of a run of ``ovseg annotate``, and its folder."""

    classes: str = required(
        TEXT,
        "A file with a class a line ('car: car, automobile', 'dog >= 0.6', 'not: poster'), a vocabulary, or "
        "'sky, tree'.",
    )
    out: str = required(ANY_TEXT, "The run folder; the same again goes on.")
    thresholds: str | None = option(
        None, TEXT, "A JSON file of thresholds by class, as ovseg review writes.", OWN
    )


@reported
@with_options(
    ModelOptions, SegmenterOptions, AnnotateOptions, RunFormats, RunWords, RunOptions, without=["overlaps"]
)
def annotate(
    models: ModelOptions,
    segmenter: SegmenterOptions,
    options: AnnotateOptions,
    formats: RunFormats,
    asked: RunWords,
    chosen: RunOptions,
    images: Images,
) -> None:
    """Annotate many images with the words of a list, in the files of annotation tools.

    Example: ovseg annotate photos --classes classes.txt --out run --format coco --format yolo

    A run that was stopped or killed goes on when the same command is given again. RUN/summary.txt says what
    was found; images that cannot be read are listed there, and the exit code is 1.
    """
    folder, named = check_out(asked.out), segmenter if options.task == "instances" else None
    check_models(models, named)
    words = check_run(images, folder, formats, asked, chosen.recursive)
    finder = load_finder(models, named, options, words)
    from ovseg.annotation.run.annotate import annotate as run

    try:
        with Bar("images") as bar:
            outcome = run(
                images,
                words,
                folder,
                finder,
                formats.formats,
                format_options=formats.choices,
                options=chosen,
                on_note=lambda line: note(f"warning: {line}"),
                progress=bar.stage,
            )
    except KeyboardInterrupt:
        note(f"stopped: {bar.done} of {bar.total} images are done; the same command goes on")
        raise typer.Exit(130) from None
    say_outcome(outcome, folder, little_known(models, named))


def check_run(
    images: Sequence[str], folder: Path, formats: RunFormats, asked: RunWords, recursive: bool
) -> Classes:
    """Read the classes of a run, and check images and formats before models are loaded.

    Raises:
        UsageError: an argument is wrong.
    """
    from ovseg.annotation.classes import read_classes, read_thresholds

    check_paths([path for path in images if not has_magic(path)])
    words = read_classes(asked.classes)
    if asked.thresholds is not None:
        words = words.with_thresholds(read_thresholds(asked.thresholds))
    from ovseg.annotation.run.annotate import check_formats
    from ovseg.annotation.run.images import find_inputs

    check_formats(formats.formats, words, formats.choices)
    find_inputs(images, recursive, folder)
    return words


def load_finder(
    models: ModelOptions, segmenter: SegmenterOptions | None, options: AnnotateOptions, words: Classes
) -> LabelFinder | MaskFinder:
    """Load the models of a run; without a segmenter, the finder makes label maps. Raises OvsegError."""
    model = load_model(models)
    model.check_window(options)
    sam = None if segmenter is None else load_segmenter(segmenter, models)
    asked = [*words.vocabulary.flat, *words.negatives]
    encode_texts(model, [*asked, *options.rivals, ""], options.templates, asked)
    from ovseg.annotation.finder import LabelFinder, MaskFinder

    return LabelFinder(model, words, options) if sam is None else MaskFinder(model, sam, words, options)


def say_outcome(outcome: Outcome, folder: Path, notes: Sequence[str]) -> None:
    """Print the outcome of a run. Raises typer.Exit if an image failed."""
    if outcome.gone:
        note(
            f"warning: {len(outcome.gone)} images no longer exist and stay in the files: {outcome.gone[0]} …"
        )
    for name, reason in outcome.failed.items():
        note(f"error: {reason if name in reason else f'{name}: {reason}'}")
    for line in notes:
        note(line)
    for line in outcome.lines()[: 1 + len(outcome.masks)]:
        tell(line)
    tell(f"{outcome.done} images in this run, results in {shown(folder)}")
    if outcome.failed:
        raise typer.Exit(1)


Kind = Annotated[
    str | None,
    typer.Option("--from", help="The format of SOURCE; detected if not given."),
]
ImagesFolder = Annotated[
    str | None, typer.Option("--images", help="The folder of the images, if the format needs it.")
]
ClassNames = Annotated[
    str | None,
    typer.Option("--classes", help="The classes in order, if the files have numbers only."),
]


@reported
def review(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or annotations in any format.")],
    truth: Annotated[str, typer.Option("--truth", help="Ground truth in any format.")],
    truth_format: Annotated[
        str | None,
        typer.Option("--truth-format", help="The format of the ground truth; detected if not given."),
    ] = None,
    images: ImagesFolder = None,
    classes: ClassNames = None,
    out_folder: Annotated[
        str | None,
        typer.Option("--out", help="A folder for review.json, thresholds.json, confusion.csv and worst/."),
    ] = None,
    worst: Annotated[
        int, typer.Option("--worst", min=0, help="Pictures of so many images that differ most, in --out.")
    ] = 8,
) -> None:
    """Compare a run with ground truth: IoU, precision and recall of each class, confusion, better thresholds.

    Example: ovseg review run --truth labelled --out reviewed

    Images are matched by their names. Precision and recall are of images: was the class found where it is?
    The proposed thresholds go to: ovseg annotate ... --thresholds reviewed/thresholds.json
    """
    folder = None if out_folder is None else check_out(out_folder)
    from ovseg.annotation.formats import read_annotations
    from ovseg.annotation.formats.base import write_text
    from ovseg.annotation.review import review as compare
    from ovseg.annotation.worst import confusion_table, draw_worst
    from ovseg.files.write import make_folder, write_json

    own, true = read_annotations(run), read_annotations(truth, truth_format, images, classes)
    found = compare(own, true)
    say_review(found, [*own.skipped.lines(), *true.skipped.lines()])
    if folder is not None:
        make_folder(folder)
        write_json(folder / "review.json", found.describe())
        write_json(folder / "thresholds.json", {"thresholds": found.thresholds})
        write_text(folder / "confusion.csv", [confusion_table(found)])
        draw_worst(own, true, found, folder / "worst", worst)


def say_review(found: Review, left_out: Sequence[str]) -> None:
    """Print the outcome of a comparison, and what its sides could not be compared in."""
    for line in found.lines():
        tell(line)
    tell(f"{found.images} images compared")
    if found.without_truth or found.missing:
        note(f"note: {found.without_truth} images have no truth, {len(found.missing)} are not in the run")
    for share, name, other in found.confused[:3]:
        note(f"note: {100 * share:.1f} % of the pixels of {name} are {other} in the run")
    for line in left_out:
        note(f"note: {line}")
    if found.other_classes:
        note(f"note: the run was not asked for {', '.join(found.other_classes[:8])}")


@reported
@with_options(WrittenFormats, without=["overlaps"])
def convert(
    formats: WrittenFormats,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A run folder, or annotations in any format.")
    ],
    out_folder: Annotated[str, typer.Option("--out", help="Folder for the results.")],
    kind: Kind = None,
    images: ImagesFolder = None,
    classes: ClassNames = None,
) -> None:
    """Write annotations in other formats: coco, yolo, labelme, label-studio, cvat, voc and others.

    Example: ovseg convert run --format yolo --out converted

    What cannot be read or written, such as lines, points, attributes and damaged images, is left out and
    counted: a line for each kind names the first, and the exit code is 1.
    """
    folder = check_out(out_folder)
    from ovseg.annotation.convert import convert as write
    from ovseg.annotation.formats import read_annotations

    annotations = read_annotations(source, kind, images, classes)
    with Bar("images") as bar:
        count = write(annotations, folder, formats.formats, formats.choices, bar.stage)
    listed = ", ".join(formats.formats)
    tell(f"{count} images from {annotations.format} to {listed}, results in {shown(folder)}")
    for line in annotations.skipped.lines():
        note(f"note: {line}")
    if annotations.skipped:
        raise typer.Exit(1)
