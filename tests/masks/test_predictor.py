"""Text to mask on generated scenes with the embedded CLIP and GrabCut."""

from __future__ import annotations

import gc
import time
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from ovseg.errors import ImageError, UsageError
from ovseg.evaluation.data.scenes import NAMES, make_scene
from ovseg.files.cache import KEPT
from ovseg.maps.presence import BORDER, WIDTH, level, presences
from ovseg.maps.similarity import min_max
from ovseg.masks import TextToMask
from ovseg.masks.predictor import GROUP
from ovseg.masks.words import parse_words
from ovseg.segmenters.grabcut import GrabCut
from ovseg.segmenters.load import load_segmenter
from ovseg.segmenters.sam import SegmentAnything

SEEDS = range(500, 508)


def iou(one, two):
    return float((one & two).sum() / max(1, (one | two).sum()))


def things(scene):
    return [name for name in scene.present if NAMES.index(name) >= 6]


# -------------------------------------------------------------------------------------------- results


def test_shapes_of_scenes_become_masks(always):
    ious = []
    for seed in SEEDS:
        scene = make_scene(seed)
        names = things(scene)
        for name, found in zip(names, always.predict_texts(scene.image, names), strict=True):
            assert found.masks.dtype == bool and found.masks.shape[1:] == scene.image.shape[:2]
            assert len(found.masks) == len(found.scores) == len(found.points) == len(found.candidates) >= 1
            assert found.text == name and list(found.presence) == [name]
            ious.append(iou(found.union, scene.labels == NAMES.index(name)))
    assert len(ious) > 12
    assert np.mean(ious) > 0.4  # the whole picture as a mask would score about 0.06


def test_present_texts_score_higher_than_absent_ones(model):
    """tools/interactive.py measures this on photographs too; here nothing is decoded."""
    strict = TextToMask(model, GrabCut(), presence_threshold=1.0)
    here, away = [], []
    for seed in range(500, 530):
        scene = make_scene(seed)
        for found in strict.predict_texts(scene.image, list(NAMES)):
            share = found.presence[found.text]
            assert 0 <= share <= 1 and len(found) == 0 and not found.union.any()
            assert found.masks.shape == (0, *scene.image.shape[:2])
            assert found.reason.startswith(f"not in this picture: '{found.text}' (presence 0.")
            (here if found.text in scene.present else away).append(share)
    assert len(here) > 100 and len(away) > 1000
    better = np.mean([[h > a for a in away] for h in here])
    assert better > 0.85


def test_a_text_that_comes_twice_is_answered_twice(always):
    scene = make_scene(500)
    name, other = things(scene)[0], scene.present[0]
    first, between, again = always.predict_texts(scene.image, [name, other, name])
    assert len(first) and between.text == other
    assert first.presence == again.presence and np.array_equal(first.masks, again.masks)


def test_capitals_and_spaces_do_not_change_presence(always):
    """The everyday words are rivals of a text, but not of itself."""
    image = make_scene(3).image
    assert "person" in always.options.rivals
    shares = [always.predict(image, text).presence[text] for text in ("person", "Person", "PERSON")]
    assert np.ptp(shares) < 1e-5  # as rivals of themselves they would differ a hundred times as much
    rivals = TextToMask(always.model, always.segmenter, presence_threshold=0, rivals=["Green   Leaf"])
    alone = TextToMask(always.model, always.segmenter, presence_threshold=0, rivals=[])
    own, without = (one.predict(image, "green leaf").presence for one in (rivals, alone))
    assert own == without


def test_a_combined_target_has_the_masks_of_its_parts(always):
    scene = make_scene(502, things=2)
    first, second = things(scene)[:2]
    both = always.predict(scene.image, f"{first}+{second}")
    assert list(both.presence) == [first, second] and both.maps.shape[0] == 2
    parts = [always.predict(scene.image, name) for name in (first, second)]
    for name, alone in zip((first, second), parts, strict=True):
        assert both.presence[name] == pytest.approx(alone.presence[name], abs=0.35)
        assert len(alone) and (both.union & alone.union).sum() > 0.8 * alone.union.sum()
    assert iou(both.union, parts[0].union | parts[1].union) > 0.8
    paper = TextToMask(
        always.model, always.segmenter, point_rule="paper", prompt_with="points", presence_threshold=0
    )
    found = paper.predict(scene.image, f"{first} + {second}")
    assert len(found) == 1 and len(found.points[0].positives) > 0


