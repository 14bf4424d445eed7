"""GrabCut and SAM behind the protocol. SAM is the real package's classes, small and untrained."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from ovseg.errors import ImageError, UsageError
from ovseg.files.cache import KEPT
from ovseg.segmenters.base import MaskSet
from ovseg.segmenters.grabcut import GrabCut
from ovseg.segmenters.prompts import Prompt
from ovseg.segmenters.sam import SegmentAnything


def small_sam(seed: int = 0) -> Sam:
    torch.manual_seed(seed)
    return Sam(
        ImageEncoderViT(64, 8, embed_dim=16, depth=1, num_heads=2, out_chans=32, use_rel_pos=True),
        PromptEncoder(32, (8, 8), (64, 64), 16),
        MaskDecoder(transformer_dim=32, transformer=TwoWayTransformer(2, 32, 2, 64)),
    ).eval()


@pytest.fixture(scope="module")
def sam() -> SegmentAnything:
    return SegmentAnything(small_sam(), "small")


@pytest.fixture
def disk() -> tuple[np.ndarray, np.ndarray]:
    """A red disk at (60, 50) on noisy green, (image, mask)."""
    rng = np.random.default_rng(0)
    image = np.full((120, 160, 3), (40, 150, 60), np.uint8)
    cv2.circle(image, (60, 50), 24, (200, 40, 40), -1)
    mask = image[..., 0] == 200
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8), mask


def iou(one: np.ndarray, two: np.ndarray) -> float:
    return float((one & two).sum() / max(1, (one | two).sum()))


# ------------------------------------------------------------------------------------------- GrabCut


@pytest.mark.parametrize("factor", [1, 4])
def test_grabcut_finds_the_disk_from_clicks_or_a_box(disk, factor):
    image, mask = (cv2.resize(a.astype(np.uint8), None, fx=factor, fy=factor) for a in disk)
    segmenter = GrabCut()
    embedding = segmenter.encode(image)
    prompts = [
        {"points": [(60 * factor, 50 * factor)], "labels": [1]},
        {"points": [(60 * factor, 50 * factor), (120 * factor, 100 * factor)], "labels": [1, 0]},
        {"box": (30 * factor, 20 * factor, 90 * factor, 80 * factor)},
    ]
    for prompt in prompts:
        found = segmenter.decode(embedding, **prompt)
        assert found.masks.shape == (3, *image.shape[:2]) and found.masks.dtype == bool
        assert found.scores.shape == (3,) and found.scores.dtype == np.float32
        assert iou(found.masks[found.scores.argmax()], mask > 0) > 0.9


def test_grabcut_takes_a_map_and_its_own_logits_as_a_start(disk):
    image, mask = disk
    segmenter = GrabCut()
    embedding = segmenter.encode(image)
    rough = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 8)
    first = segmenter.decode(embedding, mask=segmenter.prior(embedding, rough))
    assert iou(first.masks[0], mask) > 0.9
    again = segmenter.decode(embedding, points=[(60, 50)], mask=first.logits[0])
    assert iou(again.masks[0], mask) > 0.9


def test_grabcut_is_the_same_every_time_whatever_opencv_drew_before(disk):
    segmenter = GrabCut()
    embedding = segmenter.encode(disk[0])
    first = segmenter.decode(embedding, points=[(60, 50)])
    cv2.setRNGSeed(7)
    cv2.randu(np.zeros((50, 50), np.uint8), 0, 255)
    again = GrabCut().decode(embedding, points=[(60, 50)])
    assert (first.masks == again.masks).all() and (first.scores == again.scores).all()


def test_a_background_click_takes_its_place_out(disk):
    image, _ = disk
    cv2.circle(image, (120, 80), 15, (200, 40, 40), -1)
    segmenter = GrabCut()
    embedding = segmenter.encode(image)
    for candidate in segmenter.decode(embedding, points=[(60, 50), (120, 80)], labels=[1, 0]).masks:
        assert candidate[50, 60] and not candidate[80, 120]


def test_a_grabcut_of_another_making_has_another_name(disk):
    """Equal names give equal masks: an embedding of one is none of the other's."""
    with pytest.raises(UsageError, match="expected an embedding of grabcut 64 1, got one of grabcut"):
        GrabCut(64, rounds=1).decode(GrabCut().encode(disk[0]), points=[(60, 50)])


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (3, 2), (16, 16)])
def test_grabcut_answers_for_tiny_and_flat_images(shape):
    segmenter = GrabCut()
    embedding = segmenter.encode(np.full((*shape, 3), 90, np.uint8))
    found = segmenter.decode(embedding, points=[(shape[1] - 0.5, shape[0] - 0.5)])
    assert found.masks.shape == (3, *shape) and np.isfinite(found.scores).all()
    assert segmenter.decode(embedding, box=(0, 0, shape[1], shape[0])).masks.shape == (3, *shape)


# ----------------------------------------------------------------------------------------------- SAM


