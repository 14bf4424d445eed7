"""The choices of loading and of ``Model``: similarity, segment, recognize, explain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from ovseg.errors import UsageError, described
from ovseg.options.checks import Size, Templates, pair
from ovseg.options.fields import (
    BACKGROUND,
    DEVICE,
    FLAG,
    INPUT,
    METHOD,
    MODEL,
    SIZE,
    TEMPLATES,
    TEXT,
    WEIGHTS,
    Options,
    choice,
    documented,
    integer,
    number,
    option,
    read_number,
)

PRECISIONS = ("fp32", "bf16", "fp16")
RESIZES = ("opencv", "pillow", "bilinear")
"""How an image reaches the encoder's size. "opencv": bicubic, averaging over areas along a side that
shrinks. "pillow": antialiased bicubic, as in OpenAI's preprocessing and CLIP Surgery's demo. "bilinear":
without antialiasing, as in the code of SCLIP and its successors."""
SYNONYMS = ("probability", "cosine")
EDGES = ("guided",)
SURGERIES = ("none", "empty", "label_set", "label_set_code")
"""Feature surgery: nothing is taken from the texts' features; the feature of the empty string is taken from
each; what the texts have in common, in the paper's form or the public code's (two texts at least)."""
SCORES = ("similarity", "softmax")
MAX_BATCH = 4096


@documented
@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Where a model computes and whether it may be downloaded (``ovseg.load_segmenter``)."""

    device: str = option("cpu", DEVICE, "cpu, cuda, cuda:1 ...", MODEL)
    offline: bool = option(False, FLAG, "Never ask the network.", MODEL)


@documented
@dataclass(frozen=True, kw_only=True)
class LoadOptions(DeviceOptions):
    """How a model is loaded (``ovseg.load_model``)."""

    precision: str = option(
        "fp32",
        choice(PRECISIONS),
        "fp32, bf16, or fp16 on a GPU, of the image tower; texts are encoded in fp32.",
        MODEL,
    )
    cache: bool = option(True, FLAG, "Keep text features on disk.", MODEL)


@documented
@dataclass(frozen=True, kw_only=True)
class ModelOptions(LoadOptions):
    """A model by name, to be loaded by the command line, a worker or cvat-cli."""

    model: str = option(
        "small",
        TEXT,
        "small or tiny (embedded), a name of open_clip's such as ViT-B-16, hf-hub: or local-dir:.",
        MODEL,
    )
    weights: str | None = option(
        None, WEIGHTS, "A tag such as openai, a checkpoint file, or 'random'.", MODEL
    )
    method: str = option(
        "clip_surgery", TEXT, "How dense tokens are made, a name of 'ovseg list methods'.", METHOD
    )

    @property
    def loading(self) -> LoadOptions:
        """How the model is loaded, without its name."""
        return LoadOptions(**{name: getattr(self, name) for name in LoadOptions.names()})


@documented
@dataclass(frozen=True, kw_only=True)
class SegmenterOptions(Options):
    """A segmenter by name, loaded beside the model."""

    segmenter: str = option(
        "small",
        TEXT,
        "small, tiny, grabcut, vit_b, vit_l, vit_h, mobile, or hf: and a folder or repository.",
        MODEL,
    )
    segmenter_weights: str | None = option(
        None, WEIGHTS, "A checkpoint of the segmenter, or 'random'.", MODEL
    )


@documented
@dataclass(frozen=True, kw_only=True)
class ImageOptions(Options):
    """Size and resampling of the encoder's input, and the prompt templates."""

    size: Size | None = option(
        None,
        SIZE,
        "The encoder's input in pixels, rounded to whole patches: 512 for a square, 384x512 for height x "
        "width. Without it: the model's own short side at the image's aspect ratio (recognition: a square).",
        INPUT,
    )
    resize: str = option(
        "opencv", choice(RESIZES), "How an image is resized: opencv, pillow or bilinear.", INPUT
    )
    templates: Templates = option(
        "paper",
        TEMPLATES,
        "Prompts: paper (85), imagenet (80), plain, or texts with one {} each such as 'a photo of a {}'.",
        INPUT,
    )


