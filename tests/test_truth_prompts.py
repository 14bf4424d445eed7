"""tools/truth_prompts.py: clicks where a person would click, and figures against a way of their own to them."""

from __future__ import annotations

import numpy as np
import pytest

from ovseg.evaluation.data.scenes import make_scene
from ovseg.segmenters.base import MaskSet


@pytest.fixture(scope="module")
def tool(import_tool):
    return import_tool("truth_prompts")


@pytest.fixture(scope="module")
def region(tool):
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    return tool.Region(make_scene(0, (40, 60)).image, mask, np.ones((40, 60), bool))


def test_clicks_are_inside_and_beside_the_first_in_the_middle(tool, region):
    on, off = tool.clicks(region.mask, 3), tool.beside(region, 3)
    assert len(on) == len(off) == 3 and 15 <= on[0][1] <= 25 and 25 <= on[0][0] <= 45
    assert all(region.mask[int(y), int(x)] for x, y in on)
    assert not any(region.mask[int(y), int(x)] for x, y in off)
    assert tool.bounds(region.mask) == (20, 10, 50, 30)


class Known:
    """A segmenter that gives the truth after a number of clicks, and before that its left half."""

    def __init__(self, truth, needed):
        self.truth, self.needed, self.seen = truth, needed, []

    def encode(self, image):
        return image

    def decode(self, embedding, points, labels, mask):
        self.seen.append(list(labels))
        half = self.truth & (np.arange(self.truth.shape[1]) < 35)
        found = np.where(self.truth if len(points) >= self.needed else half, 5.0, -5.0)
        return MaskSet(
            found[None].astype(np.float32), np.ones(1, np.float32), found.shape, lambda m, _: m > 0
        )


def test_clicks_are_counted_and_put_on_what_is_wrong(tool, region):
    for needed in (1, 4):
        segmenter = Known(region.mask, needed)
        assert tool.clicks_to_goal(segmenter, region) == needed
        assert segmenter.seen[-1] == [1] * needed  # what is missing belongs to the object
    assert tool.clicks_to_goal(Known(region.mask, 99), region) == tool.MOST


def test_summary_by_hand(tool):
    rows = [tool.Answered(0.8, 0.75, 0.9), tool.Answered(0.6, 0.72, 0.6), tool.Answered(0.0, 0.0, 0.0)]
    found = tool.summary(rows)
    assert found["number"] == 3 and found["IoU"] == pytest.approx(100 * 1.4 / 3)
    assert found["at least .5"] == pytest.approx(200 / 3) and found["at least .75"] == pytest.approx(100 / 3)
    assert found["best candidate"] == pytest.approx(50) and found["score"] == pytest.approx(73.5)
    # Both scores lie in one tenth: the mean of the score is .735, that of the IoU .70; what got none does not count.
    assert found["calibration error"] == pytest.approx(3.5) and found["correlation"] == pytest.approx(100)
