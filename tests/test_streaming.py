"""Many images: read as they are needed, results in order, one bad image loses nothing."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import ovseg
from ovseg.errors import ImageError, UsageError

NAMES = ["bricks", "waves", "gravel"]
CALLS = {
    "similarity": lambda model, images, **more: model.similarity_each(images, NAMES, **more),
    "segment": lambda model, images, **more: model.segment_each(images, NAMES, **more),
    "recognize": lambda model, images, **more: model.recognize_each(images, NAMES, **more),
}


@pytest.fixture(params=CALLS, ids=str)
def call(request):
    return CALLS[request.param]


def scenes(count, size=(48, 64)):
    return [ovseg.make_scene(seed, size).image for seed in range(count)]


def test_lists_tuples_and_generators_are_many(model, call):
    images = scenes(3)
    for many in (images, tuple(images), iter(images), (image for image in images)):
        assert len(list(call(model, many))) == 3
    assert len(list(call(model, []))) == 0


def test_a_verb_for_one_picture_takes_one(model):
    for verb in (model.similarity, model.segment, model.recognize, model.dense_features):
        names = () if verb == model.dense_features else (NAMES,)
        with pytest.raises(UsageError, match="expected a picture .*, got list"):
            verb(scenes(2), *names)
        with pytest.raises(UsageError, match="unknown option 'on_error'"):
            verb(scenes(1)[0], *names, on_error=print)


def test_pictures_are_read_when_they_are_needed_and_forgotten_afterwards(model, call):
    """Only a few pictures are held at a time, whatever their number."""
    alive: list[weakref.ref] = []
    most = 0

    def pictures():
        nonlocal most
        for seed in range(60):
            image = np.full((40, 40 + 8 * (seed % 3), 3), seed, np.uint8)
            alive.append(weakref.ref(image))
            most = max(most, sum(one() is not None for one in alive))
            yield image

    results = call(model, pictures(), **({} if call is CALLS["recognize"] else {"batch": 4}))
    assert sum(1 for _ in results) == 60
    assert most < 20


def test_what_is_wrong_with_the_call_is_said_before_the_first_picture(model):
    def never():
        raise AssertionError("no picture was to be read")
        yield

    for wrong in ({"window": 12}, {"logit_scale": 0}, {"background": 2}, {"resize": "x"}):
        with pytest.raises(UsageError):
            model.segment_each(never(), NAMES, **wrong)


def test_a_bad_picture_raises_after_the_results_before_it(model, call, tmp_path):
    images = [*scenes(3), tmp_path / "missing.jpg", *scenes(1)]
    results, found = call(model, images), []
    with pytest.raises(ImageError, match=r"missing\.jpg does not exist"):
        for result in results:
            found.append(result)
    assert len(found) == 3


def test_with_on_error_a_bad_picture_is_told_and_left_out(model, call, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    images = [scenes(1)[0], tmp_path / "text.png", None, scenes(2)[1]]
    told = []
    found = list(call(model, images, on_error=lambda index, error: told.append((index, str(error)))))
    assert len(found) == 2 and [index for index, _ in told] == [1, 2]
    assert "expected" in told[0][1] and "expected" in told[1][1]


def test_results_are_those_of_single_calls_whatever_the_sizes(model, call):
    sizes = [(64, 64), (48, 96), (64, 64), (96, 40)]
    images = [ovseg.make_scene(seed, size).image for seed, size in enumerate(sizes)]
    for image, found in zip(images, call(model, images), strict=True):
        (alone,) = call(model, [image])
        if isinstance(found, ovseg.LabelMap):
            assert (found.array == alone.array).mean() > 0.999
        else:
            np.testing.assert_allclose(np.asarray(found), np.asarray(alone), atol=1e-3)
