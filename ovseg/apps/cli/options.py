"""The options of ``ovseg.options`` on the command line: one table, from which every command takes what it
has.

A command names its option classes, ``@with_options(LoadOptions, SegmentOptions)``, and gets their objects.
What a value may be and what holds where none is given is decided by the classes alone: this module only reads
text.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Annotated, TypeAlias

import typer

from ovseg.errors import UsageError, short_repr
from ovseg.files.paths import expand
from ovseg.options import (
    EDGES,
    MASK_CHOICES,
    PRECISIONS,
    PROMPTS,
    RESIZES,
    RULES,
    SURGERIES,
    SYNONYMS,
    TASKS,
    Options,
)

Read: TypeAlias = "Callable[[str, str], object]"
"""From the name of an option and what was typed to a value, which the option's class checks."""


def as_text(name: str, text: str) -> str:
    """The text itself."""
    return text


def as_number(name: str, text: str) -> float | str:
    """A float; what is none is left for the option's class to refuse."""
    try:
        return float(text)
    except ValueError:
        return text


def as_integer(name: str, text: str) -> int | str:
    """An int; what is none is left for the option's class to refuse.

    >>> as_integer("batch", "8"), as_integer("batch", "²")
    (8, '²')
    """
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text) else text


def as_size(name: str, text: str) -> int | tuple[int, int]:
    """ "512" or "384x512", height first.

    >>> as_size("window", "512"), as_size("window", "384x512")
    (512, (384, 512))
    """
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:[xX×]\s*([0-9]{1,9})\s*)?", text)
    if not found:
        raise UsageError(
            f"expected {name} as 512 or 384x512 (height x width) in pixels, got {short_repr(text)}"
        )
    return int(found[1]) if found[2] is None else (int(found[1]), int(found[2]))


def as_background(name: str, text: str) -> float | str:
    """A probability, or words with commas."""
    try:
        return float(text)
    except ValueError:
        return text


def as_surgery(name: str, text: str) -> str | None:
    """The name of a surgery; "none" for the cosines as they are."""
    return None if text == "none" else text


def as_weights(name: str, text: str) -> str:
    """A tag, "random" or a file, whose leading ``~`` is the home folder."""
    return str(expand(text)) if text.startswith("~") else text


@dataclass(frozen=True)
class Row:
    """How one option is typed.

    Attributes:
        help: its line in ``--help``.
        read: from text to the value.
        panel: the heading that it stands under.
        choices: what a shell completes it with.
    """

    help: str
    read: Read = as_text
    panel: str = "Method"
    choices: tuple[str, ...] = ()