@pytest.mark.parametrize("shape", [(40, 64), (90, 50), (64, 64), (300, 400)])
def test_sam_gives_what_the_packages_own_predictor_gives(sam, shape):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    predictor = SamPredictor(sam.sam)
    predictor.set_image(image)
    embedding = sam.encode(image)
    points, labels = np.array([[10.5, 20.0], [30.0, 5.0]]), np.array([1, 0])
    box = np.array([4, 5, 40, 30])
    low = rng.normal(size=(32, 32)).astype(np.float32)
    for ours, theirs in [
        ({"points": points, "labels": labels}, {"point_coords": points, "point_labels": labels}),
        ({"box": box}, {"box": box}),
        (
            {"points": points, "labels": labels, "box": box, "mask": low},
            {"point_coords": points, "point_labels": labels, "box": box, "mask_input": low[None]},
        ),
    ]:
        found = sam.decode(embedding, **ours)
        masks, scores, logits = predictor.predict(**theirs)
        assert np.array_equal(found.masks, masks) and found.masks.shape == (3, *shape)
        assert np.allclose(found.scores, scores, atol=1e-6) and np.allclose(found.logits, logits, atol=1e-5)


def test_two_images_at_once_do_not_disturb_each_other(sam):
    one, two = (np.random.default_rng(s).integers(0, 256, (40, 60, 3), dtype=np.uint8) for s in (3, 4))
    first = sam.encode(one)
    before = sam.decode(first, points=[(5, 5)]).logits
    sam.decode(sam.encode(two), points=[(9, 9)])
    assert np.array_equal(sam.decode(first, points=[(5, 5)]).logits, before)


def test_a_prior_lies_in_sams_padded_frame(sam):
    embedding = sam.encode(np.zeros((30, 60, 3), np.uint8))
    values = np.zeros((30, 60), np.float32)
    values[:, 30:] = 1
    logits = sam.prior(embedding, values)
    assert logits.shape == (32, 32) and (logits[:16, 17:] > 0).all() and (logits[:16, :15] < 0).all()
    assert (logits[16:] < 0).all()
    assert sam.decode(embedding, mask=logits).masks.shape == (3, 30, 60)


def test_a_strip_that_sam_would_shrink_to_nothing_is_one_clear_line(sam):
    with pytest.raises(ImageError, match=r"sides within 1:128 for SAM, got 200 x 1 pixels"):
        sam.encode(np.zeros((1, 200, 3), np.uint8))
    assert sam.encode(np.zeros((1, 120, 3), np.uint8)).features.input_size == (1, 64)


# ----------------------------------------------------------------------------------- what all share


@pytest.mark.parametrize("kind", ["grabcut", "sam"])
def test_the_same_pixels_are_encoded_once_and_few_are_kept(kind, monkeypatch):
    segmenter = GrabCut() if kind == "grabcut" else SegmentAnything(small_sam(), "counted")
    calls = []
    encode = segmenter._encode
    monkeypatch.setattr(segmenter, "_encode", lambda image: calls.append(1) or encode(image))
    images = [np.full((20, 30, 3), value, np.uint8) for value in range(KEPT + 1)]
    assert segmenter.encode(images[0]) is segmenter.encode(images[0].copy())
    assert len(calls) == 1
    segmenter.encode(images[0].reshape(30, 20, 3))  # the same bytes in another shape
    assert len(calls) == 2
    for image in images:
        segmenter.encode(image)
    assert len(calls) == 2 + KEPT and len(segmenter._embeddings) == KEPT
    segmenter.encode(images[0])
    assert len(calls) == 3 + KEPT  # it had gone


def test_a_view_that_runs_backwards_comes_to_the_encoder_as_its_copy(monkeypatch):
    """OpenCV's BGR turned to RGB is one, and torch takes none."""
    segmenter, seen = GrabCut(), []
    monkeypatch.setattr(segmenter, "_encode", seen.append)
    view = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)[:, ::-1, ::-1]
    segmenter.encode(view)
    segmenter.encode(view.copy())
    (got,) = seen
    assert np.array_equal(got, view) and got.flags.c_contiguous


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "expected a foreground point, a box or a mask, got none"),
        ({"points": []}, "expected a foreground point"),
        ({"points": [(3, 3)], "labels": [0]}, "expected a foreground point"),
        ({"points": [(30, 3)]}, r"inside the image of 30 x 20 pixels, got \(30, 3\)"),
        ({"points": [(-1, 3)]}, "expected a point inside"),
        ({"points": [(float("nan"), 3)]}, "expected a point inside"),
        ({"points": [(3, 3)], "labels": [1, 0]}, r"expected points \(P, 2\) and labels"),
        ({"points": [(3, 3)], "labels": [2]}, "expected labels 1 and 0"),
        ({"box": (5, 5, 5, 9)}, "expected a box with an area"),
        ({"box": (50, 5, 60, 9)}, "expected a box with an area"),
        ({"box": (9, 9, 5, 5)}, "expected a box with an area"),
        ({"box": (1, 2, 3)}, "expected a box"),
        ({"mask": np.zeros(3)}, "expected logits"),
    ],
)
def test_wrong_prompts_are_one_clear_line(sam, prompt, message):
    image = np.zeros((20, 30, 3), np.uint8)
    for segmenter in (GrabCut(), sam):
        with pytest.raises(UsageError, match=message):
            segmenter.decode(segmenter.encode(image), **prompt)


