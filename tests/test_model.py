"""The object a user holds: shapes, batches, sizes, degenerate pictures, misuse."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

import ovseg
from ovseg.errors import ImageError, UsageError
from ovseg.evaluation.data.scenes import make_scene
from ovseg.options import SegmentOptions


@pytest.fixture(scope="module")
def scene():
    return make_scene(7, (96, 128))


@pytest.mark.parametrize("surgery", ["none", "empty", "label_set", "label_set_code"])
def test_maps_are_at_the_images_size(model, scene, surgery):
    found = model.similarity(scene.image, ["bricks", "red circle", "waves"], surgery=surgery)
    assert found.array.shape == (3, 96, 128) and found.array.dtype == np.float32
    assert found.grid.shape[0] == 3 and found.names == ("bricks", "red circle", "waves")
    assert found.array.min() == 0 and found.array.max() == 1
    assert np.array_equal(found["waves"], np.asarray(found)[2])


def test_surgery_is_the_closed_form_on_the_encoders_tokens(model, scene, reference):
    pixels = model.preprocess([scene.image], (64, 96))
    names = ["bricks", "red circle", "waves"]
    text, empty = model.encode_text(names), model.encode_text([""])
    tokens = model.encode_image(pixels)
    patches = torch.nn.functional.normalize(tokens.patches[0], dim=-1)
    token = torch.nn.functional.normalize(tokens.class_token[0], dim=-1)
    for surgery, wanted in (
        ("empty", reference.single(patches, text, empty[0])),
        ("label_set", reference.label_set(patches, text, token)),
        ("label_set_code", reference.label_set(patches, text, token, form="code")),
    ):
        got = model.similarity(scene.image, names, surgery=surgery, size=(64, 96)).grid
        np.testing.assert_allclose(got.reshape(3, -1).T, wanted.numpy(), atol=1e-5)


def test_every_source_gives_the_same(model, scene, tmp_path):
    Image.fromarray(scene.image).save(tmp_path / "a.png")
    wanted = model.segment(scene.image, "bricks, waves").array
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(scene.image)):
        assert np.array_equal(model.segment(source, "bricks, waves").array, wanted)


def test_a_list_is_its_images_whatever_their_sizes(model):
    images = [make_scene(s, size).image for s, size in enumerate([(64, 64), (48, 96), (64, 64), (96, 40)])]
    names = ["bricks", "waves", "gravel"]
    together = list(model.segment_each(images, names))
    assert [t.array.shape for t in together] == [i.shape[:2] for i in images]
    for image, found in zip(images, together):
        assert (model.segment(image, names).array == found.array).mean() > 0.999
    assert list(model.segment_each([], names)) == []


def test_one_size_is_one_encoder_call(model, monkeypatch):
    calls = []
    encode = ovseg.model.frozen.encode_image
    monkeypatch.setattr(
        "ovseg.model.frozen.encode_image",
        lambda v, x, *a, **o: calls.append(x.shape) or encode(v, x, *a, **o),
    )
    list(model.similarity_each([make_scene(s, (64, 64)).image for s in range(3)], ["bricks"]))
    assert len(calls) == 1 and calls[0][0] == 3


def test_segment_never_uses_feature_surgery(model, scene):
    """argmax of the labels is argmax of the plain cosines."""
    names = ["bricks", "waves", "red circle"]
    raw = torch.from_numpy(model.similarity(scene.image, names, surgery="none", size=96).grid.copy())[None]
    wanted = torch.nn.functional.interpolate(raw, size=(96, 128), mode="bilinear").argmax(dim=1)[0]
    assert (model.segment(scene.image, names, size=96).array == wanted.numpy()).mean() > 0.999


def test_a_large_picture_is_labelled_in_bands(model, monkeypatch):
    image = make_scene(5, (150, 200)).image
    names = ["bricks", "waves", "gravel", "stripes"]
    whole = model.segment(image, names).array
    monkeypatch.setattr("ovseg.maps.scores.BAND_VALUES", 200 * 4 * 7)  # seven rows at a time
    assert (model.segment(image, names).array == whole).mean() > 0.9995


def test_windows_go_through_in_one_batch_and_match_crops(model):
    image = make_scene(3, (64, 128)).image
    names = ["bricks", "waves"]
    whole = model.similarity(image, names, surgery="none", size=(64, 128), window=64).grid
    for left in (0, 64):
        crop = np.ascontiguousarray(image[:, left : left + 64])
        part = model.similarity(crop, names, surgery="none", size=64).grid
        step = 64 // part.shape[2]
        got = whole[..., left // step : left // step + part.shape[2]]
        np.testing.assert_allclose(got, part, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 5), (2, 1000)], ids=str)
def test_odd_pictures(model, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    found = model.segment(image, ["bricks", "waves"])
    assert found.array.shape == shape and set(np.unique(found.array)) <= {0, 1}
    maps = model.similarity(image, ["bricks"])
    assert maps.array.shape == (1, *shape) and np.isfinite(maps.array).all()


def test_background_in_all_its_forms(model, scene):
    names = ["red circle", "blue star"]
    none = model.segment(scene.image, names)
    assert none.void not in none.array
    assert (model.segment(scene.image, names, background_threshold=1.0, logit_scale=1.0).array == 255).all()
    words = model.segment(scene.image, names, background=["bricks", "waves", "gravel", "stripes"])
    assert words.names == ("background", *names) and (words.array == 0).mean() > 0.2
    vocabulary = ovseg.Vocabulary(("background", "bricks"), (("waves", "gravel"), ("bricks",)))
    assert (
        model.segment(scene.image, vocabulary, background_threshold=1.0, logit_scale=1.0).array == 0
    ).all()


def test_background_words_by_themselves(model, scene):
    names = ["red circle", "blue star", "background"]
    options = SegmentOptions(background="auto", templates="plain")
    found = model.segment(scene.image, names, options=options)
    words = model.vocabulary(names, options).texts[2]
    assert len(words) > 50 and found.names == tuple(names) and (found.array == 2).any()
    by_hand = dict(zip(names, [*names[:2], words]))
    np.testing.assert_array_equal(found.array, model.segment(scene.image, by_hand, templates="plain").array)


def test_recognition_scores_and_their_form(model, scene):
    names = ["bricks", "waves", "red circle"]
    scores = model.recognize(scene.image, names)
    assert scores.scores.shape == (3,) and scores.scores.dtype == np.float32
    cosines = model.recognize(scene.image, names, surgery="none")
    assert [name for name, _ in scores.best()] == [name for name, _ in cosines.best()]
    both = list(model.recognize_each([scene.image, scene.image[:, ::-1].copy()], names))
    np.testing.assert_allclose(both[0].scores, scores.scores, atol=1e-5)


def test_models_are_never_changed_by_use(model, scene):
    before = {k: v.clone() for k, v in model.clip.state_dict().items()}
    first = model.similarity(scene.image, ["bricks"], size=64).array
    model.segment(scene.image, ["bricks", "waves"], size=160, window=96, stride=32)
    model.with_method("gem").similarity(scene.image, ["bricks"], size=96)
    assert np.array_equal(model.similarity(scene.image, ["bricks"], size=64).array, first)
    assert all(torch.equal(v, model.clip.state_dict()[k]) for k, v in before.items())


@pytest.mark.parametrize("precision", ["bf16"])
def test_half_precision_gives_the_same_labels(model, scene, precision):
    half = ovseg.load_model("tiny", precision=precision, cache=False)
    names = ["bricks", "waves", "red circle", "gravel"]
    same = half.segment(scene.image, names).array == model.segment(scene.image, names).array
    assert same.mean() > 0.97


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m, i: m.segment(i, ""), "at least one name"),
        (lambda m, i: m.segment(i, "a, a"), "more than once"),
        (lambda m, i: m.segment(i, "a", stride=8), "a window with it"),
        (lambda m, i: m.segment(i, "a", window=4), "multiples of the patch"),
        (lambda m, i: m.segment(i, "a", window=12), "multiples of the patch"),
        (lambda m, i: m.segment(i, "a", window=16, stride=32), "1 <= stride <= window"),
        (lambda m, i: m.segment(i, "a", background_threshold=2.0), r"in 0\.\.1, got 2"),
        (lambda m, i: m.segment(i, "a", synonyms="x"), "unknown synonyms"),
        (
            lambda m, i: m.segment(i, ovseg.load_vocabulary("voc21"), background=["sky"]),
            "background class already",
        ),
        (lambda m, i: m.segment(i, "a", size=0), "expected size in 1"),
        (lambda m, i: m.segment(i, "a", size="big"), "expected size as an integer"),
        (lambda m, i: m.similarity(i, "a", surgery="label_set"), "at least two names"),
        (lambda m, i: m.similarity(i, "a, b", surgery="labels"), "unknown surgery"),
        (lambda m, i: m.recognize(i, "a", surgery="label_set"), "at least two names"),
        (lambda m, i: m.similarity(i, "a " * 90), "at most 77 tokens"),
        (lambda m, i: ovseg.load_model(method="surgery"), "unknown method"),
    ],
)
def test_misuse_is_one_line(model, scene, call, message):
    with pytest.raises(UsageError, match=message) as caught:
        call(model, scene.image)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_an_unreadable_image_is_a_failure_of_the_run(model):
    with pytest.raises(ImageError) as caught:
        model.segment("nowhere.jpg", "a")
    assert caught.value.exit_code == 1


def test_texts_of_other_scripts_and_synonyms(model, scene):
    assert model.segment(scene.image, ["дерево", "木", "شجرة"]).names == ("дерево", "木", "شجرة")
    vocabulary = ovseg.Vocabulary(("ground", "thing"), (("bricks", "waves", "gravel"), ("red circle",)))
    assert model.segment(scene.image, vocabulary).names == ("ground", "thing")


BACKGROUND = {"background": ["bricks", "waves", "gravel", "stripes"], "red circle": ["red circle"]}


def test_background_is_background_however_the_names_arrive(model, scene, tmp_path):
    """Fault 2: from a file the class was special, from a list or text uncertain pixels became void."""
    (tmp_path / "names.txt").write_text("background: bricks, waves, gravel, stripes\nred circle\n")
    wanted = model.segment(
        scene.image, ovseg.load_vocabulary(tmp_path / "names.txt"), background_threshold=0.9
    ).array
    assert 255 not in wanted
    vocabulary = ovseg.Vocabulary(tuple(BACKGROUND), tuple(map(tuple, BACKGROUND.values())))
    for names in (BACKGROUND, vocabulary):
        assert np.array_equal(model.segment(scene.image, names, background_threshold=0.9).array, wanted)
    for names in ("Background, red circle", ["background", "red circle"], iter(["background", "red circle"])):
        found = model.segment(scene.image, names, background_threshold=1.0, logit_scale=1.0)
        assert (found.array == 0).all()


def test_synonyms_count_everywhere(model, scene):
    """Fault 8: similarity and recognize looked at names only, and a dictionary of synonyms lost them."""
    names = {"ground": ["bricks", "waves", "gravel"], "thing": "red circle"}
    alone = model.similarity(scene.image, ["bricks", "waves", "gravel", "red circle"], surgery="none")
    found = model.similarity(scene.image, names, surgery="none")
    np.testing.assert_allclose(found.grid[0], alone.grid[:3].max(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.grid[1], alone.grid[3], atol=1e-6)
    scores = model.recognize(scene.image, ["bricks", "waves", "gravel", "red circle"], surgery="none").scores
    merged = model.recognize(scene.image, names, surgery="none").scores
    np.testing.assert_allclose(merged, [scores[:3].max(), scores[3]], atol=1e-6)


def test_probabilities_are_those_the_labels_come_from(model, scene):
    found = model.segment(scene.image, ["bricks", "waves", "red circle"], probabilities=True)
    assert found.probabilities.shape == (3, 96, 128)
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)
    assert np.array_equal(found.probabilities.argmax(axis=0), found.array)
    assert model.segment(scene.image, "bricks, waves").probabilities is None


def test_features_of_an_image_give_its_similarities(model, scene):
    """dense_features once, then any texts: whole images and windows."""
    from ovseg.options import InputOptions

    text = model.encode_text(["bricks", "waves"])
    for options in (InputOptions(size=(64, 96)), InputOptions(size=(64, 96), window=48, stride=24)):
        features = model.dense_features(scene.image, options=options)
        found = model.similarity(
            scene.image,
            ["bricks", "waves"],
            surgery="none",
            size=(64, 96),
            window=options.window,
            stride=options.stride,
        )
        got = (features.places @ text.T).T.reshape(2, *features.grid)
        np.testing.assert_allclose(got.numpy(), found.grid, atol=1e-5)


def test_the_resize_is_the_one_that_was_asked_for(model, scene):
    maps = [
        model.similarity(scene.image, "waves", resize=how, size=64).grid
        for how in ("opencv", "pillow", "bilinear")
    ]
    assert all(np.abs(one - other).max() > 1e-4 for one, other in pairwise(maps))


def test_values_that_are_not_finite_are_an_error_on_every_road(scene):
    """Fault 40: NaN from the image tower covered 100 % with one class."""
    broken = ovseg.load_model("tiny", cache=False)
    with torch.no_grad():
        broken.clip.visual.conv1.weight.fill_(float("nan"))
    finder = ovseg.TextToMask(broken, ovseg.load_segmenter("grabcut"))
    for call in (
        lambda: broken.segment(scene.image, "a, b"),
        lambda: broken.similarity(scene.image, "a"),
        lambda: broken.recognize(scene.image, "a, b"),
        lambda: broken.dense_features(scene.image),
        lambda: finder.predict(scene.image, "a"),
        lambda: ovseg.explain(broken, scene.image, "a", "bimodal"),
    ):
        with pytest.raises(ovseg.OvsegError, match="finite"):
            call()


def test_the_callers_autocast_changes_nothing(model, scene):
    names = ["bricks", "waves", "red circle"]
    calls = (model.segment, model.similarity, model.recognize)
    wanted = [call(scene.image, names) for call in calls]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert [call(scene.image, names) for call in calls] == wanted


def test_bf16_without_its_instructions_is_slow_and_said_so(monkeypatch):
    monkeypatch.setattr("ovseg.weights.device.has_bf16", lambda: False)
    with pytest.warns(ovseg.errors.OvsegWarning, match="no bf16 instructions"):
        ovseg.load_model("tiny", precision="bf16", cache=False)
