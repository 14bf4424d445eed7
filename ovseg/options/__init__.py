"""Every choice that decides a result: defined, given its default and checked here and nowhere else.

Python calls, the command line, MMSegmentation's configs and the records of results use the same objects.
Each class is frozen and checks itself when it is made, so an object that exists holds valid values.
This module imports no torch: the command line reads its defaults before any model is loaded.

    >>> SegmentOptions(size=512, background=0.1).describe()["size"]
    512
    >>> SegmentOptions.from_mapping({"sise": 512})
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: unknown option 'sise': did you mean 'size'?
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ovseg.errors import UsageError, described
from ovseg.options.checks import (
    Background,
    Size,
    Templates,
    check_background,
    check_choice,
    check_flag,
    check_integer,
    check_name_or_path,
    check_number,
    check_size,
    check_templates,
    check_text,
    check_words,
    pair,
)

if TYPE_CHECKING:
    from typing_extensions import Self

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
"""What JSON can hold."""

PRECISIONS = ("fp32", "bf16", "fp16")
RESIZES = ("opencv", "pillow", "bilinear")
"""How an image reaches the encoder's size. "opencv": bicubic, averaging over areas along a side that
shrinks. "pillow": antialiased bicubic, as in OpenAI's preprocessing and CLIP Surgery's demo. "bilinear":
without antialiasing, as in the code of SCLIP and its successors."""
SYNONYMS = ("probability", "cosine")
EDGES = ("guided",)
SURGERIES = ("empty", "label_set", "label_set_code")
THRESHOLDS = {"components": 0.6, "paper": 0.8}
"""The rules for points, and the threshold of each on the min-max map where none is given."""
RULES = tuple(THRESHOLDS)
PROMPTS = ("points", "map", "box")
SELECTIONS = ("score", "agreement", "both")
FORMATS = ("coco", "coco-panoptic", "yolo", "labelme", "label-studio", "cvat", "voc", "mmseg", "cityscapes")
SHAPES = ("mask", "polygon")
TASKS = ("instances", "labels")
CVAT_FUNCTIONS = ("detection", "interaction", "tracking")
MAX_BATCH = 4096
DISTRACTORS: tuple[str, ...] = tuple(
    "person, animal, car, building, house, tree, grass, sky, water, road, wall, floor, furniture, table, "
    "food, plant, flower, mountain, sand, snow, bird, dog, cat, boat, sign, cloth, book, bottle, shape, "
    "pattern, background".split(", ")
)
"""Everyday words that a text is compared with to decide whether it is in the picture."""


class Options:
    """Base of the option classes: what a record says of them, and how a config makes them."""

    def describe(self) -> dict[str, Plain]:
        """Every field as JSON can hold it, in the order of definition: the part of a record that says how."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """The options of a config's mapping.

        Raises:
            UsageError: a key is no option of this class, or a value is wrong.
        """
        check_known(values, cls.names())
        return cls(**values)

    @classmethod
    def names(cls) -> list[str]:
        """The names of all fields, in the order of definition."""
        return [field.name for field in fields(cls)]  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class LoadOptions(Options):
    """How a model is loaded (``ovseg.load_model``).

    Attributes:
        weights: a tag of open_clip's, the path of a file, "random" for untrained weights, or None for the
            embedded model's own. Every other model needs one.
        device: "cpu", "cuda", "cuda:1" or another device of torch's.
        precision: "fp32", "bf16", or "fp16" (not on a CPU), of the image tower. Texts are encoded in fp32.
        cache: whether text features are kept on disk.
        offline: never ask the network.
    """

    weights: str | PathLike[str] | None = None
    device: str = "cpu"
    precision: str = "fp32"
    cache: bool = True
    offline: bool = False

    def __post_init__(self) -> None:
        if self.weights is not None:
            _set(self, "weights", check_name_or_path("weights", self.weights))
        check_text("device", self.device)
        check_choice("precision", self.precision, PRECISIONS)
        check_flag("cache", self.cache)
        check_flag("offline", self.offline)


@dataclass(frozen=True, kw_only=True)
class InputOptions(Options):
    """How an image goes through the encoder, and which prompts stand for a name.

    Attributes:
        size: the encoder's input, one side of a square or (height, width) in pixels; None for the model's own
            short side at the image's aspect ratio. Rounded to whole patches.
        window: sliding windows of this size in pixels of the resized image; None for the whole image at once.
        stride: distance between windows in pixels; None for the window itself (no overlap).
        resize: one of ``RESIZES``.
        templates: "paper" (85), "imagenet" (80), "plain", one template or several, with one ``{}`` each.
        batch: images or windows of one size that go through the encoder at once; None for as many as have a
            million pixels together.
    """

    size: Size | None = None
    window: Size | None = None
    stride: Size | None = None
    batch: int | None = None
    resize: str = "opencv"
    templates: Templates = "paper"

    def __post_init__(self) -> None:
        for name in ("size", "window", "stride"):
            _set(self, name, check_size(name, getattr(self, name)))
        if self.window is None and self.stride is not None:
            raise UsageError(f"stride needs a window with it, got stride {self.stride} and no window")
        if self.window is not None and self.stride is not None:
            pairs = zip(pair(self.stride), pair(self.window), strict=True)
            if any(stride > window for stride, window in pairs):
                raise UsageError(
                    f"expected 1 <= stride <= window, got stride {self.stride} and window {self.window}"
                )
        if self.batch is not None:
            _set(self, "batch", check_integer("batch", self.batch, 1, MAX_BATCH))
        check_choice("resize", self.resize, RESIZES)
        _set(self, "templates", check_templates(self.templates))


@dataclass(frozen=True, kw_only=True)
class SegmentOptions(InputOptions):
    """How similarities become a label map (``Model.segment``, the segmentor of MMSegmentation).

    Attributes:
        logit_scale: times cosine before the softmax over the texts, above 0.
        background: None; a probability in 0..1 below which a pixel goes to the vocabulary's background class,
            or to void where there is none; or words that become a class "background" in front of the others.
        area_threshold: foreground classes with at most this share of an image's foreground pixels are removed
            (SCLIP's rule), in 0..1; 0 switches it off.
        synonyms: "probability" takes the largest of a class's texts after the softmax, "cosine" before it.
        edges: "guided" makes the boundaries follow the image's edges by the guided filter on the cosines
            (He et al., 2013); None leaves them as smooth as the token grid.
    """

    logit_scale: float = 50.0
    background: Background = None
    area_threshold: float = 0.0
    synonyms: str = "probability"
    edges: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, "logit_scale", check_number("logit_scale", self.logit_scale, 0, math.inf, above=True))
        _set(self, "background", check_background(self.background))
        _set(self, "area_threshold", check_number("area_threshold", self.area_threshold, 0, 1))
        check_choice("synonyms", self.synonyms, SYNONYMS)
        if self.edges is not None:
            check_choice("edges", self.edges, EDGES, none=True)


@dataclass(frozen=True, kw_only=True)
class SimilarityOptions(InputOptions):
    """How a similarity map is made (``Model.similarity``).

    Attributes:
        surgery: "empty" takes the feature of the empty string from each text, one text at a time;
            "label_set" (the paper's form) and "label_set_code" (the public code's) take away what the texts
            have in common and need at least two; None leaves the cosines.
    """

    surgery: str | None = "empty"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.surgery is not None:
            check_choice("surgery", self.surgery, SURGERIES, none=True)


@dataclass(frozen=True, kw_only=True)
class ExplainOptions(Options):
    """How an explanation is made (``ovseg.explanation.explain``).

    Attributes:
        surgery: for explanations that are similarities: "own" for the surgery that belongs to the method
            ("empty" for CLIP Surgery, none for the others), or as in ``SimilarityOptions``.
        size, resize, templates: as in ``InputOptions``.
    """

    surgery: str | None = "own"
    size: Size | None = None
    resize: str = "opencv"
    templates: Templates = "paper"

    def __post_init__(self) -> None:
        if self.surgery is not None:
            check_choice("surgery", self.surgery, ("own", *SURGERIES), none=True)
        _set(self, "size", check_size("size", self.size))
        check_choice("resize", self.resize, RESIZES)
        _set(self, "templates", check_templates(self.templates))


@dataclass(frozen=True, kw_only=True)
class RecognitionOptions(Options):
    """How one score for each name is made from the class token (``Model.recognize``).

    Attributes:
        surgery: as in ``SimilarityOptions``, or "softmax" for CLIP's own softmax over the texts.
        size: the encoder's input; None for a square of the model's native size.
        resize, templates: as in ``InputOptions``.
    """

    surgery: str | None = "label_set"
    size: Size | None = None
    resize: str = "opencv"
    templates: Templates = "paper"

    def __post_init__(self) -> None:
        if self.surgery is not None:
            check_choice("surgery", self.surgery, (*SURGERIES, "softmax"), none=True)
        _set(self, "size", check_size("size", self.size))
        check_choice("resize", self.resize, RESIZES)
        _set(self, "templates", check_templates(self.templates))


@dataclass(frozen=True, kw_only=True)
class MaskOptions(InputOptions):
    """How a text becomes masks (``ovseg.TextToMask``).

    Attributes:
        rule: "components" (a few points for each connected part of the map, one mask an object) or "paper".
        threshold: on the min-max map, in 0..1; None for the rule's own (0.6 and 0.8).
        halve: halve the grid before points are picked, as the public code does (rule "paper" only).
        prompt_with: what the segmenter gets besides points: "points" nothing, "map" the part of the map as a
            first mask, "box" its bounds in place of the points. None: "map" where the segmenter accepts mask
            prompts of this kind, "points" otherwise.
        select_by: among the segmenter's candidates, by its "score", by "agreement" with the map, or "both".
            None: "score" where the segmenter predicts the IoU of its masks, "agreement" otherwise.
        refine: decode once more from the mask that was chosen.
        clean: specks and holes below this share of the mask are removed, in 0..1.
        presence_threshold: a text whose presence is below gives no mask; 0 always answers.
        distractors: words that a text is compared with, for its presence and at every place of the map.
    """

    rule: str = "components"
    threshold: float | None = None
    halve: bool = False
    prompt_with: str | None = None
    select_by: str | None = None
    refine: bool = False
    clean: float = 0.02
    presence_threshold: float = 0.5
    distractors: Sequence[str] = DISTRACTORS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("rule", self.rule, RULES)
        if self.threshold is not None:
            _set(self, "threshold", check_number("threshold", self.threshold, 0, 1))
        check_flag("halve", self.halve)
        check_flag("refine", self.refine)
        if self.prompt_with is not None:
            check_choice("prompt_with", self.prompt_with, PROMPTS, none=True)
        if self.select_by is not None:
            check_choice("select_by", self.select_by, SELECTIONS, none=True)
        _set(self, "clean", check_number("clean", self.clean, 0, 1))
        _set(self, "presence_threshold", check_number("presence_threshold", self.presence_threshold, 0, 1))
        _set(self, "distractors", check_words("distractors", self.distractors, empty=True))


@dataclass(frozen=True, kw_only=True)
class AnnotateOptions(MaskOptions):
    """How a folder of images is annotated (``ovseg.annotation``); the choices of ``MaskOptions`` and these.

    Attributes:
        task: "instances" makes masks of objects, by points and a segmenter; "labels" gives every pixel a
            class, as ``Model.segment`` does.
        overlap: objects may share pixels; otherwise each pixel belongs to the object that fits it best.
        logit_scale, background, area_threshold, synonyms: as in ``SegmentOptions``, for the task "labels".

    >>> AnnotateOptions(task="boxes")
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: unknown task 'boxes': expected one of instances, labels
    """

    task: str = "instances"
    overlap: bool = False
    logit_scale: float = SegmentOptions.logit_scale
    background: Background = SegmentOptions.background
    area_threshold: float = SegmentOptions.area_threshold
    synonyms: str = SegmentOptions.synonyms

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("task", self.task, TASKS)
        check_flag("overlap", self.overlap)
        labels = self.segmenting
        for name in ("logit_scale", "background", "area_threshold"):
            _set(self, name, getattr(labels, name))

    @property
    def segmenting(self) -> SegmentOptions:
        """The choices that a label map has, for the task "labels"."""
        names = {one.name for one in fields(self)} & {one.name for one in fields(SegmentOptions)}
        return SegmentOptions.from_mapping({name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class FormatOptions(Options):
    """Choices that some formats of annotation files have.

    Attributes:
        shape: "mask", or "polygon" where a tool reads no masks (formats coco and labelme).
        image_prefix: what stands before an image's name in Label Studio's tasks.
        overlaps: regions may share pixels.
    """

    shape: str = "mask"
    image_prefix: str = "/data/local-files/?d="
    overlaps: bool = False

    def __post_init__(self) -> None:
        check_choice("shape", self.shape, SHAPES)
        if not isinstance(self.image_prefix, str):
            raise UsageError(f"expected image_prefix as a text, got {described(self.image_prefix)}")
        check_flag("overlaps", self.overlaps)


@dataclass(frozen=True, kw_only=True)
class CvatOptions(Options):
    """What a function of cvat-cli is (``ovseg.apps.cvat``), besides how it loads and finds.

    Attributes:
        function: one of ``CVAT_FUNCTIONS``.
        classes: the words of "detection": what ``ovseg annotate --classes`` takes, or the lines of a class
            list with ";" between them.
        shape: "mask" or "polygon", of "detection".
        attributes: shapes of "detection" have the attributes score, prompt and method; the labels of the
            task in CVAT must have them too.
        model, method: as for ``ovseg.load_model``.
        segmenter, segmenter_weights: as for ``ovseg.load_segmenter``.

    >>> CvatOptions(function="detection")
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: expected classes for the function detection, got none
    """

    function: str = "detection"
    classes: str | None = None
    shape: str = "mask"
    attributes: bool = False
    model: str = "small"
    method: str = "clip_surgery"
    segmenter: str = "tiny"
    segmenter_weights: str | None = None

    def __post_init__(self) -> None:
        check_choice("function", self.function, CVAT_FUNCTIONS)
        check_choice("shape", self.shape, SHAPES)
        check_flag("attributes", self.attributes)
        for name in ("classes", "model", "method", "segmenter", "segmenter_weights"):
            if getattr(self, name) is not None:
                check_text(name, getattr(self, name))
        if self.function == "detection" and self.classes is None:
            raise UsageError("expected classes for the function detection, got none")
        if self.function != "detection" and self.classes is not None:
            raise UsageError(
                f"expected no classes for the function {self.function}, got {described(self.classes)}"
            )


def check_known(names: Iterable[object], known: Sequence[str]) -> None:
    """Raise UsageError, with the nearest known one, for a name that is none of the known ones."""
    for name in names:
        if name not in known:
            raise UsageError(f"unknown option {described(name)}: {_hint(str(name), known)}")


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"


def _set(options: Options, name: str, value: object) -> None:
    object.__setattr__(options, name, value)  # the dataclass is frozen: its own checks alone may do this


def _plain(value: object) -> Plain:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    assert value is None or isinstance(value, (str, int, float, bool))
    return value


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Options):
    """How much one request to a server may take, and how many there may be (``ovseg serve``).

    Attributes:
        max_body: megabytes of a request's body, and of the file of a picture that is read or downloaded.
        max_pixels: of a picture.
        timeout: seconds from a request's first byte to its answer. Label Studio waits 100 for predictions.
        workers: requests that are worked on at the same time.
        waiting: requests that wait for a worker; whoever comes then is sent away with status 503.
        keep: pictures whose encodings are kept; the least recently used go first.

    >>> ServeOptions(workers=0)
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: expected workers in 1..64, got 0
    """

    max_body: int = 32
    max_pixels: int = 50_000_000
    timeout: float = 95.0
    workers: int = 2
    waiting: int = 16
    keep: int = 8

    def __post_init__(self) -> None:
        most = {"max_body": 1024, "max_pixels": 2**31 - 1, "workers": 64, "keep": 1000}
        for name, limit in most.items():
            _set(self, name, check_integer(name, getattr(self, name), 1, limit))
        _set(self, "waiting", check_integer("waiting", self.waiting, 0, 1024))
        _set(self, "timeout", check_number("timeout", self.timeout, 0.1, 86_400))

    @property
    def max_bytes(self) -> int:
        """``max_body`` in bytes."""
        return self.max_body << 20