def test_wrong_images_and_strangers_embeddings(sam):
    for bad in (np.zeros((20, 30), np.uint8), np.zeros((20, 30, 4), np.uint8), np.zeros((2, 3, 3)), "x.jpg"):
        with pytest.raises(UsageError, match="expected an"):
            sam.encode(bad)
    with pytest.raises(UsageError, match="expected an embedding of grabcut, got one of small"):
        GrabCut().decode(sam.encode(np.zeros((20, 30, 3), np.uint8)), points=[(1, 1)])


# --------------------------------------------------------------------------------- several prompts


def several() -> list[Prompt]:
    low = np.random.default_rng(3).normal(size=(32, 32)).astype(np.float32)
    return [
        Prompt([(5, 5)]),
        Prompt([(9, 12), (30, 15)], [1, 0]),
        Prompt([(20, 3)]),
        Prompt(box=(4, 5, 40, 30)),
        Prompt([(8, 9)], box=(2, 2, 30, 30)),
        Prompt([(50, 30)]),
        Prompt([(20, 20)], mask=low),
        Prompt(box=(10, 5, 20, 30)),
    ]


@pytest.mark.parametrize("kind", ["grabcut", "sam"])
def test_prompts_decoded_together_give_what_they_give_alone(sam, kind, disk):
    segmenter = GrabCut() if kind == "grabcut" else sam
    prompts = several()[:2] if kind == "grabcut" else several()  # GrabCut only takes them one by one
    embedding = segmenter.encode(disk[0])
    together = segmenter.decode_many(embedding, prompts)
    assert len(prompts) >= 2 and segmenter.decode_many(embedding, []) == []
    for prompt, found in zip(prompts, together, strict=True):
        alone = segmenter.decode(embedding, prompt.points, prompt.labels, prompt.box, prompt.mask)
        assert np.allclose(found.logits, alone.logits, atol=1e-5)
        assert np.allclose(found.scores, alone.scores, atol=1e-6)
        assert (found.masks != alone.masks).mean() < 1e-3


def test_sam_decodes_prompts_of_one_form_in_one_call_and_pads_none(sam, disk, monkeypatch):
    """Padded points change the logits, so that prompts of other lengths are calls of their own."""
    calls, inner = [], sam.sam.prompt_encoder.forward

    def counted(points, boxes, masks):
        calls.append(len(points[0]) if points is not None else len(boxes))
        assert points is None or (points[1] >= 0).all()  # -1 marks padding
        return inner(points, boxes, masks)

    monkeypatch.setattr(sam.sam.prompt_encoder, "forward", counted)
    embedding = sam.encode(disk[0])
    sam.decode_many(embedding, several())
    assert sorted(calls) == [1, 1, 1, 2, 3]
    calls.clear()
    sam.decode_many(embedding, [Prompt([(k, k)]) for k in range(70)])
    assert calls == [32, 32, 6]


@pytest.mark.parametrize("kind", ["grabcut", "sam"])
def test_several_boxes_in_one_call(sam, kind, disk):
    segmenter = GrabCut() if kind == "grabcut" else sam
    boxes = [(30, 20, 90, 80), (100, 60, 300, 110)]  # the second is cut to the image
    found = segmenter.segment_boxes(disk[0], boxes)
    alone = [segmenter.decode(segmenter.encode(disk[0]), box=box) for box in boxes]
    assert [one.masks.shape for one in found] == [(3, 120, 160)] * 2
    assert all(np.allclose(one.logits, two.logits, atol=1e-5) for one, two in zip(found, alone, strict=True))
    assert segmenter.segment_boxes(segmenter.encode(disk[0]), np.zeros((0, 4))) == []
    again = segmenter.segment_boxes(segmenter.encode(disk[0]), torch.tensor(boxes))
    assert (again[0].masks == found[0].masks).all()


def test_masks_are_enlarged_when_they_are_asked_for(sam, disk):
    for segmenter in (GrabCut(), sam):
        found = segmenter.decode(segmenter.encode(disk[0]), [(60, 50)])
        assert len(found) == 3 and found.best == found.scores.argmax()
        assert all((found.mask(k) == found.masks[k]).all() for k in range(3))
        assert found.at((30, 40)).shape == (3, 30, 40)
        assert iou(found.at((60, 80))[0], found.masks[0][::2, ::2]) > 0.8
    with pytest.raises(ValueError, match="expected logits"):
        MaskSet(found.logits, found.scores[:1], found.size, found.enlarge)
