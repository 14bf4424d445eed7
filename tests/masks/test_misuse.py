"""Every public argument of the masks' room with every wrong type: one line that says what was wanted."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from ovseg.errors import UsageError
from ovseg.evaluation.data.scenes import make_scene
from ovseg.masks import TextToMask
from ovseg.segmenters.grabcut import GrabCut
from ovseg.segmenters.prompts import Prompt

IMAGE = make_scene(1, (40, 60)).image
NOTHINGS = [None, 5, 2.5, float("nan"), b"sky", object(), {"sky": 1}, True]


class BadRepr:
    """An object that even fails to describe itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def told(value) -> str:
    """The name of a case, without an address or the order of a set, which differ from process to process."""
    text = str(sorted(value)) if isinstance(value, set) else repr(value)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)[:30]


def one_line(call) -> str:
    with pytest.raises(UsageError, match="expected|unknown|needs") as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *(value for value in NOTHINGS if not isinstance(value, dict)),
        np.zeros(3), np.array("sky"), torch.zeros(2), [], (), "", "  ", ",", "sky,", "sky,,cow",
        "+", "a+a", "a++b",
        [None], [b"sky"], ["sky", 5], [["sky"]], {"sky", "cow"}, "word " * 100, ["\ud800"],
    ],
    ids=told,
)  # fmt: skip
def test_texts(t2m, text):
    one_line(lambda: t2m.predict_texts(IMAGE, text))
    one_line(lambda: t2m.ask(text))
    if text is not None:
        session = t2m.session(IMAGE)
        before = session.result
        one_line(lambda: session.text(text))
        assert session.result is before


@pytest.mark.parametrize(
    "image",
    [
        None, 5, 2.5, object(), {"a": 1},
        np.zeros((4, 4, 7), np.uint8), np.zeros((0, 5, 3), np.uint8), np.zeros(3),
    ],
    ids=lambda value: f"{type(value).__name__} {told(getattr(value, 'shape', value))}",
)  # fmt: skip
def test_images(t2m, image):
    one_line(lambda: t2m.predict(image, "sky"))
    one_line(lambda: t2m.session(image))
    one_line(lambda: GrabCut().encode(image))
    stream = t2m.predict_each([image], "sky")
    one_line(lambda: next(stream))


OPTIONS = {
    "point_rule": [None, 5, b"paper", "best", ["paper"], np.zeros(2)],
    "map_threshold": ["0.5", -0.1, 1.1, float("nan"), float("inf"), True, [0.5], np.zeros(2)],
    "halve_grid": [None, 1, "yes", np.zeros(2)],
    "prompt_with": [5, "x", b"map", ["map"]],
    "mask_choice": [5, "x", b"score", ["score"]],
    "refine": [None, 1, "yes"],
    "clean": [None, "0.1", -1, 2, float("nan"), True],
    "presence_threshold": [None, "0.5", -1, 2, float("nan"), np.zeros(2), True],
    "rivals": [None, 5, b"sky", [5], [""], [None], {"sky": 1}],
    "size": ["512", 0, -1, 2.5, (1, 2, 3), (1,), (0, 5), 10**6, True, np.zeros(2)],
    "window": ["64", 0, 7, (64, 7), 2.5],
    "stride": ["64", 0, 8],
    "batch": ["2", 0, -1, 2.5, True],
    "resize": [None, 5, "cubic"],
    "templates": [5, b"paper", [], [5]],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in OPTIONS.items() for value in values],
    ids=told,
)
def test_options(model, name, value):
    segmenter = GrabCut()
    one_line(lambda: TextToMask(model, segmenter, **{name: value}).predict(IMAGE, "sky"))


@pytest.mark.parametrize(
    "value", [None, 5, "tiny", object(), BadRepr()], ids=lambda value: type(value).__name__
)
def test_models_and_segmenters(model, value):
    one_line(lambda: TextToMask(value, GrabCut()))
    if value is not None:
        one_line(lambda: TextToMask(model, value))


