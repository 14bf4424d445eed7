"""The choices of TextToMask, of ovseg.annotate, of annotation formats, and of the servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from ovseg.errors import UsageError, described
from ovseg.options.fields import (
    ANY_TEXT,
    FLAG,
    LIMITS,
    RUN,
    SOME_WORDS,
    TEXT,
    Options,
    choice,
    documented,
    integer,
    number,
    option,
)
from ovseg.options.models import InputChoices, InputOptions, ModelOptions, SegmenterOptions, SegmentOptions

MAP_THRESHOLDS = {"components": 0.6, "paper": 0.8}
"""The point rules, each with its default threshold on the min-max map."""
POINT_RULES = tuple(MAP_THRESHOLDS)
PROMPTS = ("points", "map", "box")
MASK_CHOICES = ("score", "agreement", "both")
RIVALS: tuple[str, ...] = tuple(
    "person, animal, car, building, house, tree, grass, sky, water, road, wall, floor, furniture, table, "
    "food, plant, flower, mountain, sand, snow, bird, dog, cat, boat, sign, cloth, book, bottle, shape, "
    "pattern, background".split(", ")
)
"""Everyday words that compete with a text for its presence."""


@documented
@dataclass(frozen=True, kw_only=True)
class MaskOptions(InputOptions):
    """How a text becomes masks (``ovseg.TextToMask``)."""

    point_rule: str = option(
        "components",
        choice(POINT_RULES),
        "How points are picked: components (a few for each part of the map, a mask for each object) or "
        "paper (a mask for each text).",
    )
    map_threshold: float | None = option(
        None,
        number(0, 1),
        "Points come from where the min-max map is above this, 0..1. Without it: the rule's own, "
        f"{MAP_THRESHOLDS['components']} and {MAP_THRESHOLDS['paper']}.",
    )
    halve_grid: bool = option(
        False, FLAG, "Halve the map before points are picked, as the public code does (point rule paper)."
    )
    prompt_with: str | None = option(
        None,
        choice(PROMPTS, none=True),
        "What the segmenter gets: points alone, the map's part as a first mask besides, or its box in their "
        "place. Without it: map where the segmenter accepts such masks, points otherwise.",
    )
    mask_choice: str | None = option(
        None,
        choice(MASK_CHOICES, none=True),
        "Which of the segmenter's candidates is taken: by its score, its agreement with the map, or both. "
        "Without it: score where the segmenter predicts the IoU of its masks, agreement otherwise.",
    )
    keep_apart: bool = option(
        True, FLAG, "Tell the segmenter, if it takes that, where other words are that are asked for together."
    )
    refine: bool = option(False, FLAG, "Ask the segmenter once more, with its own mask.")
    clean: float = option(
        0.02, number(0, 1), "Remove specks and holes below this share of a mask, 0..1; 0 keeps them."
    )
    presence_threshold: float = option(
        0.5, number(0, 1), "A text whose presence is below this gets no mask, 0..1; 0: always a mask."
    )
    rivals: Sequence[str] = option(
        RIVALS,
        SOME_WORDS,
        "Words that a text is compared with, for its presence and at every place. "
        "Without it: 31 everyday words, less those that mean the text (lawn: grass).",
    )


class MaskChoices(InputChoices, total=False):
    """Keywords of ``MaskOptions``; a test holds them equal."""

    point_rule: str
    map_threshold: float | None
    halve_grid: bool
    prompt_with: str | None
    mask_choice: str | None
    keep_apart: bool
    refine: bool
    clean: float
    presence_threshold: float
    rivals: Sequence[str]


FORMATS = ("coco", "coco-panoptic", "yolo", "labelme", "label-studio", "cvat", "voc", "mmseg", "cityscapes")
SHAPES = ("mask", "polygon")
TASKS = ("instances", "labels")
ENGINES = ("local", "ray")
CVAT_FUNCTIONS = ("detection", "interaction", "tracking")


LABEL_FIELDS = ("task", *(name for name in SegmentOptions.names() if name not in InputOptions.names()))
"""The options of ``AnnotateOptions`` that concern label maps alone."""


@documented
@dataclass(frozen=True, kw_only=True)
class AnnotateOptions(MaskOptions, SegmentOptions):
    """How images are annotated (``ovseg.annotate``): masks of objects, or label maps.

    >>> AnnotateOptions(task="boxes")
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: unknown task 'boxes': expected one of instances, labels
    """

    task: str = option(
        "instances",
        choice(TASKS),
        "instances: masks of objects, by points and a segmenter; labels: a class for every pixel.",
    )
    overlap: bool = option(
        False, FLAG, "Objects may share pixels. Without it a pixel belongs to the object that fits it best."
    )


@documented
@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """How a run of ``ovseg.annotate`` proceeds; none of these options changes its results."""

    recursive: bool = option(False, FLAG, "Search the folders of a folder too.", RUN)
    mix: bool = option(False, FLAG, "Go on in a run folder that has other settings.", RUN)
    retry: bool = option(False, FLAG, "Try images again that failed before.", RUN)
    threads: int = option(2, integer(1, 64), "Images decoded at once.", RUN)
    engine: str = option(
        "local", choice(ENGINES), "local: this process; ray: workers of Ray, which needs the extra ray.", RUN
    )
    workers: int = option(2, integer(1, 4096), "Workers of Ray.", RUN)


class RunChoices(TypedDict, total=False):
    """Keywords of ``RunOptions`` (PEP 692); a test holds the two equal."""

    recursive: bool
    mix: bool
    retry: bool
    threads: int
    engine: str
    workers: int


@documented
@dataclass(frozen=True, kw_only=True)
class FormatOptions(Options):
    """Choices that some formats of annotation files have."""

    shape: str = option(
        "mask", choice(SHAPES), "mask, or polygon where a tool reads no masks (coco and labelme)."
    )
    image_prefix: str = option(
        "/data/local-files/?d=", ANY_TEXT, "What stands before an image's name in Label Studio's tasks."
    )
    overlaps: bool = option(False, FLAG, "Regions may share pixels.")


@documented
@dataclass(frozen=True, kw_only=True)
class CvatOptions(ModelOptions, SegmenterOptions):
    """Kind and model of a function for cvat-cli (``ovseg.apps.cvat``).

    >>> CvatOptions(function="detection")
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: the function detection needs classes, got none
    """

    function: str = option("detection", choice(CVAT_FUNCTIONS), "detection, interaction or tracking.")
    classes: str | None = option(
        None,
        TEXT,
        "The words of detection: what ovseg annotate --classes takes, or a class list with ';' for its lines.",
    )
    shape: str = option("mask", choice(SHAPES), "mask or polygon, of detection.")
    attributes: bool = option(
        False,
        FLAG,
        "Shapes of detection have score, prompt and method; the labels in CVAT must have them too.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.function == "detection" and self.classes is None:
            raise UsageError("the function detection needs classes, got none")
        if self.function != "detection" and self.classes is not None:
            raise UsageError(
                f"expected no classes for the function {self.function}, got {described(self.classes)}"
            )


@documented
@dataclass(frozen=True, kw_only=True)
class ServeOptions(Options):
    """How much one request to a server may take, and how many there may be (``ovseg serve``).

    >>> ServeOptions(workers=0)
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: expected workers in 1..64, got 0
    """

    max_body: int = option(
        32, integer(1, 1024), "Megabytes of a request's body, or of an image's file.", LIMITS
    )
    max_pixels: int = option(50_000_000, integer(1, 2**31 - 1), "Pixels of an image.", LIMITS)
    timeout: float = option(
        95.0, number(0.1, 86_400), "Seconds from a request's first byte; Label Studio waits 100.", LIMITS
    )
    workers: int = option(2, integer(1, 64), "Requests that are worked on at once.", LIMITS)
    waiting: int = option(16, integer(0, 1024), "Requests that may wait; more get status 503.", LIMITS)
    keep: int = option(8, integer(1, 1000), "Images whose encodings are kept.", LIMITS)
    keep_memory: int = option(512, integer(0, 2**20), "Megabytes that the kept images may take.", LIMITS)

    @property
    def max_bytes(self) -> int:
        """``max_body`` in bytes."""
        return self.max_body << 20
