"""Every choice is checked once: wrong types and values of every option, described and made from mappings."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest

import ovseg
from ovseg.errors import UsageError
from ovseg.options import (
    AnnotateOptions,
    ExplainOptions,
    FormatOptions,
    InputOptions,
    LoadOptions,
    MaskOptions,
    ModelOptions,
    RecognitionOptions,
    SegmentOptions,
    ServeOptions,
    SimilarityOptions,
)
from ovseg.options.checks import check_integer

CLASSES = [
    LoadOptions,
    InputOptions,
    SegmentOptions,
    SimilarityOptions,
    RecognitionOptions,
    ExplainOptions,
    ModelOptions,
    MaskOptions,
    AnnotateOptions,
    FormatOptions,
    ServeOptions,
]


class BadRepr:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


NONSENSE = [
    b"bytes", object(), {"a": 1}, np.zeros(3), np.array(5j), float("nan"), float("inf"), -1, "²", "", [None],
    10**5, BadRepr(),
]  # fmt: skip
MAY_BE = {  # what of NONSENSE an option takes as it is
    "device": [],
    "background": [],
}


@pytest.mark.parametrize("options", CLASSES, ids=lambda one: one.__name__)
def test_defaults_are_valid_and_described_as_json(options):
    described = json.loads(json.dumps(options().describe()))
    assert list(described) == [field.name for field in fields(options)]
    assert options.make(None, described) == options()


@pytest.mark.parametrize("options", CLASSES, ids=lambda one: one.__name__)
def test_nonsense_is_one_line_for_every_option(options):
    """No option takes nonsense silently or with another error than UsageError."""
    refused = 0
    for field in fields(options):
        for value in NONSENSE:
            try:
                options(**{field.name: value})
            except UsageError as error:
                assert "\n" not in str(error) and "expected" in str(error), (field.name, value, error)
                refused += 1
    assert refused >= len(fields(options)) * (len(NONSENSE) - 3)


@pytest.mark.parametrize(
    "options, values, message",
    [
        (SegmentOptions, {"logit_scale": 0}, "logit_scale above 0, got 0"),
        (SegmentOptions, {"logit_scale": float("nan")}, "logit_scale as a number above 0, got nan"),
        (SegmentOptions, {"logit_scale": "40"}, "as a number above 0, got '40'"),
        (
            SegmentOptions,
            {"background_threshold": True},
            "background_threshold as a number in 0..1, got True",
        ),
        (SegmentOptions, {"background_threshold": 1.5}, "background_threshold in 0..1, got 1.5"),
        (SegmentOptions, {"background_threshold": np.bool_(True)}, "background_threshold as a number"),
        (SegmentOptions, {"background": 0.1}, "background as words, got 0.1"),
        (SegmentOptions, {"background": "0.5"}, "got '0.5': a probability is background_threshold"),
        (SegmentOptions, {"background": ["sky", 5]}, "each word of background as a text, got 5"),
        (SegmentOptions, {"background": "sky,"}, "each word of background as a text, got ''"),
        (SegmentOptions, {"area_threshold": 2}, "area_threshold in 0..1, got 2"),
        (SegmentOptions, {"synonyms": "max"}, "unknown synonyms 'max': expected one of probability, cosine"),
        (InputOptions, {"size": 10**5}, r"size in 1..16384, got 100000"),
        (InputOptions, {"size": 512.0}, "size as an integer in 1..16384, got 512.0"),
        (InputOptions, {"size": True}, "size as an integer in 1..16384, got True"),
        (InputOptions, {"size": (1, 2, 3)}, r"size as an integer or \(height, width\), got \(1, 2, 3\)"),
        (InputOptions, {"stride": 8}, "stride needs a window with it"),
        (InputOptions, {"window": 8, "stride": (8, 9)}, "1 <= stride <= window"),
        (InputOptions, {"batch": 0}, "batch in 1..4096, got 0"),
        (InputOptions, {"resize": "nearest"}, "unknown resize 'nearest': expected one of opencv, pillow"),
        (SimilarityOptions, {"surgery": "full"}, "unknown surgery 'full': expected one of none, empty"),
        (LoadOptions, {"precision": "fp8"}, "unknown precision 'fp8'"),
        (LoadOptions, {"offline": 1}, "offline as True or False, got 1"),
        (
            MaskOptions,
            {"prompt_with": "mask"},
            "unknown prompt_with 'mask': expected one of points, map, box, None",
        ),
        (MaskOptions, {"clean": -0.1}, "clean in 0..1"),
        (MaskOptions, {"clean": np.float32("nan")}, r"clean as a number in 0..1, got (np\.float32\()?nan"),
        (MaskOptions, {"point_rule": "x" * 5000}, r"unknown point_rule 'x{56}\.\.\.: expected one of"),
        (MaskOptions, {"rivals": np.array("wall")}, r"rivals as words, got array\('wall'"),
        (MaskOptions, {"rivals": None}, "rivals as words, got None"),
    ],
)
def test_what_was_wanted_and_what_came(options, values, message):
    with pytest.raises(UsageError, match=message) as caught:
        options(**values)
    assert caught.value.exit_code == 2


def test_numpy_scalars_lists_and_paths_are_taken():
    made = SegmentOptions(
        size=[np.int64(64), 96],
        logit_scale=np.float32(40),
        background_threshold=np.float64(0.1),
        templates=["a {}"],
    )
    assert made.size == (64, 96) and type(made.size[0]) is int
    assert (made.logit_scale, made.background_threshold, made.templates) == (40.0, 0.1, ("a {}",))
    assert type(made.logit_scale) is float
    assert check_integer("top", np.uint8(3), 1, 9) == 3
    assert MaskOptions(rivals=[]).rivals == ()


def test_options_cannot_be_changed_and_unknown_ones_are_told():
    with pytest.raises(AttributeError):
        SegmentOptions().size = 5  # type: ignore[misc]
    with pytest.raises(UsageError, match="unknown option 'logit_scal': did you mean 'logit_scale'"):
        SegmentOptions.make(None, {"logit_scal": 5})


@pytest.mark.parametrize(
    "options, choices",
    [
        (one, getattr(module, one.__name__.replace("Options", "Choices")))
        for module in (ovseg.options.models, ovseg.options.annotation)
        for one in vars(module).values()
        if hasattr(one, "describe") and hasattr(module, one.__name__.replace("Options", "Choices"))
    ],
    ids=lambda one: one.__name__,
)
def test_keywords_are_the_fields(options, choices):
    """The dictionary that types the keywords of a call has the names and types of the class."""
    own = {one.name: one.type for one in fields(options)}
    assert own and {name: hint.__forward_arg__ for name, hint in choices.__annotations__.items()} == own


def test_options_and_keywords_give_the_same_and_keywords_win(model):
    picture, names = ovseg.make_scene(3, 64).image, ["red circle", "stripes"]
    asked = SegmentOptions(size=96, synonyms="cosine", background_threshold=0.3, templates="plain")
    labels = model.segment(picture, names, options=asked)
    assert labels == model.segment(picture, names, **{name: getattr(asked, name) for name in asked.names()})
    assert labels != model.segment(picture, names, options=asked, size=48)
    with pytest.raises(UsageError, match="expected options as SegmentOptions, got MaskOptions"):
        model.segment(picture, names, options=MaskOptions())
    with pytest.raises(UsageError, match="unknown option 'sise': did you mean 'size'"):
        model.segment(picture, names, sise=5)


def test_help_lines_are_in_the_docstring():
    for one in CLASSES:
        for name in one.names():
            assert f"    {name}: " in one.__doc__