@pytest.mark.parametrize(
    "value", ["3", b"3", None, float("nan"), float("inf"), -1, 60, [3], np.zeros(2), 3j, object(), BadRepr()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_clicks_and_boxes_of_a_session(t2m, value):
    session = t2m.session(IMAGE)
    before = session.result
    one_line(lambda: session.click(value, 3))
    one_line(
        lambda: (
            session.click(3, 40 if value == 60 else value)
            if not isinstance(value, np.ndarray)
            else session.click(3, value)
        )
    )
    one_line(lambda: session.click(3, 3, value))
    one_line(lambda: session.remove_click(value))
    if not isinstance(value, (int, float)) or value != value:
        one_line(lambda: session.box(1, 1, value, 30))
    assert session.result is before


@pytest.mark.parametrize("prompt", [
    {"points": "3, 3"}, {"points": 5}, {"points": [["a", "b"]]}, {"points": [(3, 3, 3)]},
    {"points": [[1, 2], [3]]},
    {"points": np.full((1, 2), np.nan)}, {"points": [(3, 3)], "labels": "1"}, {"points": [(3, 3)],
    "labels": [0.5]},
    {"points": [(3, 3)], "labels": 1}, {"points": [(3, 3)], "labels": [[1]]}, {"points": [(True, False)]},
    {"box": "1234"}, {"box": [[1, 1, 9, 9]]}, {"box": (9, 9, 1, 1)}, {"box": (1, 1, np.nan, 9)}, {"box": 5},
    {"mask": "x"}, {"mask": np.full((4, 4), np.nan)}, {"mask": np.zeros((1, 4, 4))},
    {"mask": np.zeros((0, 4))},
    {"points": BadRepr()}, {"box": torch.zeros(3)}, {"points": torch.zeros(2, 3)}, {"points": [(3j, 1)]},
], ids=lambda prompt: next(iter(prompt)))  # fmt: skip
def test_prompts_of_a_segmenter(prompt):
    segmenter = GrabCut()
    embedding = segmenter.encode(IMAGE)
    one_line(lambda: segmenter.decode(embedding, **prompt))
    one_line(lambda: segmenter.decode_many(embedding, [Prompt([(3, 3)]), Prompt(**prompt)]))


def test_other_arguments_of_a_segmenter():
    segmenter = GrabCut()
    embedding = segmenter.encode(IMAGE)
    for wrong in (None, 5, "x", IMAGE):
        one_line(lambda: segmenter.decode(wrong, [(3, 3)]))
    for wrong in (None, 5, "x", [None], [{"points": [(1, 1)]}], np.array(5), torch.tensor(5), BadRepr()):
        one_line(lambda: segmenter.decode_many(embedding, wrong))
    for wrong in ("x", 5, None, [[1, 2, 3]], [[1, 1, 9, 9], [9, 9, 1, 1]], [(1, 1, 9, 9, 9)], (1, 1, 9, 9)):
        one_line(lambda: segmenter.segment_boxes(embedding, wrong))
    for wrong in (None, 5, [[1.0]], np.zeros(4), np.zeros((0, 4)), np.zeros((2, 2), "U1"), np.array(5)):
        one_line(lambda: segmenter.prior(embedding, wrong))
    one_line(lambda: segmenter.prior(IMAGE, np.zeros((4, 4), np.float32)))
    for wrong in (None, "5", 0, 2.5, True, 10**6):
        one_line(lambda: GrabCut(wrong))


@pytest.mark.parametrize(
    "points",
    [
        [(20, 10), (5, 5)],
        ((20, 10), (5, 5)),
        np.array([[20, 10], [5, 5]], np.int8),
        torch.tensor([[20, 10], [5, 5]]),
        torch.tensor([[20.0, 10.0], [5.0, 5.0]], dtype=torch.bfloat16, requires_grad=True),
        [np.array([20, 10]), (np.int64(5), np.float32(5))],
    ],
)
@pytest.mark.parametrize(
    "labels", [[1, 0], (True, False), np.array([1.0, 0.0]), torch.tensor([1, 0]), torch.tensor([True, False])]
)
def test_points_and_labels_may_be_lists_arrays_and_tensors(points, labels):
    segmenter = GrabCut()
    embedding = segmenter.encode(IMAGE)
    wanted = segmenter.decode(embedding, [(20, 10), (5, 5)], [1, 0])
    assert (segmenter.decode(embedding, points, labels).masks == wanted.masks).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (1000, 1), (2, 3), (40, 60)])
def test_the_last_pixel_and_flat_images(t2m, shape):
    """A point just inside the edge, which float32 would round over it, and an image of one colour."""
    image = np.full((*shape, 3), 90, np.uint8)
    session = t2m.session(image)
    found = session.click(np.nextafter(shape[1], 0), np.nextafter(shape[0], 0))
    assert found.masks.shape[1:] == shape and (len(found) or found.reason)
    assert all((points.xy < [shape[1], shape[0]]).all() for points in found.points)
    assert t2m.predict(image, "sky").masks.shape[1:] == shape
