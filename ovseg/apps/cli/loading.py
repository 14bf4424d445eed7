"""Loads models and encodes texts for the commands; names are checked before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ovseg.apps.cli.loop import Bar
from ovseg.apps.cli.shared import err, note
from ovseg.options import ModelOptions, SegmenterOptions
from ovseg.options.checks import check_choice
from ovseg.segmenters.load import check_segmenter
from ovseg.weights.known import SMALL, TINY, check_model

if TYPE_CHECKING:
    from ovseg.model import Model
    from ovseg.segmenters.base import Segmenter

METHODS = (
    "clip",
    "maskclip",
    "clip_surgery",
    "gem",
    "sclip",
    "clearclip",
    "naclip",
    "segearth",
    "clip_surgery_normalised",
)
EXPLANATIONS = (
    *METHODS,
    "rollout",
    "bimodal",
    "bimodal_all",
    "legrad",
    "legrad_all",
    "grad_eclip",
    "gradcam",
    "gradcam_cls",
    "gradcam_input",
    "gradcam_norm",
    "gscorecam",
    "gscorecam_cls",
    "plrp",
    "rclip",
)
"""Copies of the tables in ovseg.clip and ovseg.explanation, which need torch; a test compares them."""
MOST_UNKNOWN = 5
"""Lines about unknown words at most: a list in another language would fill the screen."""
LITTLE = {
    ("model", SMALL): "'small' is for trying out; --model and --weights take a real one",
    ("model", TINY): "'tiny' knows about a hundred words; --model and --weights take others",
    ("segmenter", TINY): "'tiny' is for trying out; --segmenter takes a real one",
}


def check_models(models: ModelOptions, segmenter: SegmenterOptions | None = None) -> None:
    """Check the names of method, model and segmenter without torch.

    Raises:
        UsageError: a name is unknown.
    """
    check_choice("method", models.method, METHODS)
    check_model(models.model)
    if segmenter is not None:
        check_segmenter(segmenter.segmenter)


def say_loading(what: str) -> None:
    """Print what is loading, on a terminal only."""
    if err.is_terminal:
        note(f"loading {what} ...")


def load_model(chosen: ModelOptions) -> Model:
    """Load the model of a command line. Raises OvsegError as ``ovseg.load_model``."""
    say_loading(f"the model {chosen.model}")
    from ovseg.model import load

    return load.load_model(chosen.model, chosen.weights, method=chosen.method, options=chosen.loading)


def load_segmenter(chosen: SegmenterOptions, models: ModelOptions) -> Segmenter:
    """Load the segmenter on the model's device. Raises OvsegError as ``ovseg.load_segmenter``."""
    say_loading(f"the segmenter {chosen.segmenter}")
    from ovseg.segmenters import load

    return load.load_segmenter(
        chosen.segmenter, chosen.segmenter_weights, device=models.device, offline=models.offline
    )


def say_unknown(model: Model, texts: Sequence[str]) -> None:
    """Print a line for each word that the model cannot know, ``MOST_UNKNOWN`` at most."""
    unknown = model.unknown_words(texts)
    for one in unknown[:MOST_UNKNOWN]:
        note(f"warning: {one}")
    if len(unknown) > MOST_UNKNOWN:
        note(f"warning: {len(unknown) - MOST_UNKNOWN} more unknown words")


def encode_texts(
    model: Model, texts: Sequence[str], templates: str | Sequence[str], asked: Sequence[str] | None = None
) -> None:
    """Encode all texts before the first image, with progress, so that errors come first.

    Words that the model cannot know are printed, of ``asked`` alone if the texts hold others too.

    Raises:
        UsageError: a text is too long, or the templates are wrong.
    """
    say_unknown(model, texts if asked is None else asked)
    with Bar("prompts") as bar:
        model.encode_text(texts, templates, progress=bar.to)


def little_known(models: ModelOptions, segmenter: SegmenterOptions | None = None) -> list[str]:
    """A caution for each embedded or untrained model, whose results are easily overrated."""
    used = [("model", models.model, models.weights)]
    if segmenter is not None:
        used.append(("segmenter", segmenter.segmenter, segmenter.segmenter_weights))
    lines = []
    for what, name, weights in used:
        if weights == "random":
            lines.append(f"warning: the weights of the {what} {name} are random: its results mean nothing")
        elif (what, name) in LITTLE:
            lines.append(f"note: the embedded {what} {LITTLE[what, name]}")
    return lines