def test_paper_rule_gives_the_points_of_the_models_own_map(always):
    from ovseg.maps.points import paper_points

    scene = make_scene(503)
    name = things(scene)[0]
    paper = TextToMask(
        always.model, always.segmenter, point_rule="paper", prompt_with="points", presence_threshold=0
    )
    found = paper.predict(scene.image, name)
    raw = always.model.similarity(scene.image, name).grid[0].copy()
    assert np.allclose(found.maps[0], raw, atol=1e-5)
    wanted = paper_points(min_max(torch.from_numpy(raw)).numpy(), scene.image.shape[:2])
    assert np.array_equal(found.points[0].xy, wanted.xy)


@pytest.mark.parametrize("start", ["points", "map", "box"])
@pytest.mark.parametrize("choose", ["score", "agreement", "both"])
def test_every_option_gives_masks_twice_the_same(model, start, choose):
    scene = make_scene(504)
    made = [
        TextToMask(
            model,
            GrabCut(),
            prompt_with=start,
            mask_choice=choose,
            refine=choose == "both",
            presence_threshold=0,
        )
        for _ in range(2)
    ]
    first, again = (one.predict(scene.image, things(scene)[0]) for one in made)
    assert len(first) and (first.masks == again.masks).all() and (first.scores == again.scores).all()
    for candidates in first.candidates:
        assert candidates.logits.shape[0] == len(candidates.scores) == len(candidates.agreement) == 3
        assert (candidates.box is not None) == (start == "box")


# ------------------------------------------------------------------------- several texts and images


def test_commas_separate_names_and_a_list_holds_them_as_they_are(always):
    image = make_scene(500).image
    first, second = always.predict_texts(image, "red circle, stripes + waves")
    assert first.text == "red circle" and list(second.presence) == ["stripes", "waves"]
    alone = always.predict(image, "red circle")
    assert np.array_equal(first.masks, alone.masks) and first.presence == pytest.approx(alone.presence)
    (one,) = always.predict_texts(image, ["red circle, stripes"])
    assert list(one.presence) == ["red circle, stripes"]


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda images: (image for image in images)])
def test_many_images_give_what_each_gives_alone(always, kind, tmp_path):
    images = [make_scene(seed).image for seed in (500, 501)]
    Image.fromarray(images[1]).save(tmp_path / "b.png")
    found = always.predict_each(kind([images[0], tmp_path / "b.png"]), "red circle")
    assert list(found) == [[always.predict(image, "red circle")] for image in images]
    several = list(always.predict_each(kind(images), ["red circle", "waves"]))
    assert [[one.text for one in row] for row in several] == [["red circle", "waves"]] * 2


