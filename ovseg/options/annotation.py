"""The choices of ``ovseg.annotate``, of annotation formats, and of the servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from ovseg.errors import UsageError, described
from ovseg.options.fields import (
    ANY_TEXT,
    FLAG,
    LIMITS,
    RUN,
    TEXT,
    Options,
    choice,
    documented,
    integer,
    number,
    option,
)
from ovseg.options.masks import MaskOptions
from ovseg.options.models import ModelOptions, SegmenterOptions, SegmentOptions

FORMATS = ("coco", "coco-panoptic", "yolo", "labelme", "label-studio", "cvat", "voc", "mmseg", "cityscapes")
SHAPES = ("mask", "polygon")
TASKS = ("instances", "labels")
ENGINES = ("local", "ray")
CVAT_FUNCTIONS = ("detection", "interaction", "tracking")


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
    """How a run of ``ovseg.annotate`` goes; nothing of it changes what is found."""

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
    """What a function of cvat-cli is (``ovseg.apps.cvat``), besides how it finds.

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

    @property
    def max_bytes(self) -> int:
        """``max_body`` in bytes."""
        return self.max_body << 20
