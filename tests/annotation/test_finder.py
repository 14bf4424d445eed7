"""Pictures to regions: equal to TextToMask where they ask the same; each picture is encoded once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ovseg
from ovseg.annotation.classes import parse_classes, read_classes
from ovseg.annotation.finder import LabelFinder, MaskFinder
from ovseg.errors import UsageError
from ovseg.evaluation.data.scenes import NAMES
from ovseg.options import AnnotateOptions

PLAIN = AnnotateOptions(templates="plain")
ALWAYS = replace(PLAIN, presence_threshold=0.0, overlap=True)


@pytest.fixture(scope="module")
def segmenter():
    return ovseg.load_segmenter("tiny")


@pytest.fixture(scope="module")
def pictures():
    return [ovseg.make_scene(seed, (64, 96)).image for seed in (1, 5, 8)]


@pytest.mark.parametrize("rule", ["components", "paper"])
def test_masks_and_presence_are_those_of_text_to_mask(model, segmenter, pictures, rule):
    names = ["red circle", "stripes", "water"]  # "water" is an everyday word, and no rival of itself
    finder = MaskFinder(model, segmenter, read_classes(names), replace(ALWAYS, point_rule=rule))
    wanted = ovseg.TextToMask(model, segmenter, point_rule=rule, templates="plain", presence_threshold=0)
    compared = 0
    for picture, found in zip(pictures, finder.find(pictures), strict=True):
        answers = wanted.predict_texts(picture, names)
        assert [one.label for one in found.regions] == [one.text for one in answers for _ in one.masks]
        masks = [mask for one in answers for mask in one.masks]
        for one, mask in zip(found.regions, masks, strict=True):
            assert (one.mask.array() == mask).all()
            compared += 1
        for one in answers:
            assert found.presence.get(one.text, 0) == pytest.approx(one.presence[one.text], abs=0.0101)
    assert compared > 5


def test_each_picture_goes_once_through_each_encoder(model, segmenter, pictures, monkeypatch):
    clip, sam = [], []
    encode, embed = model.encode_image, segmenter._encode
    monkeypatch.setattr(model, "encode_image", lambda x, **k: clip.append(len(x)) or encode(x, **k))
    monkeypatch.setattr(segmenter, "_encode", lambda x: sam.append(1) or embed(x))
    finder = MaskFinder(model, segmenter, read_classes(list(NAMES)[:6]), ALWAYS)
    other = [ovseg.make_scene(seed, (64, 96)).image for seed in (11, 12, 13)]
    assert len(list(finder.find(other))) == 3
    assert clip == [3] and len(sam) == 3
    assert list(finder.find(pictures, [False, True, False]))[::2] == [None, None]


@pytest.mark.parametrize("by", ["score", "agreement"])
def test_only_masks_that_are_chosen_are_enlarged(model, segmenter, pictures, monkeypatch, by):
    """Where the segmenter's score decides, the other candidates are never enlarged; where the map, once."""
    enlarged, decoded = [], []
    enlarge, decode = segmenter._enlarge, segmenter._decode_many
    monkeypatch.setattr(segmenter, "_enlarge", lambda *a: enlarged.append((len(a[1]), a[2])) or enlarge(*a))
    monkeypatch.setattr(segmenter, "_decode_many", lambda e, p: decoded.append(len(p)) or decode(e, p))
    finder = MaskFinder(model, segmenter, read_classes(list(NAMES)[:6]), replace(ALWAYS, mask_choice=by))
    assert all(found.regions for found in finder.find(pictures))
    assert len(decoded) == len(pictures)  # one call of the decoder for all words
    several = [count for count, _ in enlarged if count > 1]
    assert several == ([] if by == "score" else [3] * sum(decoded))
    assert sum(size == (64, 96) for _, size in enlarged) <= 2 * sum(decoded) + len(several)


def test_objects_share_no_pixels_unless_told(model, segmenter, pictures):
    names = read_classes(list(NAMES)[:12])
    for overlap in (False, True):
        options = replace(PLAIN, presence_threshold=0.2, overlap=overlap)
        counts = [
            np.sum([one.mask.array().astype(int) for one in found.regions], axis=0)
            for found in MaskFinder(model, segmenter, names, options).find(pictures)
            if found.regions
        ]
        assert counts and (max(count.max() for count in counts) > 1) == overlap


def test_thresholds_of_classes_and_words_that_are_not_wanted(model, segmenter, pictures):
    def found(text):
        finder = MaskFinder(model, segmenter, parse_classes(text), PLAIN)
        return [{one.label for one in picture.regions} for picture in finder.find(pictures)]

    plain = found("stripes\ngravel")
    assert any(plain)
    assert not any("stripes" in labels for labels in found("stripes >= 1\ngravel"))
    few, many = (
        [
            picture.presence.get("stripes", 0)
            for picture in MaskFinder(model, segmenter, parse_classes(text), PLAIN).find(pictures)
        ]
        for text in ("stripes", "stripes\nnot: waves, bricks")
    )
    assert all(b <= a for a, b in zip(few, many, strict=True)) and any(
        b < a for a, b in zip(few, many, strict=True)
    )


def test_label_maps_are_those_of_segment(model, pictures):
    classes = parse_classes("red circle\nstripes: stripes, waves\nnot: gravel")
    options = replace(PLAIN, task="labels")
    seen = 0
    for picture, found in zip(pictures, LabelFinder(model, classes, options).find(pictures), strict=True):
        names = {"red circle": ["red circle"], "stripes": ["stripes", "waves"], "else": ["gravel"]}
        labels = model.segment(picture, names, templates="plain").array
        for one in found.regions:
            assert (one.mask.array() == (labels == ["red circle", "stripes"].index(one.label))).all()
            seen += 1
        assert found.presence is None
    assert seen >= 3


def test_the_rules_of_a_method_are_part_of_what_identifies_a_run(model, segmenter):
    classes = parse_classes("sky\ntree")

    def described(**changes):
        other = model.with_method(replace(model.method, **changes))
        return MaskFinder(other, segmenter, classes, PLAIN).describe()

    assert described() == MaskFinder(model, segmenter, classes, PLAIN).describe()
    for change in ({"resize": "bicubic_factor"}, {"whole": "cut"}):
        assert described(**change) != described()


def test_wrong_choices_are_refused(model, segmenter, pictures):
    with pytest.raises(UsageError, match="multiples of the patch"):
        MaskFinder(model, segmenter, read_classes("a, b"), AnnotateOptions(window=13))
    with pytest.raises(UsageError, match="unknown task"):
        AnnotateOptions(task="boxes")
