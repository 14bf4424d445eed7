"""Words that are asked for together: the segmenter is told where the others are."""

from __future__ import annotations

import numpy as np
import pytest

from ovseg.errors import UsageError
from ovseg.evaluation.data.scenes import make_scene
from ovseg.masks import TextToMask
from ovseg.metrics import mask_iou
from ovseg.segmenters.load import load_segmenter
from ovseg.segmenters.prompts import Prompt
from ovseg.segmenters.small import SmallSegmenter


@pytest.fixture(scope="module")
def small():
    return load_segmenter("small")


@pytest.fixture
def rivals(monkeypatch):
    """The rivals of every prompt that the segmenter decodes, None for those without."""
    seen = []
    decode = SmallSegmenter._decode_batch

    def recording(self, embedding, prompts):
        seen.extend(one.rival for one in prompts)
        return decode(self, embedding, prompts)

    monkeypatch.setattr(SmallSegmenter, "_decode_batch", recording)
    return seen


@pytest.fixture(scope="module")
def scene():
    return make_scene(502, things=2)


def test_each_word_has_the_others_as_rivals_and_a_word_alone_has_none(model, small, scene, things, rivals):
    names = things(scene)[:2]
    finder = TextToMask(model, small, presence_threshold=0)
    finder.predict_texts(scene.image, names)
    assert len(rivals) >= 2 and all(one is not None for one in rivals)
    rivals.clear()
    finder.predict_texts(scene.image, names[:1])
    finder.predict_texts(scene.image, [names[0], names[0], "+".join(names[:1])])
    assert rivals and all(one is None for one in rivals)


def test_without_keep_apart_each_word_is_answered_as_if_alone(model, small, scene, things, rivals):
    names = things(scene)[:2]
    finder = TextToMask(model, small, presence_threshold=0, keep_apart=False)
    for one, name in zip(finder.predict_texts(scene.image, names), names, strict=True):
        # Texts that are encoded in another batch differ in their last digits.
        assert mask_iou(one.union, finder.predict(scene.image, name).union) > 0.98
    assert rivals and all(one is None for one in rivals)


def test_a_word_that_is_not_there_is_no_rival(model, small, scene, things, rivals):
    finder = TextToMask(model, small)
    names = [*things(scene)[:1], "black hole"]
    here, absent = finder.predict_texts(scene.image, names)
    assert len(here) and not len(absent)
    assert rivals and all(one is None for one in rivals)


def test_segmenters_that_take_no_rival_are_given_none_and_say_so(model, segmenter, scene, things):
    names = things(scene)[:2]
    finder = TextToMask(model, segmenter, presence_threshold=0)
    assert all(len(one) for one in finder.predict_texts(scene.image, names))
    embedding = segmenter.encode(scene.image)
    with pytest.raises(UsageError, match="expected a prompt without a rival, tiny .* takes none"):
        segmenter.decode_many(embedding, [Prompt(points=[(5, 5)], rival=np.zeros((4, 4)))])
