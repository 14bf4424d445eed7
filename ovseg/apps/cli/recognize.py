"""``ovseg recognize``: which names are in an image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg.apps.cli.commands import OWN, with_options
from ovseg.apps.cli.inputs import Arguments, NamedImages, open_image, read_inputs
from ovseg.apps.cli.loading import check_models, encode_texts, little_known, load_model
from ovseg.apps.cli.loop import Opened, Work, run_images
from ovseg.apps.cli.outputs import record_of_run
from ovseg.apps.cli.shared import err, reported
from ovseg.files.paths import shown
from ovseg.options import ModelOptions, RecognitionOptions
from ovseg.options.fields import FLAG, integer, option
from ovseg.words.names import MAX_NAMES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.results import Recognition

TAKES = 8
"""Bytes of memory for each pixel of a large image, measured."""
ONE_NAME = "note: with a single name, the score compares it with the empty text (--surgery empty)"
MEANING = (
    "note: scores compare images and names, they are no probabilities; --scores softmax prints shares of 1 "
    "among the names"
)


@dataclass(frozen=True, kw_only=True)
class Listing(NamedImages):
    """What ``ovseg recognize`` prints."""

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
        elif err.is_terminal:
            notes.append(MEANING)
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

    work = Work(partial(open_image, takes=TAKES, side=1), scores, line)
    run_images(given.files, work, None, [*notes, *little_known(models)])