def test_a_stream_reads_a_group_ahead_and_keeps_few(always):
    """However many there are: a generator is not run further ahead, and only a few images stay."""
    made, read = [], []

    class Picture(np.ndarray):
        pass

    def pictures():
        for seed in range(3 * GROUP):
            read.append(seed)
            picture = make_scene(seed, (32, 40)).image.view(Picture)
            made.append(weakref.ref(picture))
            yield picture

    for count, _ in enumerate(always.predict_each(pictures(), "red circle"), 1):
        assert len(read) == GROUP * -(-count // GROUP)
        gc.collect()
        assert sum(one() is not None for one in made) <= GROUP and len(always._encoded) <= KEPT
    assert count == 3 * GROUP


def test_one_bad_image_loses_no_other(always):
    good, errors = make_scene(500).image, []
    images = [good, "nothing.png", None, good]
    found = list(
        always.predict_each(images, "red circle", on_error=lambda index, error: errors.append((index, error)))
    )
    assert len(found) == 2 and [index for index, _ in errors] == [1, 2]
    stream = always.predict_each(images, "red circle")
    assert next(stream) == found[0]
    with pytest.raises(ImageError, match="does not exist"):
        next(stream)


def test_texts_are_checked_before_an_image_is_read(always):
    with pytest.raises(UsageError, match="expected|unknown|needs"):
        always.predict_each(iter(["nothing.png"]), "word " * 100)


# ----------------------------------------------------------------------------------------------- cost


def test_many_texts_cost_one_image_pass_each(model, monkeypatch):
    sam = GrabCut()
    counts = {"clip": 0, "sam": 0}
    clip_pass, sam_pass = type(model).encode_image, sam._encode

    def counted(self, *args, **options):
        counts["clip"] += 1
        return clip_pass(self, *args, **options)

    def counted_sam(image):
        counts["sam"] += 1
        return sam_pass(image)

    monkeypatch.setattr(type(model), "encode_image", counted)
    monkeypatch.setattr(sam, "_encode", counted_sam)
    t2m = TextToMask(model, sam, presence_threshold=0)
    scene = make_scene(505)
    assert len(t2m.predict_texts(scene.image, [*NAMES[:6], "red circle+blue star"])) == 7
    assert counts == {"clip": 1, "sam": 1}
    session = t2m.session(make_scene(506).image)
    assert counts == {"clip": 2, "sam": 2}
    session.text("red circle")
    session.click(5, 5)
    session.click(100, 100, foreground=False)
    session.undo()
    session.box(10, 10, 60, 60)
    assert counts == {"clip": 2, "sam": 2}


def test_sam_answers_again_without_its_encoder(model):
    torch.manual_seed(0)
    sam = SegmentAnything(
        Sam(
            ImageEncoderViT(256, 8, embed_dim=64, depth=8, num_heads=2, out_chans=32),
            PromptEncoder(32, (32, 32), (256, 256), 16),
            MaskDecoder(transformer_dim=32, transformer=TwoWayTransformer(2, 32, 2, 64)),
        ),
        "small",
    )
    t2m = TextToMask(model, sam, presence_threshold=0)
    assert t2m.options.prompt_with == "points" and TextToMask(model, GrabCut()).options.prompt_with == "map"
    scene = make_scene(505)
    found = t2m.predict(scene.image, things(scene)[0])
    assert found.candidates or found.reason
    passes = []
    sam.sam.image_encoder.register_forward_hook(lambda *_: passes.append(time.monotonic()))
    session = t2m.session(scene.image)
    session.text(things(scene)[0])
    session.click(20, 20)
    assert passes == []  # the same pixels as above: the embedding was there already


# ------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "text", ["", "   ", "+", "bench+", "a+a", "word " * 100, [], ["a", ""], [None], None]
)
def test_bad_texts_are_one_clear_line(t2m, text):
    with pytest.raises(UsageError, match="expected|unknown|needs") as caught:
        t2m.predict_texts(make_scene(1).image, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "I;16", "1"])
def test_pictures_of_every_mode(always, mode, tmp_path):
    picture = Image.fromarray(make_scene(1).image)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    assert always.predict(picture, "red circle").masks.shape[1:] == (128, 128)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (1, 300), (40, 20000)])
@pytest.mark.parametrize("rule", ["components", "paper"])
@pytest.mark.parametrize("start", ["map", "box"])
def test_pictures_of_every_shape(always, shape, rule, start):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    t2m = TextToMask(always.model, always.segmenter, point_rule=rule, prompt_with=start, presence_threshold=0)
    found = t2m.predict(image, "red circle")
    assert found.masks.shape[1:] == shape and (len(found) or found.reason)
    assert t2m.session(image).click(shape[1] - 1, shape[0] - 1).masks.shape[1:] == shape


