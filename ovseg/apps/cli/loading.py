"""Models and text features for the commands, with a word on what takes time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ovseg.apps.cli.loop import progress_bar
from ovseg.apps.cli.shared import err, note
from ovseg.options import LoadOptions
from ovseg.weights.known import SMALL, TINY

if TYPE_CHECKING:
    from ovseg.model import Model
    from ovseg.segmenters.base import Segmenter

DEFAULT = SMALL
LITTLE = {
    ("model", SMALL): "the embedded model 'small' is for trying out; --model and --weights take a real one",
    (
        "model",
        TINY,
    ): "the embedded model 'tiny' knows about a hundred words; --model and --weights take others",
    ("segmenter", TINY): "the embedded segmenter 'tiny' is for trying out; --segmenter takes a real one",
}

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="small or tiny (embedded), or a name of open_clip's (ovseg list models).",
        rich_help_panel="Model",
    ),
]
MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        help="clip, maskclip, clip_surgery, gem, sclip, clearclip, naclip, segearth (ovseg list methods).",
        rich_help_panel="Method",
    ),
]
SegmenterName = Annotated[
    str,
    typer.Option(
        "--segmenter",
        help="grabcut, tiny, vit_b, vit_l, vit_h, mobile, or hf: and a folder or repository.",
        rich_help_panel="Model",
    ),
]
SegmenterWeights = Annotated[
    str | None,
    typer.Option(
        "--segmenter-weights", help="A checkpoint of the segmenter, or 'random'.", rich_help_panel="Model"
    ),
]


def say_loading(what: str) -> None:
    """A line before some seconds of silence, on a terminal only."""
    if err.is_terminal:
        note(f"loading {what} ...")


def load_model(name: str, method: str, options: LoadOptions) -> Model:
    """``ovseg.load_model`` with options as one object.

    Raises:
        OvsegError: as ``ovseg.load_model``.
    """
    say_loading(f"the model {name}")
    from ovseg.model import load_model_with

    return load_model_with(name, options, method)


def load_segmenter(name: str, weights: str | None, options: LoadOptions) -> Segmenter:
    """``ovseg.load_segmenter`` on the device of the model.

    Raises:
        OvsegError: as ``ovseg.load_segmenter``.
    """
    say_loading(f"the segmenter {name}")
    from ovseg.segmenters.load import load_segmenter as load

    return load(name, weights, options=options)


def encode_texts(model: Model, texts: Sequence[str], templates: str | Sequence[str]) -> None:
    """Encode the texts before the first image, with progress: a text that is too long is misuse.

    Raises:
        UsageError: a text is too long, or the templates are wrong.
    """
    with progress_bar("prompts") as bar:
        model.encode_text(texts, templates, progress=bar.to)


def little_known(
    model: str, weights: object = None, segmenter: str = "", segmenter_weights: object = None
) -> list[str]:
    """A line for each embedded or untrained model that a command used: their results are easily misread."""
    used = {"model": (model, weights), "segmenter": (segmenter, segmenter_weights)}
    lines = []
    for what, (name, given) in used.items():
        if given == "random":
            lines.append(f"warning: the weights of the {what} {name} are random: its results mean nothing")
        elif (what, name) in LITTLE:
            lines.append(f"note: {LITTLE[what, name]}")
    return lines
