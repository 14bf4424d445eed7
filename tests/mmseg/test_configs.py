"""Every config under every method, built with the embedded model in place of the weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.apis import init_model

import ovseg.mmseg.segmentor
from ovseg.clip.attention import METHODS
from ovseg.clip.models import load_clip
from ovseg.mmseg.datasets import VOCABULARIES
from ovseg.mmseg.evaluate import load_config
from ovseg.vocabulary import load_vocabulary

ROOT = Path(__file__).parents[2]
LEAVES = sorted(path for path in (ROOT / "configs").glob("*/*.py") if path.parent.name != "_base_")
BENCHMARKS = [path for path in LEAVES if path.parent.name in ("paper", "peers")]
EMBEDDED = {"model.backbone": "tiny", "model.weights": None}
SHORT_SIDES = {"coco_stuff164k": 448, "cityscapes": 560}  # 336 elsewhere
THRESHOLDS = {"voc21": 0.1, "pascal_context60": 0.1, "coco_object": 0.1}


def named(path: Path) -> tuple[str, str, str]:
    """Protocol, vocabulary and size that a leaf's name says."""
    method, backbone, rest = path.stem.split("_", 2)
    assert (method, backbone) == ("clip-surgery", "vit-b16")
    return path.parent.name, *rest.rsplit("-", 1)


def test_each_benchmark_has_a_leaf_under_each_protocol():
    found = {named(path)[:2] for path in BENCHMARKS}
    assert found == {(p, v) for p in ("paper", "peers") for v in VOCABULARIES.values()}
    assert len(BENCHMARKS) == 16
    assert all(len(path.read_text().splitlines()) <= 10 for path in LEAVES)


@pytest.fixture
def loaded_once(monkeypatch):
    """The embedded model is read from its file once, not for each segmentor."""
    monkeypatch.setattr(ovseg.mmseg.segmentor, "load_clip", cache(load_clip))


def test_every_config_builds_under_every_method(loaded_once):
    built = 0
    for path in LEAVES:
        config = Config.fromfile(path)
        for method in METHODS:
            options = {**EMBEDDED, "model.method": method, "model.cache": False}
            segmentor = init_model(config, device="cpu", cfg_options=options)
            assert segmentor.core.method is METHODS[method] and not segmentor.training
            built += 1
    assert built == len(LEAVES) * len(METHODS) >= 16 * 9


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_leaf_is_what_its_name_and_its_protocol_say(path):
    protocol, vocabulary, size = named(path)
    config = Config.fromfile(path)
    model, data = config.model, config.test_dataloader.dataset
    assert config.protocol == protocol and model.vocabulary == vocabulary
    assert VOCABULARIES[data.type] == vocabulary
    assert (model.backbone, model.weights) == ("ViT-B-16-quickgelu", "openai")
    assert model.method == "clip_surgery"
    assert [step.type for step in data.pipeline] == [
        "LoadImageFromFile",
        "LoadAnnotations",
        "ClipResize",
        "PackSegInputs",
    ]
    resize = data.pipeline[2]
    assert config.test_pipeline == data.pipeline and resize.get("scored", "original") == "original"
    views = config.tta_pipeline[2].transforms
    assert views[0] == [resize] and len(views[1]) == 2
    if protocol == "paper":
        assert f"{resize.size[0]}x{resize.size[1]}" == size
        assert (model.templates, model.background) == ("paper", None)
        slides = {"mode": "slide", "window": 512, "stride": 512} if vocabulary == "cityscapes" else {}
        assert {**{"mode": "whole"}, **slides}.items() <= dict(model).items()
    else:
        assert resize.short_side == SHORT_SIDES.get(vocabulary, 336) and size == f"short{resize.short_side}"
        assert resize.interpolation == "bilinear"
        wanted = {"mode": "slide", "window": 224, "stride": 112, "logit_scale": 40.0, "templates": "imagenet"}
        assert wanted.items() <= dict(model).items() and model.background == THRESHOLDS.get(vocabulary)


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_leaf_gives_every_pixel_a_class(path, loaded_once):
    options = {**EMBEDDED, "model.cache": False, "model.templates": "plain"}
    segmentor = init_model(str(path), device="cpu", cfg_options=options)
    (found,) = segmentor.predict([torch.randn(3, 40, 56, generator=torch.Generator().manual_seed(0))])
    classes = len(load_vocabulary(segmentor.cfg.model.vocabulary))
    assert found.pred_sem_seg.data.shape == (1, 40, 56) and int(found.pred_sem_seg.data.max()) < classes
    assert found.seg_logits.data.shape == (classes, 40, 56)


def test_the_three_fields_are_changed_for_a_run():
    path = BENCHMARKS[0]
    config = load_config(path, {"model.logit_scale": 40}, "sclip", "ViT-L-14-quickgelu")
    assert (config.model.method, config.model.backbone, config.model.weights, config.model.logit_scale) == (
        "sclip",
        "ViT-L-14-quickgelu",
        "openai",
        40,
    )
    assert load_config(path, backbone="tiny").model.weights is None
    assert load_config(path, backbone="RN50-quickgelu", weights="mine.pt").model.weights == "mine.pt"
