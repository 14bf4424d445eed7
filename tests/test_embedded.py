"""The paper's effects on the embedded model, on scenes that training never drew."""

from __future__ import annotations

import pytest

from ovseg.evaluation.data.scenes import NAMES


@pytest.fixture(scope="module")
def scores(model, import_tool):
    """{method: scores in percent} over 40 scenes."""
    tool = import_tool("measure_embedded")
    samples = list(tool.scenes(40))
    assert len(samples) == 40
    methods = ("clip", "maskclip", "clip_surgery")
    return {m: tool.measure(model.with_method(m), list(NAMES), samples, 128) for m in methods}


def test_contrast_rises_with_architecture_surgery(scores):
    """Table 3's order in mSC, and the original map upside down: negative."""
    original, maskclip, surgery = (scores[m]["mSC"] for m in ("clip", "maskclip", "clip_surgery"))
    assert original < 0 < maskclip < surgery
    assert surgery > 50


def test_feature_surgery_takes_out_what_the_texts_share(scores):
    """It raises the contrast of MaskCLIP's maps here; of CLIP Surgery's on photographs (docs/results.md)."""
    assert scores["maskclip"]["mSC"] + 5 < scores["maskclip"]["mSC, own"]


def test_segmentation_improves_from_method_to_method(scores):
    """Table 5's order in mIoU: original, MaskCLIP, CLIP Surgery."""
    original, maskclip, surgery = (scores[m]["mIoU"] for m in ("clip", "maskclip", "clip_surgery"))
    assert original < maskclip < surgery
    assert surgery > 15  # 42 names; chance is about 2
