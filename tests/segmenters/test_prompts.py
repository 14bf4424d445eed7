"""Prompts as callers give them: any kind of sequence of numbers, or one line that says what was expected."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovseg.errors import UsageError
from ovseg.segmenters.grabcut import GrabCut
from ovseg.segmenters.prompts import Prompt, check_prompt

SIZE = (40, 60)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


class BadRepr:
    """An object that even fails to describe itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def one_line(call) -> None:
    with pytest.raises(UsageError, match="expected") as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("prompt", [
    {"points": "3, 3"}, {"points": 5}, {"points": [["a", "b"]]}, {"points": [(3, 3, 3)]},
    {"points": [[1, 2], [3]]}, {"points": np.full((1, 2), np.nan)}, {"points": [(True, False)]},
    {"points": [(3, 3)], "labels": "1"}, {"points": [(3, 3)], "labels": [0.5]},
    {"points": [(3, 3)], "labels": 1}, {"points": [(3, 3)], "labels": [[1]]},
    {"points": BadRepr()}, {"points": torch.zeros(2, 3)}, {"points": [(3j, 1)]}, {"points": [(60, 3)]},
    {"box": "1234"}, {"box": [[1, 1, 9, 9]]}, {"box": (9, 9, 1, 1)}, {"box": (1, 1, np.nan, 9)}, {"box": 5},
    {"box": torch.zeros(3)}, {"mask": "x"}, {"mask": np.full((4, 4), np.nan)}, {"mask": np.zeros((1, 4, 4))},
    {"mask": np.zeros((0, 4))}, {}, {"points": [(3, 3)], "labels": [0]},
], ids=lambda prompt: " ".join(prompt))  # fmt: skip
def test_wrong_prompts(prompt):
    one_line(lambda: check_prompt(SIZE, Prompt(**prompt)))


def test_wrong_arguments_of_a_segmenter():
    segmenter = GrabCut()
    embedding = segmenter.encode(IMAGE)
    for wrong in (None, 5, "x", IMAGE):
        one_line(lambda: segmenter.decode(wrong, [(3, 3)]))
    for wrong in (None, 5, "x", [None], [{"points": [(1, 1)]}], np.array(5), torch.tensor(5), BadRepr()):
        one_line(lambda: segmenter.decode_many(embedding, wrong))
    one_line(lambda: segmenter.decode_many(embedding, [Prompt([(3, 3)]), Prompt(box=5)]))
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
    found = check_prompt(SIZE, Prompt(points, labels))
    assert found.points.tolist() == [[20, 10], [5, 5]] and found.labels.tolist() == [1, 0]
    assert (found.points.dtype, found.labels.dtype) == (np.float32, np.uint8)