def test_what_cannot_be_read_and_unknown_options(model, t2m):
    with pytest.raises(ImageError, match="does not exist"):
        t2m.predict("nothing.jpg", "bench")
    for option, message in [
        ({"point_rule": "best"}, "unknown point_rule 'best': expected one of components, paper"),
        ({"prompt_with": "x"}, "unknown prompt_with"),
        ({"mask_choice": "x"}, "unknown mask_choice"),
        ({"map_threshold": 3.0}, "expected map_threshold in 0..1, got 3"),
        ({"presence_threshold": -1}, "expected presence_threshold in 0..1"),
    ]:
        with pytest.raises(UsageError, match=message):
            TextToMask(model, t2m.segmenter, **option)


# ---------------------------------------------------------------------------------------------- parts


def probability(text, rivals, scale):
    """The softmax over a text, its rivals and the empty string, one place after the other."""
    return np.array(
        [
            np.exp(scale * one) / (np.exp(scale * one) + sum(np.exp(scale * r) for r in row) + 1)
            for one, row in zip(text, rivals, strict=True)
        ]
    )


def test_log_odds_are_those_of_the_probability():
    rng = np.random.default_rng(1)
    text, rivals = rng.normal(0, 0.03, 40), rng.normal(0, 0.03, (40, 5))
    for scale in (15.0, 100.0):
        share = probability(text, rivals, scale)
        assert np.allclose(text - level(rivals, scale), np.log(share / (1 - share)) / scale)
    assert np.allclose(text - level(rivals[:, :0], 100.0), text)  # alone against the empty string
    assert np.isfinite(text + 2 - level(rivals - 2, 100.0)).all()


def test_our_map_is_low_where_another_word_fits_better(always):
    scene = make_scene(503)
    name = things(scene)[0]
    found = always.predict(scene.image, name)
    raw = always.model.similarity(scene.image, name).grid[0].copy()
    rivals = always.model.similarity(scene.image, list(always.options.rivals)).grid
    scale = float(always.model.clip.logit_scale.exp())
    wanted = raw - np.log1p(np.exp(scale * rivals.astype(np.float64)).sum(0)) / scale
    assert np.allclose(found.maps[0], wanted, atol=1e-5)
    alone = TextToMask(always.model, always.segmenter, presence_threshold=0, rivals=[])
    assert np.allclose(alone.predict(scene.image, name).maps[0], raw, atol=1e-5)


def test_segmenters_that_judge_their_masks_are_believed(model, always):
    assert always.options.mask_choice == "agreement"
    assert TextToMask(model, load_segmenter("tiny")).options.mask_choice == "score"
    assert TextToMask(model, load_segmenter("tiny"), mask_choice="both").options.mask_choice == "both"


def test_a_text_with_commas_is_several_names_and_plus_joins_them():
    (word,) = parse_words("person + bench")
    assert word.texts == tuple(word.names) == ("person", "bench") and word.text == "person + bench"
    words = parse_words("sky, person+bench ,park bench")
    assert [word.texts for word in words] == [("sky",), ("person", "bench"), ("park bench",)]
    (word,) = parse_words(["salt, with pepper"])
    assert word.texts == ("salt, with pepper",)


def test_presence_is_a_probability_against_the_empty_string_and_rivals():
    rng = np.random.default_rng(0)
    text, rivals = rng.normal(0, 0.02, 50), rng.normal(0, 0.02, (50, 3))
    wanted = np.sort(probability(text, rivals, 50))[-1:].mean()  # one place of fifty
    whole = probability(np.array([0.03]), np.array([[0.01, -0.02, 0.0]]), 50)[0]
    score = np.log(wanted * whole) - BORDER

    def presence(text, image, rivals, rival_images):
        levels = level(rivals, 50), level(rival_images[None], 50)
        return float(presences(text[:, None], np.array([[image]]), *levels, 50)[0])

    found = presence(text, 0.03, rivals, np.array([0.01, -0.02, 0.0]))
    assert found == pytest.approx(1 / (1 + np.exp(-score / WIDTH)))
    shares = [presence(text + d, d, rivals, np.zeros(3)) for d in (-2.0, -0.2, 0.0, 0.2, 2.0)]
    assert shares == sorted(shares) and 0 <= shares[0] < 0.01 and shares[-1] > 0.9
    assert BORDER < 0
