"""ovseg segment | explain | recognize: maps, labels and scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovseg.cli.shared import (
    Cache,
    Device,
    Images,
    Json,
    MethodName,
    ModelName,
    Npz,
    Offline,
    Precision,
    SizeText,
    Templates,
    VocabularyName,
    Weights,
    add_ending,
    images_and_names,
    load_model,
    out,
    parse_background,
    parse_size,
    reported,
    run_images,
    say,
)
from ovseg.errors import OvsegError
from ovseg.options import SegmentOptions

if TYPE_CHECKING:
    import numpy as np


@reported
def segment(
    images: Images,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("ovseg-out"),
    model: ModelName = "tiny",
    weights: Weights = None,
    method: MethodName = "clip_surgery",
    device: Device = "cpu",
    precision: Precision = "fp32",
    size: SizeText = None,
    window: Annotated[int | None, typer.Option(help="Sliding windows of this many pixels.")] = None,
    stride: Annotated[int | None, typer.Option(help="Their stride; default: the window, no overlap.")] = None,
    background: Annotated[
        str | None, typer.Option(help="A probability below which a pixel is void, or words: 'wall, floor'.")
    ] = None,
    logit_scale: Annotated[float, typer.Option(help="Times cosine before the softmax.")] = 50.0,
    templates: Templates = "paper",
    vocabulary: VocabularyName = None,
    npz: Npz = False,
    json: Json = False,
    offline: Offline = False,
    cache: Cache = True,
) -> None:
    """A label for every pixel.

    ovseg segment photo.jpg "sky, tree, building"

    Writes NAME.labels.png (class indices, with palette) and NAME.overlay.png (picture with legend).
    """
    files, names = images_and_names(images, vocabulary)
    options = SegmentOptions(
        size=parse_size(size),
        window=window,
        stride=stride,
        background=parse_background(background),
        logit_scale=logit_scale,
        templates=templates,
    )
    from ovseg import figures
    from ovseg.io.writers import write_arrays, write_json, write_labels, write_picture

    ready = load_model(model, weights, method, device, precision, offline, cache)
    ready.encode_text(names.flat, templates)  # a name that is too long is misuse, not a bad image

    def work(image: np.ndarray, target: Path) -> None:
        found = ready.segment(
            image,
            names,
            size=options.size,
            window=options.window,
            stride=options.stride,
            background=options.background,
            logit_scale=options.logit_scale,
            templates=options.templates,
        )
        colours = figures.palette(len(found.names))
        shares = found.shares
        entries = [(n, tuple(colours[found.names.index(n)].tolist())) for n in shares]
        picture = figures.overlay_labels(image, found.labels, colours)
        write_labels(add_ending(target, ".labels.png"), found.labels, colours)
        write_picture(add_ending(target, ".overlay.png"), figures.with_legend(picture, entries))
        if npz:
            write_arrays(add_ending(target, ".npz"), labels=found.labels, names=list(found.names))
        if json:
            content = {"names": found.names, "void": found.void, "shares": shares, "method": method}
            write_json(add_ending(target, ".json"), content)

    run_images(files, out_folder, work)


@reported
def explain(
    images: Images,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("ovseg-out"),
    model: ModelName = "tiny",
    weights: Weights = None,
    method: MethodName = "clip_surgery",
    surgery: Annotated[str, typer.Option(help="empty, label_set, label_set_code or none.")] = "empty",
    device: Device = "cpu",
    precision: Precision = "fp32",
    size: SizeText = None,
    templates: Templates = "paper",
    vocabulary: VocabularyName = None,
    npz: Npz = False,
    json: Json = False,
    offline: Offline = False,
    cache: Cache = True,
) -> None:
    """Where CLIP sees each text.

    ovseg explain photo.jpg "tree"

    Writes NAME.explain.png: the image and a heat map for each text, blue 0 to red 1 of its own range.
    """
    files, names = images_and_names(images, vocabulary)
    from ovseg import figures
    from ovseg.io.writers import write_arrays, write_json, write_picture

    chosen = None if surgery == "none" else surgery
    shape = parse_size(size)
    ready = load_model(model, weights, method, device, precision, offline, cache)
    ready.check_surgery(chosen, names)
    ready.encode_text(names.names, templates)

    def work(image: np.ndarray, target: Path) -> None:
        found = ready.similarity(image, names, surgery=chosen, size=shape, templates=templates)
        shown = [figures.titled(image, "image")]
        shown += [figures.titled(figures.overlay_heat(image, found[n]), n) for n in found.names]
        rows = [shown[i : i + 5] for i in range(0, len(shown), 5)]
        write_picture(add_ending(target, ".explain.png"), figures.grid(rows))
        if npz:
            write_arrays(
                add_ending(target, ".npz"),
                values=found.values,
                grid_values=found.grid_values,
                names=list(found.names),
            )
        if json:
            peaks = {
                n: {"low": float(r.min()), "high": float(r.max())}
                for n, r in zip(names.names, found.grid_values)
            }
            write_json(
                add_ending(target, ".json"), {"surgery": surgery, "method": method, "similarity": peaks}
            )

    run_images(files, out_folder, work)


@reported
def recognize(
    images: Images,
    model: ModelName = "tiny",
    weights: Weights = None,
    surgery: Annotated[str, typer.Option(help="label_set, empty, softmax or none.")] = "label_set",
    device: Device = "cpu",
    precision: Precision = "fp32",
    templates: Templates = "paper",
    vocabulary: VocabularyName = None,
    top: Annotated[int, typer.Option(help="How many names to print for each image.")] = 5,
    offline: Offline = False,
    cache: Cache = True,
) -> None:
    """What is in each picture: the best names with their scores, one line an image.

    ovseg recognize photos/ "dog, cat, car"
    """
    files, names = images_and_names(images, vocabulary)
    from ovseg.io.images import load_image

    chosen = None if surgery == "none" else surgery
    ready = load_model(model, weights, "clip_surgery", device, precision, offline, cache)
    ready.encode_text(names.names, templates)
    failed = 0
    for file in files:
        try:
            found = ready.recognize(load_image(file), names, surgery=chosen, templates=templates)
        except OvsegError as error:
            if error.exit_code == 2:
                raise
            say(error)
            failed += 1
            continue
        line = ", ".join(f"{name} {score:.3f}" for name, score in found.best(top))
        out.print(f"{file}: {line}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(1)
