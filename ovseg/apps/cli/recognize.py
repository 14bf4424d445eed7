"""``ovseg recognize``: which names are in an image."""

from __future__ import annotations

import json as json_module
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ovseg.apps.cli.inputs import Arguments, Recursive, VocabularyName, open_image, read_inputs
from ovseg.apps.cli.loading import DEFAULT, ModelName, encode_texts, little_known, load_model
from ovseg.apps.cli.loop import run_images
from ovseg.apps.cli.options import with_options
from ovseg.apps.cli.records import record_of_run
from ovseg.apps.cli.shared import reported
from ovseg.files.paths import shown
from ovseg.options import LoadOptions, RecognitionOptions
from ovseg.options.checks import check_integer
from ovseg.words.names import MAX_NAMES

TAKES = 8
"""Bytes of memory for each pixel of a large image, measured."""
ONE_NAME = "note: with a single name, the score compares it with the empty text (--surgery empty)"


@reported
@with_options(LoadOptions, RecognitionOptions, without=["surgery"])
def recognize(
    loading: LoadOptions,
    options: RecognitionOptions,
    images: Arguments,
    vocabulary: VocabularyName = None,
    recursive: Recursive = False,
    top: Annotated[
        str, typer.Option("--top", help="How many names for each image.", metavar="INTEGER")
    ] = "5",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    model: ModelName = DEFAULT,
    surgery: Annotated[
        str | None,
        typer.Option(
            "--surgery",
            help="What is taken away from the texts' features: label_set, label_set_code, empty or none; or "
            "softmax for CLIP's probabilities.",
            show_default="label_set; empty where there is one name",
            rich_help_panel="Method",
        ),
    ] = None,
) -> None:
    """Print the names that fit each image best, with their scores.

    Example: ovseg recognize photos "dog, cat, car" --top 2

    One line for each image on standard output. The score of a single name says little by itself: it is
    compared with the empty text alone.
    """
    given = read_inputs(images, vocabulary, recursive)
    count = check_integer("--top", as_integer("top", top), 1, MAX_NAMES)
    if surgery is not None:
        options = replace(options, surgery=as_surgery("surgery", surgery))
    elif len(given.names.flat) == 1:
        options = replace(options, surgery="empty")
    ready = load_model(model, "clip_surgery", loading)

    ready.check_surgery(options.surgery, given.names)
    encode_texts(ready, given.names.flat, options.templates)
    run = record_of_run("recognize", ready, loading, options, given.names) if json else {}
    notes = [ONE_NAME] if surgery is None and options.surgery == "empty" else []

    def work(file: Path) -> Iterator[str]:
        image = open_image(file, TAKES)
        (found,) = ready.recognize_with([image], given.names, options)
        best = found.best(count)
        if json:
            own = {"image": os.path.abspath(file), "size": image.shape[:2], "scores": dict(best)}
            yield json_module.dumps({**own, **run})
        else:
            yield f"{shown(file)}: " + ", ".join(f"{name} {score:.3f}" for name, score in best)

    run_images(list(given.stems), work, None, [*notes, *little_known(model, loading.weights)])
