"""``ovseg review`` and ``ovseg convert``: annotations against the truth, and into other formats."""

from __future__ import annotations

from typing import Annotated

import typer

from ovseg.apps.cli.annotate import WrittenFormats
from ovseg.apps.cli.commands import with_options
from ovseg.apps.cli.inputs import check_out
from ovseg.apps.cli.loop import Bar
from ovseg.apps.cli.shared import note, reported, tell
from ovseg.files.paths import shown

Kind = Annotated[
    str | None,
    typer.Option("--from", help="The format of what is read; without it, told by the files."),
]
ImagesFolder = Annotated[
    str | None, typer.Option("--images", help="The folder of the images, where a format needs it.")
]
ClassNames = Annotated[
    str | None,
    typer.Option("--classes", help="The classes in order, where the files hold numbers only."),
]


@reported
def review(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or annotations in any format.")],
    truth: Annotated[str, typer.Option("--truth", help="Ground truth in any format.")],
    truth_format: Annotated[
        str | None, typer.Option("--truth-format", help="Its format; without it, told by the files.")
    ] = None,
    images: ImagesFolder = None,
    classes: ClassNames = None,
    out_folder: Annotated[
        str | None, typer.Option("--out", help="A folder for review.json and thresholds.json.")
    ] = None,
) -> None:
    """Compare a run with ground truth: IoU, precision and recall of each class, better thresholds.

    Example: ovseg review run --truth labelled --out reviewed

    Images are matched by their names. Precision and recall are of images: was the class found where it is?
    The proposed thresholds go to: ovseg annotate ... --thresholds reviewed/thresholds.json
    """
    folder = None if out_folder is None else check_out(out_folder)
    from ovseg.annotation.formats import read_annotations
    from ovseg.annotation.review import review as compare
    from ovseg.files.write import make_folder, write_json

    own, true = read_annotations(run), read_annotations(truth, truth_format, images, classes)
    found = compare(own, true)
    for line in found.lines():
        tell(line)
    tell(f"{found.images} images compared")
    if found.without_truth or found.missing:
        note(f"note: {found.without_truth} images have no truth, {len(found.missing)} are not in the run")
    for line in [*own.skipped.lines(), *true.skipped.lines()]:
        note(f"note: {line}")
    if found.other_classes:
        note(f"note: the run was not asked for {', '.join(found.other_classes[:8])}")
    if folder is not None:
        make_folder(folder)
        write_json(folder / "review.json", found.describe())
        write_json(folder / "thresholds.json", {"thresholds": found.thresholds})


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

    Shapes that have no pixels, such as lines and points, are left out and counted: exit code 1 says so.
    """
    folder = check_out(out_folder)
    from ovseg.annotation.convert import convert as write
    from ovseg.annotation.formats import read_annotations

    annotations = read_annotations(source, kind, images, classes)
    with Bar("images") as bar:
        count = write(annotations, folder, formats.formats, formats.choices, lambda done: bar.to(done, done))
    listed = ", ".join(formats.formats)
    tell(f"{count} images from {annotations.format} to {listed}, results in {shown(folder)}")
    for line in annotations.skipped.lines():
        note(f"note: {line}")
    if annotations.skipped:
        raise typer.Exit(1)
