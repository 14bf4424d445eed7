"""Texts to masks on generated scenes with the embedded models."""

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
from ovseg.files.pictures import GROUP
from ovseg.maps.points import paper_points
from ovseg.maps.similarity import min_max
from ovseg.masks import TextToMask
from ovseg.segmenters.grabcut import GrabCut
from ovseg.segmenters.sam import SegmentAnything


def iou(one, two):
    return float((one & two).sum() / max(1, (one | two).sum()))


# -------------------------------------------------------------------------------------------- results


@pytest.mark.parametrize("name", ["tiny", "grabcut"])
def test_shapes_of_scenes_become_masks(model, segmenter, things, name):
    seeds = range(500, 508) if name == "tiny" else range(500, 502)
    always = TextToMask(model, segmenter if name == "tiny" else GrabCut(), presence_threshold=0)
    ious = []
    for scene in map(make_scene, seeds):
        names = things(scene)
        for name, found in zip(names, always.predict_texts(scene.image, names), strict=True):
            assert found.masks.dtype == bool and found.masks.shape[1:] == scene.image.shape[:2]
            assert len(found.masks) == len(found.scores) == len(found.points) == len(found.candidates) >= 1
            assert found.text == name and list(found.presence) == [name]
            ious.append(iou(found.union, scene.labels == NAMES.index(name)))
    assert len(ious) >= len(seeds)
    assert np.mean(ious) > 0.4  # the whole picture as a mask would score about 0.06


def test_a_text_that_comes_twice_is_answered_twice(always, things):
    scene = make_scene(500)
    name, other = things(scene)[0], scene.present[0]
    first, between, again = always.predict_texts(scene.image, [name, other, name])
    assert len(first) and between.text == other
    assert first.presence == again.presence and np.array_equal(first.masks, again.masks)


def test_a_combined_target_has_the_masks_of_its_parts(always, things):
    scene = make_scene(502, things=2)
    first, second = things(scene)[:2]
    both = always.predict(scene.image, f"{first}+{second}")
    assert list(both.presence) == [first, second] and both.maps.shape[0] == 2
    parts = [always.predict(scene.image, name) for name in (first, second)]
    for name, alone in zip((first, second), parts, strict=True):
        assert both.presence[name] == pytest.approx(alone.presence[name], abs=0.35)
        assert len(alone) and (both.union & alone.union).sum() > 0.8 * alone.union.sum()
    assert iou(both.union, parts[0].union | parts[1].union) > 0.8
    paper = TextToMask(always.model, always.segmenter, point_rule="paper", presence_threshold=0)
    found = paper.predict(scene.image, f"{first} + {second}")
    assert len(found) == 1 and len(found.points[0].positives) > 0


def test_paper_rule_gives_the_points_of_the_models_own_map(always, things):
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
def test_every_option_gives_masks_twice_the_same(model, segmenter, things, start, choose):
    scene = make_scene(504)
    options = {"prompt_with": start, "mask_choice": choose, "refine": choose == "both"}
    t2m = TextToMask(model, segmenter, presence_threshold=0, **options)
    first, again = (t2m.predict(scene.image, things(scene)[0]) for _ in range(2))
    assert len(first) and first == again
    for candidates in first.candidates:
        assert candidates.logits.shape[0] == len(candidates.scores) == len(candidates.agreement) == 3
        assert (candidates.box is not None) == (start == "box")
        ranks = {
            "score": candidates.scores,
            "agreement": candidates.agreement,
            "both": candidates.scores + candidates.agreement,
        }
        assert candidates.chosen == ranks[choose].argmax()


def test_options_in_force_are_what_suits_the_segmenter(model, segmenter):
    tiny, grabcut = TextToMask(model, segmenter).options, TextToMask(model, GrabCut()).options
    assert (tiny.mask_choice, tiny.prompt_with) == ("score", "map")
    assert (grabcut.mask_choice, grabcut.prompt_with) == ("agreement", "map")
    assert TextToMask(model, segmenter, mask_choice="both").options.mask_choice == "both"
    assert (tiny.map_threshold, TextToMask(model, segmenter, point_rule="paper").options.map_threshold) == (
        0.6,
        0.8,
    )


