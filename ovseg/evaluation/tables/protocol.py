"""How a data set is measured, and the command line of the tools that measure. No model is imported here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from ovseg.errors import UsageError
from ovseg.metrics import THRESHOLDS_PER
from ovseg.options import ImageOptions, LoadOptions, Options
from ovseg.options.checks import Size
from ovseg.options.fields import FLAG, INPUT, SIZE, choice, documented, integer, option, option_of

Made = TypeVar("Made", bound=Options)

WITH_METHODS = ("table1", "table2", "table5", "faithful", "randomisation")
"""Experiments that compare any methods."""
FIXED = ("table4", "depth", "figure4", "figure5", "figure6")
"""Experiments whose rows are fixed by the paper."""
NEED_BLOCKS = ("table2", "table4", "depth", "figure5")
"""Experiments with rows that need a backbone of transformer blocks."""
RULES = {
    "clip": "softmax",
    "cosine": "none",
    "clip_surgery": "label_set",
    "clip_surgery:label_set_code": "label_set_code",
    "clip_surgery:empty": "empty",
}
"""The rows of Table 6 for a backbone: CLIP takes the softmax over the names, as in the paper."""
TABLE6 = ("clip", "clip_surgery")
"""The paper's rows of Table 6."""
SCORED_AT = ("image", "input")
SURGERY_OVER = ("set", "image")
MOST = 2**31 - 1
DATA_HELP = (
    "data sets as KIND=FOLDER or KIND=FOLDER:SPLIT; kinds: imagenet_s50, voc2012, pascal_context, coco2017,\n"
    "coco_stuff164k, cityscapes, nus_wide (labels without masks), photos=FOLDER:SPLIT:VOCABULARY,\n"
    "tags=FOLDER, scenes=COUNT"
)


@documented
@dataclass(frozen=True, kw_only=True)
class Protocol(ImageOptions):
    """How a data set is measured (the paper's section 4.1). Images are stretched to the size, as there."""

    size: Size | None = option(
        None,
        SIZE,
        "The encoder's input in pixels, a square or 384x512. Without it: 224 for OpenAI's models, 352 for small "
        "and 160 for tiny (256 and 64 where only the class token is read).",
        INPUT,
    )

    scored_at: str = option(
        "image",
        choice(SCORED_AT),
        "Where maps and masks meet: at the size of the image, or of the encoder's input; the paper does not say.",
    )
    surgery_over: str = option(
        "set",
        choice(SURGERY_OVER),
        "The texts that feature surgery takes together: the names of the set, or those that are in the image.",
    )
    group: int = option(
        16, integer(1, 4096), "Images that are encoded together; the last digits of a score depend on it."
    )


@documented
@dataclass(frozen=True, kw_only=True)
class RunOptions(LoadOptions):
    """What the experiments of one call share besides the protocol."""

    threshold_per: str = option(
        "dataset", choice(THRESHOLDS_PER), "What one threshold of the tables' mIoU serves for."
    )
    every: int = option(1, integer(1, MOST), "Take each N-th image of each set.")
    limit: int | None = option(
        None, integer(1, MOST), "Take at most so many images of each set, after every."
    )


@dataclass(frozen=True)
class Wanted:
    """A requested backbone.

    >>> parse_backbone("ViT-B-16-quickgelu=openai")
    Wanted(name='ViT-B-16-quickgelu', weights='openai')
    """

    name: str
    weights: str | None = None

    def __str__(self) -> str:
        return f"{self.name}={self.weights}" if self.weights else self.name


def parse_backbone(text: str) -> Wanted:
    """Parse NAME (an embedded model) or NAME=WEIGHTS. Raises UsageError for an empty part."""
    name, equals, weights = text.partition("=")
    if not name or (equals and not weights):
        raise UsageError(f"expected a backbone as NAME or NAME=WEIGHTS, got {text!r}")
    return Wanted(name, weights or None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that all tools share."""
    parser.add_argument("--data", nargs="+", default=["scenes=100"], metavar="KIND=FOLDER", help=DATA_HELP)
    parser.add_argument(
        "--backbones",
        nargs="+",
        metavar="NAME=WEIGHTS",
        help="such as ViT-B-16-quickgelu=openai; without it an embedded model: tiny for scenes, small for\n"
        f"other sets, and both where some rows need transformer blocks ({', '.join(NEED_BLOCKS)})",
    )
    parser.add_argument("--out", type=Path, default=Path("work_dirs/paper"), help="folder of the results")
    parser.add_argument("--vocabulary", help="texts for the names of the sets: a vocabulary's name or file")
    for one in (*fields(Protocol), *fields(RunOptions)):
        known, name = option_of(one), f"--{one.name.replace('_', '-')}"
        if known.kind is FLAG:
            switch = argparse.BooleanOptionalAction
            parser.add_argument(name, action=switch, default=one.default, help=known.help)
        else:
            shown = "|".join(known.kind.choices) or known.kind.metavar
            parser.add_argument(name, default=one.default, metavar=shown, help=known.help)


def options_of(args: argparse.Namespace, options: type[Made]) -> Made:
    """Read an option class from the arguments. Raises UsageError."""
    values = {
        one.name: option_of(one).kind.read(one.name, value) if isinstance(value, str) else value
        for one in fields(options)
        for value in [getattr(args, one.name)]
    }
    return options.make(None, values)


def default_backbones(data: Sequence[str], experiments: Sequence[str]) -> list[str]:
    """The embedded models that are measured by default.

    "tiny" is trained on generated scenes, "small" on photographs. "small" has no transformer blocks, so "tiny"
    is added for the rows that need them.

    >>> default_backbones(["scenes=20"], ["table1"])
    ['tiny']
    >>> default_backbones(["photos=photos/msrc_v2"], ["table1"])
    ['small']
    >>> default_backbones(["photos=photos/msrc_v2", "scenes=20"], ["table1", "figure5"])
    ['small', 'tiny']
    """
    if all(text.startswith("scenes=") for text in data):
        return ["tiny"]
    return ["small", "tiny"] if set(experiments) & set(NEED_BLOCKS) else ["small"]
