"""The Python interface against wrong arguments: each is an error of ovseg in one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ovseg
from ovseg.errors import OvsegError, UsageError

IMAGE = np.full((32, 48, 3), 90, np.uint8)
NOTHING_OF_THE_KIND = [
    None,
    5,
    b"bytes",
    object(),
    float("nan"),
    np.zeros(2),
    [],
    {},
    "",
    " ",
    [None],
    [5],
    [["a"]],
]
WRONG_IMAGES = [
    None,
    5,
    object(),
    np.zeros((4, 4, 5), np.uint8),
    np.zeros((0, 5, 3), np.uint8),
    np.zeros((4, 4, 3), "U1"),
    np.full((4, 4, 3), np.nan),
    np.zeros(3),
    "nowhere.jpg",
    "https://example.org/a.jpg",
    b"no picture",
    torch.zeros(2, 2, 2, 2),
    torch.zeros(3, 4, 4, device="meta"),
]


def refused(call):
    with pytest.raises(OvsegError) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return caught.value


@pytest.mark.parametrize("method", ["similarity", "segment", "recognize"])
def test_names_of_every_wrong_type(model, method):
    for names in NOTHING_OF_THE_KIND:
        error = refused(lambda names=names: getattr(model, method)(IMAGE, names))
        assert error.exit_code == 2


@pytest.mark.parametrize("method", ["similarity", "segment", "recognize"])
def test_images_of_every_wrong_type(model, method):
    for image in WRONG_IMAGES:
        refused(lambda image=image: getattr(model, method)(image, "sky, tree"))


@pytest.mark.parametrize("method", ["similarity", "segment", "recognize"])
def test_wrong_options_reach_the_caller(model, method):
    """tests/test_options.py has the wrong values of every option."""
    call, each = getattr(model, method), getattr(model, f"{method}_each")
    assert "size in 1..16384, got 0" in str(refused(lambda: call(IMAGE, "sky, tree", size=0)))
    assert "unknown option 'sise'" in str(refused(lambda: call(IMAGE, "sky, tree", sise=32)))
    for wrong in (5, "skip"):
        refused(lambda wrong=wrong: each([IMAGE], "sky, tree", on_error=wrong))


def test_probabilities_of_a_wrong_type(model):
    for wrong in ("yes", 1, None):
        refused(lambda wrong=wrong: model.segment(IMAGE, "sky, tree", probabilities=wrong))


@pytest.mark.parametrize(
    "values",
    [
        {"name": "nothing"},
        {"name": ""},
        {"name": None},
        {"name": 5},
        {"device": "mps"},
        {"device": "meta"},
        {"device": "xpu"},
        {"name": "ViT-B-16"},
        {"weights": "openai"},
        {"weights": 5},
        {"weights": b"x"},
        {"method": "surgery"},
        {"method": None},
        {"method": []},
        {"device": "cuda:99"},
        {"device": "tpu"},
        {"device": None},
        {"device": 5},
        {"precision": "fp16"},
        {"precision": "fp8"},
        {"precision": None},
        {"cache": None},
        {"offline": "yes"},
    ],
    ids=str,
)
def test_loading_with_wrong_values(values):
    refused(lambda: ovseg.load_model(**values))


def test_encoders_with_wrong_values(model):
    for pixels in (
        torch.zeros(1, 3, 7, 8),
        torch.zeros(3, 8, 8),
        torch.zeros(1, 4, 8, 8),
        torch.zeros(1, 3, 0, 8),
    ):
        refused(lambda pixels=pixels: model.encode_image(pixels))
    for wrong in (None, 5, IMAGE, [torch.zeros(1, 3, 8, 8)]):
        assert "expected pixels (B, 3, H, W) as a tensor, got" in str(
            refused(lambda: model.encode_image(wrong))
        )
    for wrong in ([], None, 5, "a", np.array(5), np.zeros((0, 8, 8, 3), np.uint8), iter([IMAGE])):
        assert "expected a list of at least one" in str(refused(lambda: model.preprocess(wrong, (8, 8))))
    for wrong in (None, 5, (0, 5), (5,), (1, 2, 3), "ab", (5, None), (5, 2.5)):
        refused(lambda: model.input_size(wrong))
    for wrong in (0, (8, 0), "8", (8, 8, 8)):
        refused(lambda: model.input_size((20, 30), wrong))
    for wrong in (0, {}, "size", 5, np.zeros(2)):
        assert "expected options as InputOptions" in str(
            refused(lambda: model.dense_features(IMAGE, options=wrong))
        )
    for wrong in (None, 5, [], "n" * 5000, np.array("clip")):
        assert "unknown method" in str(refused(lambda: model.with_method(wrong)))
    for names in ([], [None], None, 5, ["a " * 200], [b"a"]):
        refused(lambda names=names: model.encode_text(names))


def test_what_is_unambiguous_is_taken(model):
    """NumPy scalars, lists for tuples, grey pictures, tensors: no surprise, the same labels."""
    wanted = model.segment(IMAGE, "sky, tree", size=(32, 48), logit_scale=40).array
    for image in (IMAGE.tolist() and IMAGE, IMAGE[..., 0], torch.from_numpy(IMAGE), IMAGE.transpose(2, 0, 1)):
        found = model.segment(image, ["sky", "tree"], size=[np.int64(32), 48], logit_scale=np.float32(40))
        assert np.array_equal(found.array, wanted)
    assert model.segment(IMAGE, {"sky": "sky, clouds", "tree": ["tree"]}).names == ("sky", "tree")


def test_unknown_names_of_results_are_key_errors_with_the_names(model):
    found = model.segment(IMAGE, "sky, tree")
    with pytest.raises(KeyError) as caught:
        found["grass"]
    assert str(caught.value) == "expected one of 'sky', 'tree', got 'grass'" and isinstance(
        caught.value, UsageError
    )