# ------------------------------------------------------------------------- several texts and images


def test_commas_separate_names_and_a_list_holds_them_as_they_are(always):
    image = make_scene(500).image
    first, second = always.predict_texts(image, "red circle, stripes + waves")
    assert first.text == "red circle" and list(second.presence) == ["stripes", "waves"]
    alone = always.predict(image, "red circle")
    assert np.array_equal(first.masks, alone.masks) and first.presence == pytest.approx(alone.presence)
    (one,) = always.predict_texts(image, ["red circle, stripes"])
    assert list(one.presence) == ["red circle, stripes"]
    with pytest.raises(UsageError, match="expected one text, got 'sky, cow': predict_texts takes several"):
        always.predict(image, "sky, cow")


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda images: (image for image in images)])
def test_many_images_give_what_each_gives_alone(always, kind, tmp_path):
    images = [make_scene(seed).image for seed in (500, 501)]
    Image.fromarray(images[1]).save(tmp_path / "b.png")
    found = list(always.predict_each(kind([images[0], tmp_path / "b.png"]), ["red circle", "waves"]))
    assert [[one.text for one in row] for row in found] == [["red circle", "waves"]] * 2
    assert found == [always.predict_texts(image, ["red circle", "waves"]) for image in images]


def test_images_of_one_size_go_through_clip_together(model, segmenter, monkeypatch):
    batches = []
    encode = model.encode_image
    monkeypatch.setattr(
        model, "encode_image", lambda pixels, **more: batches.append(len(pixels)) or encode(pixels, **more)
    )
    t2m = TextToMask(model, segmenter)
    images = [make_scene(seed, (32, 40)).image for seed in range(GROUP + 1)]
    first = list(t2m.predict_each(images, "stripes"))
    assert batches == [GROUP, 1]
    assert list(t2m.predict_each(images[-KEPT:], "stripes")) == first[-KEPT:] and batches == [GROUP, 1]
    list(TextToMask(model, segmenter, batch=2).predict_each(images[:3], "stripes"))
    assert batches == [GROUP, 1, 2, 1]