_MODEL, _INPUT, _LIMITS = "Model", "Input", "Limits"
TABLE = {
    "weights": Row("A tag such as openai, a checkpoint file, or 'random'.", as_weights, _MODEL),
    "device": Row("cpu, cuda, cuda:1 ...", panel=_MODEL, choices=("cpu", "cuda")),
    "precision": Row("fp32, bf16, or fp16 on a GPU.", panel=_MODEL, choices=PRECISIONS),
    "cache": Row("Keep text features on disk.", panel=_MODEL),
    "offline": Row("Never touch the network.", panel=_MODEL),
    "size": Row(
        "The size of the encoder's input: 512 for a square, 384x512 for height x width. "
        "Without it: the model's own size.",
        as_size,
        _INPUT,
    ),
    "window": Row("Sliding windows of this size, 224 or 224x336.", as_size, _INPUT),
    "stride": Row("Distance between windows; without it they do not overlap.", as_size, _INPUT),
    "batch": Row("Windows in one call of the encoder.", as_integer, _INPUT),
    "resize": Row("How an image is resized: opencv, pillow or bilinear.", panel=_INPUT, choices=RESIZES),
    "templates": Row(
        "Prompts: paper (85), imagenet (80), plain, or a text such as 'a photo of a {}'. May be repeated.",
        panel=_INPUT,
        choices=("paper", "imagenet", "plain"),
    ),
    "logit_scale": Row("Factor of the cosines before the softmax over the names.", as_number),
    "background": Row(
        "A probability below which a pixel is void (or the class 'background'), or words: 'wall, floor'.",
        as_background,
    ),
    "area_threshold": Row("Drop classes below this share of the foreground, 0..1.", as_number),
    "synonyms": Row(
        "Where a class has several texts: the best 'probability' or the best 'cosine'.", choices=SYNONYMS
    ),
    "edges": Row("Boundaries follow the image's edges: guided (guided filter).", choices=EDGES),
    "surgery": Row(
        "What is taken away from the texts' features: empty, label_set, label_set_code or none.",
        as_surgery,
        choices=(*SURGERIES, "none"),
    ),
    "rule": Row(
        "How points are picked: components (a mask for each object) or paper (a mask for each text).",
        choices=RULES,
    ),
    "threshold": Row(
        "Points come from where the map is above this, 0..1. Without it: the rule's own.", as_number
    ),
    "halve": Row("Halve the map before points are picked (rule paper)."),
    "prompt_with": Row(
        "What the segmenter gets besides points: points (nothing), map or box. Default: what suits it.",
        choices=PROMPTS,
    ),
    "mask_choice": Row(
        "Which of the segmenter's candidates is taken: by its score, its agreement with the map, or both.",
        choices=MASK_CHOICES,
    ),
    "refine": Row("Ask the segmenter once more, with its own mask."),
    "clean": Row("Remove specks and holes below this share of a mask, 0..1.", as_number),
    "presence_threshold": Row(
        "A text whose presence is below this gets no mask, 0..1; 0: always a mask.", as_number
    ),
    "task": Row(
        "instances: masks of objects, by points and a segmenter; labels: a class for every pixel.",
        choices=TASKS,
    ),
    "overlap": Row("Objects may share pixels. Without it a pixel belongs to the object that fits it best."),
    "rivals": Row("Words that a text is compared with. Without it: 31 everyday words."),
    "max_body": Row("Megabytes of a request or an image's file.", as_integer, _LIMITS),
    "max_pixels": Row("Pixels of an image.", as_integer, _LIMITS),
    "timeout": Row("Seconds for a request; Label Studio waits 100.", as_number, _LIMITS),
    "workers": Row("Requests that are worked on at once.", as_integer, _LIMITS),
    "waiting": Row("Requests that may wait; more get status 503.", as_integer, _LIMITS),
    "keep": Row("Images whose encodings are kept.", as_integer, _LIMITS),
}
LISTS = ("templates",)
"""Options that may be given several times."""
METAVARS: dict[Read, str] = {as_number: "NUMBER", as_integer: "INTEGER", as_size: "SIZE"}
SWITCHES = {"cache": "--cache/--no-cache", "refine": "--refine/--no-refine"}


def with_options(
    *classes: type[Options], without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of some classes, and their objects as its first arguments.

    Args:
        classes: option classes of ``ovseg.options``.
        without: fields that this command has in another form, or not at all.
    """
    names = [[field.name for field in fields(one) if field.name not in without] for one in classes]  # type: ignore[arg-type]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: object) -> None:
            objects = [
                read_options(one, {name: given.pop(name) for name in own})
                for one, own in zip(classes, names, strict=True)
            ]
            command(*objects, **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[len(classes) :]
        added = [parameter(one, name) for one, listed in zip(classes, names, strict=True) for name in listed]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in [*own, *added]]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__doc__ = unwrapped(command.__doc__ or "")
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def unwrapped(text: str) -> str:
    """Paragraphs of one line each, which the help wraps to the terminal."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def read_options(made: type[Options], typed: dict[str, object]) -> Options:
    """The object of an option class from what was typed; None and no text stand for "not given"."""
    values: dict[str, object] = {}
    for name, value in typed.items():
        if isinstance(value, str):
            values[name] = TABLE[name].read(name, value)
        elif isinstance(value, (list, tuple)):
            if value:
                values[name] = value[0] if len(value) == 1 else tuple(value)
        elif value is not None:
            values[name] = value
    return made.from_mapping(values)


def parameter(options: type[Options], name: str) -> inspect.Parameter:
    """One field of an option class as an option of the command line, with the class's default."""
    row = TABLE[name]
    default = next(field.default for field in fields(options) if field.name == name)  # type: ignore[arg-type]
    kind: object = list[str] if name in LISTS else bool if isinstance(default, bool) else str | None
    if name in LISTS:
        default = [default]
    elif isinstance(default, (int, float)) and not isinstance(default, bool):
        default = str(default) if isinstance(default, int) else f"{default:g}"
    elif not isinstance(default, (bool, str)):  # None, or words that would fill the screen
        default = None
    info = typer.Option(
        SWITCHES.get(name, f"--{name.replace('_', '-')}"),
        help=row.help,
        rich_help_panel=row.panel,
        autocompletion=_completion(row.choices) if row.choices else None,
        metavar=METAVARS.get(row.read),
    )
    annotation = Annotated[kind, info]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete
