"""Every choice that decides a result: defined, given its default and checked here and nowhere else.

Python calls, the command line, MMSegmentation's configs and the records of results use the same objects.
An option class is frozen and checks itself when it is made, so an object that exists holds valid values.
This room imports no torch: the command line reads its defaults before any model is loaded.

    >>> SegmentOptions(size=512, background_threshold=0.1).describe()["size"]
    512
    >>> SegmentOptions.make(None, {"sise": 512})
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: unknown option 'sise': did you mean 'size'?
"""

from ovseg.options.annotation import (
    CVAT_FUNCTIONS,
    ENGINES,
    FORMATS,
    SHAPES,
    TASKS,
    AnnotateOptions,
    CvatOptions,
    FormatOptions,
    RunOptions,
    ServeOptions,
)
from ovseg.options.fields import Options, Plain, check_known
from ovseg.options.masks import MAP_THRESHOLDS, MASK_CHOICES, POINT_RULES, PROMPTS, RIVALS, MaskOptions
from ovseg.options.models import (
    MAX_BATCH,
    PRECISIONS,
    RESIZES,
    SURGERIES,
    SYNONYMS,
    DeviceOptions,
    ExplainOptions,
    ImageOptions,
    InputOptions,
    LoadOptions,
    ModelOptions,
    RecognitionOptions,
    SegmenterOptions,
    SegmentOptions,
    SimilarityOptions,
)

__all__ = [
    "CVAT_FUNCTIONS",
    "ENGINES",
    "FORMATS",
    "MAP_THRESHOLDS",
    "MASK_CHOICES",
    "MAX_BATCH",
    "POINT_RULES",
    "PRECISIONS",
    "PROMPTS",
    "RESIZES",
    "RIVALS",
    "SHAPES",
    "SURGERIES",
    "SYNONYMS",
    "TASKS",
    "AnnotateOptions",
    "CvatOptions",
    "DeviceOptions",
    "ExplainOptions",
    "FormatOptions",
    "ImageOptions",
    "InputOptions",
    "LoadOptions",
    "MaskOptions",
    "ModelOptions",
    "Options",
    "Plain",
    "RecognitionOptions",
    "RunOptions",
    "SegmentOptions",
    "SegmenterOptions",
    "ServeOptions",
    "SimilarityOptions",
    "check_known",
]