def test_a_stream_reads_a_group_ahead_and_keeps_few(t2m):
    """However many there are: a generator is not run further ahead, and only a few images stay."""
    made, read = [], []

    class Picture(np.ndarray):
        pass

    def pictures():
        for seed in range(2 * GROUP):
            read.append(seed)
            picture = make_scene(seed, (32, 40)).image.view(Picture)
            made.append(weakref.ref(picture))
            yield picture

    count = 0
    for _ in t2m.predict_each(pictures(), "red circle"):
        count += 1
        assert len(read) == GROUP * -(-count // GROUP)
        assert sum(one() is not None for one in made) <= GROUP and len(t2m._encoded) <= KEPT
    gc.collect()
    assert count == 2 * GROUP and sum(one() is not None for one in made) <= 1


def test_one_bad_image_loses_no_other(always):
    good, errors = make_scene(500).image, []
    images = [good, "nothing.png", None, good]
    found = list(always.predict_each(images, "red circle", on_error=lambda *told: errors.append(told)))
    assert len(found) == 2 and [index for index, _ in errors] == [1, 2]
    stream = always.predict_each(images, "red circle")
    assert next(stream) == found[0]
    with pytest.raises(ImageError, match="does not exist"):
        next(stream)


def test_an_image_that_cannot_be_encoded_is_told_by_its_place(model, segmenter, monkeypatch):
    """The batch fails as a whole; each image alone says whose fault it was."""
    encode = model.encode_image

    def fussy(pixels, **more):
        if (pixels[:, 0].amax((1, 2)) == pixels[:, 0].amin((1, 2))).any():
            raise ImageError("expected more than one colour")
        return encode(pixels, **more)

    monkeypatch.setattr(model, "encode_image", fussy)
    images = [make_scene(seed, (32, 40)).image for seed in range(3)]
    images[1] = np.zeros_like(images[1])
    told = []
    found = list(TextToMask(model, segmenter).predict_each(images, "sky", lambda *one: told.append(one)))
    assert len(found) == 2 and [(index, str(error)) for index, error in told] == [
        (1, "expected more than one colour")
    ]


def test_texts_are_checked_before_an_image_is_read(always):
    with pytest.raises(UsageError, match="expected"):
        always.predict_each(iter(["nothing.png"]), "word " * 100)


# ----------------------------------------------------------------------------------------------- cost


def test_many_texts_cost_one_image_pass_each(model, segmenter, monkeypatch):
    counts = {"clip": 0, "sam": 0}
    clip_pass, sam_pass = type(model).encode_image, segmenter._encode

    def counted(self, *args, **options):
        counts["clip"] += 1
        return clip_pass(self, *args, **options)

    def counted_sam(image):
        counts["sam"] += 1
        return sam_pass(image)

    monkeypatch.setattr(type(model), "encode_image", counted)
    monkeypatch.setattr(segmenter, "_encode", counted_sam)
    t2m = TextToMask(model, segmenter, presence_threshold=0)
    scene = make_scene(605)
    assert len(t2m.predict_texts(scene.image, [*NAMES[:6], "red circle+blue star"])) == 7
    assert counts == {"clip": 1, "sam": 1}
    session = t2m.session(make_scene(606).image)
    assert counts == {"clip": 2, "sam": 2}
    session.text("red circle")
    session.click(5, 5)
    session.click(100, 100, foreground=False)
    session.undo()
    session.box(10, 10, 60, 60)
    assert counts == {"clip": 2, "sam": 2}


def test_sam_answers_again_without_its_encoder(model, things):
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


class BadRepr:
    """An object that even fails to describe itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("value", [None, 5, "tiny", BadRepr()], ids=lambda value: type(value).__name__)
def test_other_models_and_segmenters_are_one_clear_line(model, value):
    for call in (lambda: TextToMask(value, GrabCut()), lambda: TextToMask(model, value or 0)):
        with pytest.raises(UsageError, match=r"expected a (model|segmenter) that load_") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_what_cannot_be_read_and_options_that_do_not_fit(model, segmenter, t2m):
    with pytest.raises(ImageError, match="does not exist"):
        t2m.predict("nothing.jpg", "bench")
    for wrong in (None, 5, np.zeros((4, 4, 7), np.uint8), np.zeros((0, 5, 3), np.uint8)):
        for call in (lambda: t2m.predict(wrong, "sky"), lambda: t2m.session(wrong)):
            with pytest.raises(UsageError, match="expected"):
                call()
    for option, message in [
        ({"point_rule": "best"}, "unknown point_rule 'best': expected one of components, paper"),
        ({"window": 13}, "multiples of the patch"),
        ({"rule": "paper"}, "unknown option 'rule'"),
    ]:
        with pytest.raises(UsageError, match=message):
            TextToMask(model, segmenter, **option)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "I;16", "1"])
def test_pictures_of_every_mode(t2m, mode):
    picture = Image.fromarray(make_scene(1, (32, 40)).image)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    assert t2m.predict(picture, "red circle").masks.shape[1:] == (32, 40)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (1, 300), (40, 20000)])
@pytest.mark.parametrize("options", [{}, {"point_rule": "paper", "prompt_with": "box"}], ids=str)
def test_pictures_of_every_shape(model, shape, options):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    t2m = TextToMask(model, GrabCut(), presence_threshold=0, **options)
    found = t2m.predict(image, "red circle")
    assert found.masks.shape[1:] == shape and (len(found) or found.reason)
    # Just inside the edge, which float32 would round over it.
    clicked = t2m.session(image).click(np.nextafter(shape[1], 0), np.nextafter(shape[0], 0))
    assert clicked.masks.shape[1:] == shape and (len(clicked) or clicked.reason)
    assert all((points.xy < [shape[1], shape[0]]).all() for points in clicked.points)
