"""``ovseg segment`` and ``ovseg recognize``: a name for every pixel, or the best names of each image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg.apps.cli.commands import OWN, with_options
from ovseg.apps.cli.inputs import (
    Arguments,
    ArrayFiles,
    Inputs,
    NamedImages,
    check_out,
    open_image,
    read_inputs,
)
from ovseg.apps.cli.loading import check_models, encode_texts, little_known, load_model
from ovseg.apps.cli.loop import Opened, Work, run_images
from ovseg.apps.cli.outputs import beside, record_of_image, record_of_run
from ovseg.apps.cli.shared import reported
from ovseg.errors import UsageError
from ovseg.files.paths import shown
from ovseg.options import ModelOptions, RecognitionOptions, SegmentOptions
from ovseg.options.fields import FLAG, integer, option
from ovseg.words.names import MAX_NAMES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.results import LabelMap, Recognition

SEGMENT_TAKES, RECOGNIZE_TAKES = 24, 8
"""Memory in bytes per pixel of a large image, measured."""
VIEW = 2048
"""Long side in pixels of the picture with the labels over the image; label files have the image's size."""


@dataclass(frozen=True, kw_only=True)
class LabelFiles(ArrayFiles):
    """The files that ``ovseg segment`` writes."""

    probabilities: bool = option(False, FLAG, "The NPZ file also holds every class's probabilities.", OWN)


@reported
@with_options(ModelOptions, SegmentOptions, LabelFiles)
def segment(models: ModelOptions, options: SegmentOptions, files: LabelFiles, images: Arguments) -> None:
    """Give every pixel the name that fits best.

    Example: ovseg segment photo.jpg "sky, tree, building"

    Writes NAME.labels.png (class indices with a palette, at the image's size) and NAME.overlay.png (a picture
    with a legend) for each image; with --npz NAME.labels.npz, with --json NAME.labels.json. A later run with
    other names replaces them.
    """
    if files.probabilities and not files.npz:
        raise UsageError("--probabilities needs --npz with it")
    folder = check_out(files.out)
    check_models(models)
    given = read_inputs(images, files)
    given.names.check_background(options.background)
    model = load_model(models)
    from ovseg.files.write import make_folder

    model.check_window(options)
    names = model.vocabulary(given.names, options)
    encode_texts(model, names.flat, options.templates)
    run = record_of_run("segment", model, models, options, names) if files.json else {}
    make_folder(folder)
    resolved = replace(options, background=None)

    def labels(pairs: Iterator[tuple[Path, NDArray[np.uint8]]]) -> Iterator[LabelMap]:
        pictures = (picture for _, picture in pairs)
        return model.segment_each(pictures, names, options=resolved, probabilities=files.probabilities)

    finish = partial(write_labels, folder=folder, given=given, files=files, run=run)
    work = Work(partial(open_image, takes=SEGMENT_TAKES, side=VIEW), labels, finish)
    run_images(given.files, work, folder, little_known(models))


def write_labels(
    opened: Opened, found: LabelMap, folder: Path, given: Inputs, files: LabelFiles, run: dict[str, object]
) -> list[str]:
    """Write a label map, its overlay, and the optional files."""
    from ovseg.files.write import make_folder, write_json, write_picture

    target = folder / given.stems[opened.file]
    make_folder(target.parent)
    written = [beside(target, ".labels.png"), beside(target, ".overlay.png")]
    found.save(written[0])
    write_picture(written[1], overlay(opened.view, found))
    if files.npz:
        written.append(beside(target, ".labels.npz"))
        found.save(written[-1])
    if files.json:
        result = {"names": found.names, "void": found.void, "shares": found.shares, "areas": found.areas}
        write_json(beside(target, ".labels.json"), {**record_of_image(opened, written), **result, **run})
    return []


def overlay(view: NDArray[np.uint8], found: LabelMap) -> NDArray[np.uint8]:
    """Draw the labels in colours over a picture, with a legend."""
    from ovseg.files.sizes import shrunk_labels
    from ovseg.results import figures

    colours = figures.palette(len(found.names))
    entries = [(name, tuple(colours[found.index(name)].tolist())) for name in found.shares]
    labels = shrunk_labels(found.array, (view.shape[0], view.shape[1]))
    return figures.with_legend(figures.overlay_labels(view, labels, colours), entries)


ONE_NAME = "note: with a single name, the score compares it with the empty text (--surgery empty)"
MEANING = "scores are no probabilities; --scores softmax prints shares of 1 among the names"
ABOVE = f"note: a name above 0 fits the image better than the mean of the names, one below 0 worse; {MEANING}"


@dataclass(frozen=True, kw_only=True)
class Listing(NamedImages):
    """The output of ``ovseg recognize``."""

    top: int = option(5, integer(1, MAX_NAMES), "How many names for each image.", OWN)
    json: bool = option(False, FLAG, "Print one JSON object per line.", OWN)


@reported
@with_options(ModelOptions, RecognitionOptions, Listing, without=["method"])
def recognize(models: ModelOptions, options: RecognitionOptions, listing: Listing, images: Arguments) -> None:
    """Print the names that fit each image best, with their scores.

    Example: ovseg recognize photos "dog, cat, car" --top 2

    One line for each image on standard output. A score is no probability: it compares images, and names of
    one call. --scores softmax prints how CLIP shares out 1 among the names. A single name is compared with
    the empty text alone.
    """
    check_models(models)
    given = read_inputs(images, listing)
    notes = []
    if options.scores == "similarity":
        if options.surgery is None and len(given.names.flat) == 1:
            options = replace(options, surgery="empty")
            notes.append(ONE_NAME)
        else:
            notes.append(ABOVE if options.surgery_in_force == "label_set" else f"note: {MEANING}")
    model = load_model(models)
    from ovseg.maps.similarity import check_surgery

    check_surgery(options.surgery_in_force, len(given.names.flat))
    encode_texts(model, given.names.flat, options.templates)
    run = record_of_run("recognize", model, models, options, given.names) if listing.json else {}

    def scores(pairs: Iterator[tuple[Path, NDArray[np.uint8]]]) -> Iterator[Recognition]:
        return model.recognize_each((picture for _, picture in pairs), given.names, options=options)

    def line(opened: Opened, found: Recognition) -> list[str]:
        best = found.best(listing.top)
        if listing.json:
            own = {"image": os.path.abspath(opened.file), "size": opened.size, "scores": dict(best)}
            return [json.dumps({**own, **run})]
        return [f"{shown(opened.file)}: " + ", ".join(f"{name} {score:.3f}" for name, score in best)]

    work = Work(partial(open_image, takes=RECOGNIZE_TAKES, side=1), scores, line)
    run_images(given.files, work, None, [*notes, *little_known(models)])
