"""``ovseg segment``: a label for every pixel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovseg.apps.cli.inputs import (
    DEFAULT_OUT,
    Arguments,
    Json,
    Npz,
    Out,
    Recursive,
    VocabularyName,
    check_out,
    open_image,
    read_inputs,
)
from ovseg.apps.cli.loading import DEFAULT, MethodName, ModelName, encode_texts, little_known, load_model
from ovseg.apps.cli.loop import run_images
from ovseg.apps.cli.options import with_options
from ovseg.apps.cli.records import beside, record_of_image, record_of_run
from ovseg.apps.cli.shared import reported
from ovseg.errors import UsageError
from ovseg.files.sizes import shrunk, shrunk_labels, viewing_size
from ovseg.options import LoadOptions, SegmentOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.results import LabelMap

TAKES = 24
"""Bytes of memory for each pixel of a large image, measured."""
VIEW = 2048
"""Long side in pixels of the picture with the labels over the image; label files have the image's size."""


@reported
@with_options(LoadOptions, SegmentOptions)
def segment(
    loading: LoadOptions,
    options: SegmentOptions,
    images: Arguments,
    out_folder: Out = DEFAULT_OUT,
    vocabulary: VocabularyName = None,
    recursive: Recursive = False,
    npz: Npz = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="The NPZ file also holds every class's probabilities.")
    ] = False,
    json: Json = False,
    model: ModelName = DEFAULT,
    method: MethodName = "clip_surgery",
) -> None:
    """Give every pixel the name that fits best.

    Example: ovseg segment photo.jpg "sky, tree, building"

    Writes NAME.labels.png (class indices with a palette, at the image's size) and NAME.overlay.png (a picture
    with a legend) for each image; with --npz NAME.labels.npz, with --json NAME.labels.json. A later run with
    other names replaces them.
    """
    if probabilities and not npz:
        raise UsageError("--probabilities needs --npz with it")
    folder = check_out(out_folder)
    given = read_inputs(images, vocabulary, recursive)
    ready = load_model(model, method, loading)
    from ovseg.files.write import make_folder, write_json, write_picture

    ready.check_window(options)
    names = given.names.with_background(options.background)
    encode_texts(ready, names.flat, options.templates)
    run = record_of_run("segment", ready, loading, options, given.names) if json else {}
    make_folder(folder)

    def work(file: Path) -> Iterator[str]:
        image = open_image(file, TAKES)
        target = folder / given.stems[file]
        make_folder(target.parent)
        (found,) = ready.segment_with([image], given.names, options, probabilities=probabilities)
        written = [beside(target, ".labels.png"), beside(target, ".overlay.png")]
        found.save(written[0])
        write_picture(written[1], overlay(image, found))
        if npz:
            written.append(beside(target, ".labels.npz"))
            found.save(written[-1])
        if json:
            result = {"names": found.names, "void": found.void, "shares": found.shares, "areas": found.areas}
            content = {**record_of_image(file, found.labels.shape, written), **result, **run}
            write_json(beside(target, ".labels.json"), content)
        return iter(())

    run_images(list(given.stems), work, folder, little_known(model, loading.weights))


def overlay(image: NDArray[np.uint8], found: LabelMap) -> NDArray[np.uint8]:
    """The labels as colours over the image with a legend, at most ``VIEW`` pixels wide or high."""
    from ovseg.results import figures

    colours = figures.palette(len(found.names))
    size = viewing_size(image.shape, VIEW)
    entries = [(name, tuple(colours[found.index(name)].tolist())) for name in found.shares]
    labels = shrunk_labels(found.labels, size)
    return figures.with_legend(figures.overlay_labels(shrunk(image, size), labels, colours), entries)
