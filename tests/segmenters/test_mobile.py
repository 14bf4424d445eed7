"""MobileSAM, put together from timm and segment-anything, against outputs of its authors' code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import ovseg.segmenters.sam as family
from ovseg.errors import WeightsError
from ovseg.segmenters.load import load_segmenter
from ovseg.segmenters.sam import SegmentAnything, build_mobile, timm_name

TESTS = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("reference_mobile", TESTS / "reference" / "mobile.py")
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(TESTS / "data" / "mobile_sam.npz"))


@pytest.fixture(scope="module")
def official(golden) -> dict[str, torch.Tensor]:
    """A checkpoint with the names and shapes of the authors' model."""
    shapes = [tuple(map(int, text.split())) for text in golden["shapes"]]
    return {str(name): reference.tensor(str(name), shape) for name, shape in zip(golden["names"], shapes)}


def test_every_tensor_of_the_authors_has_its_place_and_no_place_is_left(official):
    wanted = {name: value.shape for name, value in build_mobile().state_dict().items()}
    assert {timm_name(name): value.shape for name, value in official.items()} == wanted
    assert len(wanted) == len(official) == 439
    assert sum(value.numel() for value in official.values()) == 10_140_231


def test_the_authors_outputs(golden, official, tmp_path, monkeypatch):
    torch.save(official, tmp_path / "mobile_sam.pt")
    monkeypatch.setattr(family, "build_mobile", lambda: build_mobile(reference.SIDE))
    segmenter = load_segmenter("mobile", tmp_path / "mobile_sam.pt")
    embedding = segmenter.encode(reference.image())
    features = embedding.features.image[0, ::16].numpy()
    assert features.std() > 0.01 and np.allclose(features, golden["features"], atol=1e-5)
    for key, prompt in {
        "points": {"points": reference.POINTS, "labels": reference.LABELS},
        "box": {"box": reference.BOX},
    }.items():
        found = segmenter.decode(embedding, **prompt)
        logits = golden[f"{key}_logits"]
        assert np.allclose(found.logits, logits, atol=1e-3 * np.abs(logits).max())
        assert np.allclose(found.scores, golden[f"{key}_scores"], atol=1e-3)
        masks = np.unpackbits(golden[f"{key}_masks"], count=found.masks.size).reshape(found.masks.shape)
        assert (found.masks != masks).mean() < 1e-3 and 0.05 < masks.mean() < 0.95


def test_a_checkpoint_of_another_model_is_one_clear_line(official, tmp_path):
    less = {name: value for name, value in official.items() if "neck" not in name}
    torch.save(less, tmp_path / "less.pt")
    with pytest.raises(
        WeightsError, match=r"expected weights of mobile, .*less.pt does not fit: Missing key"
    ):
        load_segmenter("mobile", tmp_path / "less.pt")
    torch.save({**official, "hf_token": torch.zeros(1)}, tmp_path / "more.pt")
    with pytest.raises(
        WeightsError, match=r"expected weights of mobile, .*more.pt does not fit: Unexpected key"
    ):
        load_segmenter("mobile", tmp_path / "more.pt")


def test_random_weights_answer_at_full_size():
    segmenter = load_segmenter("mobile", "random")
    assert isinstance(segmenter, SegmentAnything) and segmenter.name == "mobile random"
    assert segmenter.sam.image_encoder.img_size == 1024
    assert segmenter.sam.image_encoder.body.stages[3].downsample.conv2.conv.stride == (1, 1)