@documented
@dataclass(frozen=True, kw_only=True)
class InputOptions(ImageOptions):
    """How an image goes through the encoder: whole, or in windows."""

    window: Size | None = option(
        None, SIZE, "Sliding windows of this size, 224 or 224x336, in pixels of the resized image.", INPUT
    )
    stride: Size | None = option(
        None, SIZE, "Distance between windows in pixels; without it they do not overlap.", INPUT
    )
    batch: int | None = option(
        None,
        integer(1, MAX_BATCH),
        "Images or windows of one size in one call of the encoder; without it a million pixels.",
        INPUT,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride is None:
            return
        if self.window is None:
            raise UsageError(f"stride needs a window with it, got stride {self.stride} and no window")
        if any(step > side for step, side in zip(pair(self.stride), pair(self.window), strict=True)):
            raise UsageError(
                f"expected 1 <= stride <= window, got stride {self.stride} and window {self.window}"
            )


@documented
@dataclass(frozen=True, kw_only=True)
class SegmentOptions(InputOptions):
    """How similarities become a label map (``Model.segment``, the segmentor of MMSegmentation)."""

    logit_scale: float = option(
        50.0, number(0, math.inf, above=True), "Factor of the cosines before the softmax over the texts."
    )
    background: Sequence[str] | None = option(
        None,
        BACKGROUND,
        "Words that become a class 'background' in front of the others: 'wall, floor'; auto: the stuff of "
        "COCO-Stuff that none of the names means.",
    )
    background_threshold: float | None = option(
        None,
        number(0, 1),
        "A probability below which a pixel goes to the class 'background', or to void without one, 0..1.",
    )
    area_threshold: float = option(
        0.0,
        number(0, 1),
        "Drop classes with at most this share of an image's foreground pixels (SCLIP's rule), 0..1; 0: none.",
    )
    synonyms: str = option(
        "probability",
        choice(SYNONYMS),
        "Where a class has several texts: the best 'probability' or the best 'cosine'.",
    )
    edges: str | None = option(
        None,
        choice(EDGES, none=True),
        "Boundaries follow the image's edges: guided (filter of He et al., 2013, on the cosines).",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for word in self.background or ():
            if isinstance(read_number("background", word), float):
                raise UsageError(
                    f"expected background as words, got {described(word)}: "
                    "a probability is background_threshold"
                )


@documented
@dataclass(frozen=True, kw_only=True)
class SimilarityOptions(InputOptions):
    """How a similarity map is made (``Model.similarity``)."""

    surgery: str = option(
        "empty",
        choice(SURGERIES),
        "What is taken away from the texts' features: none, empty, label_set or label_set_code.",
    )


@documented
@dataclass(frozen=True, kw_only=True)
class ExplainOptions(ImageOptions):
    """How an explanation is made (``ovseg.explain``)."""

    surgery: str | None = option(
        None,
        choice(SURGERIES),
        "Of explanations that are similarities, as for similarity maps. Without it: that of the method.",
    )


@documented
@dataclass(frozen=True, kw_only=True)
class RecognitionOptions(ImageOptions):
    """How one score for each name is made from the class token (``Model.recognize``)."""

    surgery: str | None = option(
        None,
        choice(SURGERIES),
        "As for similarity maps. Without it: label_set for similarities, none for a softmax.",
    )
    scores: str = option(
        "similarity",
        choice(SCORES),
        "Similarities, or their softmax over the names at the model's own scale, as CLIP classifies.",
    )

    @property
    def surgery_in_force(self) -> str:
        """``surgery``, or the default for the scores if it is None."""
        return self.surgery or ("label_set" if self.scores == "similarity" else "none")


# The fields of each class as keywords of a call (PEP 692): XChoices of XOptions; a test holds them equal.


class DeviceChoices(TypedDict, total=False):
    device: str
    offline: bool


class LoadChoices(DeviceChoices, total=False):
    precision: str
    cache: bool


class ImageChoices(TypedDict, total=False):
    size: Size | None
    resize: str
    templates: Templates


class InputChoices(ImageChoices, total=False):
    window: Size | None
    stride: Size | None
    batch: int | None


class SegmentChoices(InputChoices, total=False):
    logit_scale: float
    background: Sequence[str] | None
    background_threshold: float | None
    area_threshold: float
    synonyms: str
    edges: str | None


class SimilarityChoices(InputChoices, total=False):
    surgery: str


class ExplainChoices(ImageChoices, total=False):
    surgery: str | None


class RecognitionChoices(ImageChoices, total=False):
    surgery: str | None
    scores: str
