"""The registered segmentor: mmseg's contract on the outside, the core's own figures on the inside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import ovseg.model.frozen
from ovseg.clip.attention import METHODS
from ovseg.errors import UsageError
from ovseg.evaluation.data.scenes import NAMES
from ovseg.maps.labels import probabilities
from ovseg.maps.similarity import resize
from ovseg.model import Model
from ovseg.options import SegmentOptions

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def build(vocabulary=NAMES, **fields):
    preprocessor = {"type": "ClipPreProcessor", "mean": MEAN, "std": STD}
    settings = {"vocabulary": list(vocabulary) if isinstance(vocabulary, tuple) else vocabulary, **fields}
    return MODELS.build(
        {
            "type": "OpenVocabularySegmentor",
            "data_preprocessor": preprocessor,
            "backbone": "tiny",
            "templates": "plain",
            **settings,
        }
    )


def batch(*shapes, seed=0, **meta):
    """What a loader gives: BGR uint8 images (3, H, W) and samples with the original sizes."""
    scenes = [ovseg.make_scene(seed + index, shape).image for index, shape in enumerate(shapes)]
    inputs = [torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1) for image in scenes]
    samples = [SegDataSample(metainfo={"ori_shape": shape, **meta}) for shape in shapes]
    return scenes, {"inputs": inputs, "data_samples": samples}


def labels(results):
    return [result.pred_sem_seg.data[0].numpy() for result in results]


# ------------------------------------------------------------------------------------- contract


def test_it_is_a_segmentor_with_everything_mmseg_asks_for():
    segmentor = build("sky, tree, grass")
    assert isinstance(segmentor, BaseSegmentor)
    assert segmentor.out_channels == 3 and segmentor.align_corners is False
    assert segmentor.dataset_meta["classes"] == ("sky", "tree", "grass")
    assert len(segmentor.dataset_meta["palette"]) == 3
    assert not segmentor.train().training and not segmentor.clip.training
    _, data = batch((64, 96), (64, 96))
    ready = segmentor.data_preprocessor(data)
    logits = segmentor(**ready, mode="tensor")
    assert logits.shape == (2, 3, 64, 96)
    torch.testing.assert_close(logits, segmentor.encode_decode(ready["inputs"]), rtol=0, atol=0)
    assert [part.shape for part in segmentor.extract_feat(ready["inputs"])] == 2 * [
        (segmentor.core.encode_text(["sky"]).shape[1], 8, 12)
    ]
    found = segmentor(**ready, mode="predict")
    assert found[0].seg_logits.data.shape == (3, 64, 96) and found[0].pred_sem_seg.data.shape == (1, 64, 96)
    again = segmentor.postprocess_result(logits)  # the base class's own road gives the same classes
    for one, other in zip(labels(found), labels(again)):
        assert (one == other).mean() > 0.999


@pytest.mark.parametrize("call", ["loss", "train_step"])
def test_training_is_refused(call):
    segmentor = build("sky, tree")
    _, data = batch((64, 64))
    with pytest.raises(UsageError, match="frozen: expected mode 'predict' or 'tensor', got 'loss'"):
        if call == "loss":
            segmentor(**segmentor.data_preprocessor(data), mode="loss")
        else:
            segmentor.train_step(data, None)


def test_without_samples_results_have_the_inputs_size():
    segmentor = build("sky, tree", keep_logits=False)
    found = segmentor.predict([torch.randn(3, 40, 56)])
    assert found[0].pred_sem_seg.data.shape == (1, 40, 56) and "seg_logits" not in found[0]


# --------------------------------------------------------------------------- equal to the core


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_those_of_the_core(model, method):
    images, data = batch((64, 96), (128, 128), (64, 96))
    found = labels(build(method=method).test_step(data))
    core = model.with_method(method)
    for image, got in zip(images, found):
        wanted = core.segment(image, NAMES, size=image.shape[:2], templates="plain")
        np.testing.assert_array_equal(got, wanted.array)


def test_edges_are_those_of_the_core(model):
    segmentor = build(edges="guided")
    scenes, data = batch((64, 80))
    wanted = model.segment(scenes[0], list(NAMES), size=(64, 80), edges="guided", templates="plain")
    found = labels(segmentor.test_step(data))[0]
    assert (found == wanted.array).mean() > 0.99 and segmentor.describe()["edges"] == "guided"
    plain = model.segment(scenes[0], list(NAMES), size=(64, 80), templates="plain")
    assert (plain.array != wanted.array).any()


def test_windows_are_those_of_the_core(model):
    images, data = batch((96, 160), (160, 96))
    segmentor = build(window=64, stride=[32, 48], background="road, sand")
    options = {"window": 64, "stride": (32, 48), "background": ["road", "sand"], "templates": "plain"}
    names = [name for name in NAMES]
    for image, got in zip(images, labels(segmentor.test_step(data))):
        wanted = model.segment(image, names, size=image.shape[:2], **options)
        np.testing.assert_array_equal(got, wanted.array)


def test_background_words_by_themselves_are_those_of_the_core(model):
    images, data = batch((64, 80))
    segmentor = build(background="auto")
    wanted = model.vocabulary(NAMES, SegmentOptions(background="auto", templates="plain"))
    assert segmentor.vocabulary == wanted and segmentor.out_channels == len(NAMES) + 1
    assert segmentor.describe()["background"] == "auto"
    found = model.segment(images[0], wanted, size=(64, 80), templates="plain")
    np.testing.assert_array_equal(labels(segmentor.test_step(data))[0], found.array)


def test_new_weights_choose_background_words_anew(monkeypatch):
    segmentor = build(background="auto")
    asked = []
    monkeypatch.setattr(Model, "vocabulary", lambda self, *given: asked.append(self) or segmentor.vocabulary)
    segmentor.load_state_dict(segmentor.state_dict())
    assert asked == [segmentor.core]


def test_logits_are_the_logarithms_of_the_cores_probabilities(model, tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("sea: water, sea\nsky\n")
    segmentor = build(str(file), logit_scale=30.0)
    assert segmentor.vocabulary.owners == (0, 0, 1)
    images, data = batch((64, 64))
    ready = segmentor.data_preprocessor(data)
    words = list(segmentor.vocabulary.flat)
    raw = model.similarity(images[0], words, surgery="none", size=64, templates="plain").grid
    maps = resize(torch.from_numpy(raw.copy())[None], (64, 64))[0]
    wanted = probabilities(maps, segmentor.vocabulary.owners, 30.0)
    got = segmentor.predict(**ready)[0].seg_logits.data
    torch.testing.assert_close(got.exp(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_sizes_that_are_no_multiples_of_the_patch(mode):
    window = {"window": 64, "stride": 40} if mode == "slide" else {}
    segmentor = build("sky, tree", **window)
    _, data = batch((50, 61), (37, 131), (9, 7))
    found = segmentor.test_step(data)
    assert [part.shape for part in labels(found)] == [(50, 61), (37, 131), (9, 7)]
    assert all(np.isfinite(part.seg_logits.data.numpy()).all() for part in found)


# ------------------------------------------------------------------------------------- batches


@pytest.fixture
def calls(monkeypatch):
    """The shapes that the encoder is called with."""
    shapes, encode = [], ovseg.model.frozen.encode_image

    def counted(visual, pixels, *rest, **options):
        shapes.append(tuple(pixels.shape))
        return encode(visual, pixels, *rest, **options)

    monkeypatch.setattr(ovseg.model.frozen, "encode_image", counted)
    return shapes


def test_images_of_one_size_go_through_together_and_alone_alike(calls):
    _, data = batch((64, 96), (96, 64), (64, 96), (64, 96))
    segmentor = build(batch=2)
    together = segmentor.test_step(data)
    assert sorted(calls) == [(1, 3, 64, 96), (1, 3, 96, 64), (2, 3, 64, 96)]
    for image, sample, found in zip(data["inputs"], data["data_samples"], together):
        alone = segmentor.test_step({"inputs": [image], "data_samples": [sample.new()]})[0]
        np.testing.assert_array_equal(alone.pred_sem_seg.data, found.pred_sem_seg.data)


def test_windows_of_several_images_share_a_batch(calls):
    _, data = batch((64, 128), (96, 64), (64, 64))  # 2, 2 and 1 windows
    segmentor = build(window=64, batch=5)
    together = labels(segmentor.test_step(data))
    assert calls == [(5, 3, 64, 64)]
    segmentor = build(window=64, batch=1)
    calls.clear()
    alone = labels(segmentor.test_step(data))
    assert calls == 5 * [(1, 3, 64, 64)]
    for one, other in zip(together, alone):
        np.testing.assert_array_equal(one, other)


def test_an_image_in_eight_windows_is_one_call(calls):
    """Cityscapes at an eighth: 2048x1024 in windows of 512."""
    build("cityscapes", window=64, stride=64).predict([torch.randn(3, 128, 256)])
    assert calls == [(8, 3, 64, 64)]


def test_a_larger_image_in_between_changes_nothing():
    segmentor, before = build(), None
    for shape in ((64, 64), (128, 96), (64, 64)):
        found = labels(segmentor.test_step(batch(shape)[1]))[0]
        if shape == (64, 64):
            before = found if before is None else before
            np.testing.assert_array_equal(found, before)


# ------------------------------------------------------------------------- geometry and classes


@pytest.mark.parametrize("direction, axis", [("horizontal", (2,)), ("vertical", (1,)), ("diagonal", (1, 2))])
@pytest.mark.parametrize("window", [None, 64])
def test_a_flip_is_undone(direction, axis, window):
    segmentor = build(**({"window": window} if window else {}))
    _, data = batch((64, 128))
    flipped = {"inputs": [image.flip(axis) for image in data["inputs"]]}
    meta = {"ori_shape": (64, 128), "flip": True, "flip_direction": direction}
    flipped["data_samples"] = [SegDataSample(metainfo=meta)]
    mirrored = labels(segmentor.test_step(flipped))[0]
    _, plain = batch((64, 128))
    plain["inputs"] = flipped["inputs"]
    unturned = labels(segmentor.test_step(plain))[0]
    np.testing.assert_array_equal(mirrored, np.flip(unturned, [one - 1 for one in axis]))


def test_padding_is_taken_off():
    segmentor = build("sky, tree, grass")
    image = torch.randn(3, 64, 96)
    meta = {"ori_shape": (48, 80), "padding_size": [8, 8, 4, 12]}  # left, right, top, bottom
    (found,) = segmentor.predict([image], [SegDataSample(metainfo=meta)])
    logits = segmentor.encode_decode([image])[0, :, 4:52, 8:88]
    assert (found.pred_sem_seg.data[0] == logits.argmax(0)).float().mean() > 0.999


def test_background_threshold_falls_to_the_background_or_to_void():
    _, data = batch((64, 64))
    assert set(np.unique(labels(build("sky, tree", background_threshold=1.0).test_step(data))[0])) == {255}
    _, data = batch((64, 64))
    found = labels(build("voc21", background_threshold=0.99).test_step(data))[0]
    assert (found == 0).mean() > 0.9


def test_names_change_in_one_line():
    segmentor = build("voc21")
    segmentor.set_vocabulary("sky, tree")
    assert segmentor.dataset_meta["classes"] == ("sky", "tree")
    assert labels(segmentor.test_step(batch((64, 64))[1]))[0].max() <= 1
    segmentor.dataset_meta = {"classes": ("road",)}  # as MMSegInferencer does
    assert segmentor.dataset_meta["classes"] == ("sky", "tree")


def test_the_batch_of_a_tensor_is_a_batch_of_images():
    segmentor = build("sky, tree")
    pixels = torch.randn(2, 3, 64, 64)
    samples = segmentor.predict(pixels)
    assert len(samples) == 2 and all(isinstance(s.pred_sem_seg, PixelData) for s in samples)


def test_a_preprocessor_without_values_normalises_as_the_model_wants_it(model):
    segmentor = build(data_preprocessor={"type": "ClipPreProcessor"})
    scenes, data = batch((64, 80))
    wanted = model.segment(scenes[0], list(NAMES), size=(64, 80), templates="plain")
    np.testing.assert_array_equal(labels(segmentor.test_step(data))[0], wanted.array)
