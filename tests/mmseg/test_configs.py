"""Every config held to a table of the published protocols, and built with the embedded model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.apis import init_model

import ovseg.mmseg.segmentor
from ovseg.clip.attention import METHODS
from ovseg.clip.models import load_clip
from ovseg.errors import UsageError
from ovseg.mmseg.datasets import VOCABULARIES
from ovseg.mmseg.evaluate import load_config, mirrored
from ovseg.words.vocabulary import load_vocabulary

CONFIGS = Path(__file__).parents[2] / "configs"
LEAVES = sorted(path for path in CONFIGS.glob("*/*.py") if path.parent.name != "_base_")
EMBEDDED = {"model.backbone": "tiny", "model.weights": None, "model.cache": False}
PHOTOS = {
    "tiny": ("camvid", "coco_things_val", "msrc_v2"),
    "small": ("ade20k", "camvid", "coco_things_val", "msrc_v2", "voc20", "voc21"),
}


@dataclass(frozen=True)
class Wanted:
    """What a leaf decides: size of the input, windows, scale of the softmax, thresholds and names."""

    names: str
    size: int | tuple[int, int]  # the short side, or height and width
    window: int | None
    stride: int | None
    scale: float
    threshold: float | None = None
    area: float = 0.0


# Written from the peers' published configs, not from ours. The columns are those of Wanted.
TABLE = {
    "paper": {
        "voc21": Wanted("voc21", (512, 512), None, None, 50),
        "voc20": Wanted("voc20", (512, 512), None, None, 50),
        "pascal_context60": Wanted("pascal_context60", (512, 512), None, None, 50),
        "pascal_context59": Wanted("pascal_context59", (512, 512), None, None, 50),
        "coco_object": Wanted("coco_object", (512, 512), None, None, 50),
        "coco_stuff164k": Wanted("coco_stuff164k", (512, 512), None, None, 50),
        "cityscapes": Wanted("cityscapes", (1024, 2048), 512, 512, 50),
        "ade20k": Wanted("ade20k", (512, 512), None, None, 50),
    },
    "common": {
        "voc21": Wanted("voc21", 336, 224, 112, 40, 0.1),
        "voc20": Wanted("voc20", 336, 224, 112, 40),
        "pascal_context60": Wanted("pascal_context60", 336, 224, 112, 40, 0.1),
        "pascal_context59": Wanted("pascal_context59", 336, 224, 112, 40),
        "coco_object": Wanted("coco_object", 336, 224, 112, 40, 0.1),
        "coco_stuff164k": Wanted("coco_stuff164k", 448, 224, 112, 40),
        "cityscapes": Wanted("cityscapes", 560, 224, 112, 40),
        "ade20k": Wanted("ade20k", 336, 224, 112, 40),
    },
    "sclip": {
        "voc21": Wanted("voc21_sclip", 336, 224, 112, 65, 0.1, 0.1),
        "voc20": Wanted("voc20_sclip", 336, 224, 112, 40),
        "pascal_context60": Wanted("context60_sclip", 336, 224, 112, 50, 0.1),
        "pascal_context59": Wanted("context59_sclip", 336, 224, 112, 40),
        "coco_object": Wanted("coco_object_sclip", 336, 224, 112, 50, 0.1),
        "coco_stuff164k": Wanted("coco_stuff164k_sclip", 448, 224, 112, 40),
        "cityscapes": Wanted("cityscapes_sclip", 560, 224, 112, 40),
        "ade20k": Wanted("ade20k_sclip", 336, 224, 112, 40),
    },
    "naclip": {
        "voc21": Wanted("voc21_sclip", 336, None, None, 40, 0.1),
        "voc20": Wanted("voc20_sclip", 336, None, None, 40),
        "pascal_context60": Wanted("context60_sclip", 336, 224, 112, 40, 0.1),
        "pascal_context59": Wanted("context59_sclip", 336, 224, 112, 40),
        "coco_object": Wanted("coco_object_sclip", 336, 224, 112, 40, 0.1),
        "coco_stuff164k": Wanted("coco_stuff164k_sclip", 336, 224, 112, 40),
        "cityscapes": Wanted("cityscapes_sclip", 560, 224, 112, 40),
        "ade20k": Wanted("ade20k_sclip", 336, 224, 112, 40),
    },
    "clearclip": {
        "voc21": Wanted("voc21_clearclip", 448, 448, 224, 50, 0.5),
        "voc20": Wanted("voc20_clearclip", 448, 448, 224, 50),
        "pascal_context60": Wanted("context60_sclip", 448, 448, 224, 50, 0.15),
        "pascal_context59": Wanted("context59_sclip", 448, 448, 224, 50),
        "coco_object": Wanted("coco_object_clearclip", 448, 448, 224, 50, 0.4),
        "coco_stuff164k": Wanted("coco_stuff164k_sclip", 448, 448, 224, 50),
        "cityscapes": Wanted("cityscapes_sclip", 448, 224, 224, 50),
        "ade20k": Wanted("ade20k_sclip", 448, 448, 224, 50),
    },
}
# family -> method, templates, interpolation
FAMILIES = {
    "paper": ("clip_surgery", "paper", "pillow"),
    "common": ("clip_surgery", "imagenet", "bilinear"),
    "sclip": ("sclip", "imagenet", "bilinear"),
    "naclip": ("naclip", "imagenet", "bilinear"),
    "clearclip": ("clearclip", "imagenet", "bilinear"),
}
TITLES = {
    "voc21": "VOC 21",
    "voc20": "VOC 20",
    "pascal_context60": "Context 60",
    "pascal_context59": "Context 59",
    "coco_object": "COCO-Object",
    "coco_stuff164k": "COCO-Stuff",
    "cityscapes": "Cityscapes",
    "ade20k": "ADE20K",
}
ROWS = [(family, dataset) for family, rows in TABLE.items() for dataset in rows]


def leaf(family: str, dataset: str, model: str = "*") -> Path:
    """The one leaf of a family for a data set."""
    (found,) = (CONFIGS / family).glob(f"*_{model}_{dataset}-*.py")
    return found


@pytest.fixture
def loaded_once(monkeypatch):
    """The embedded model is read from its file once, not for each segmentor."""
    monkeypatch.setattr(ovseg.mmseg.segmentor, "load_clip", cache(load_clip))


def test_each_protocol_has_a_leaf_for_each_benchmark_and_there_are_no_others():
    assert {dataset for _, dataset in ROWS} == set(VOCABULARIES.values())
    wanted = [leaf(*row) for row in ROWS] + [
        leaf("photos", name, model) for model, names in PHOTOS.items() for name in names
    ]
    assert sorted(wanted) == LEAVES and len(LEAVES) == 5 * 8 + 3 + 6


@pytest.mark.parametrize("family, dataset", ROWS)
def test_a_leaf_says_what_its_protocol_was_published_with(family, dataset):
    path, wanted = leaf(family, dataset), TABLE[family][dataset]
    method, templates, interpolation = FAMILIES[family]
    config = Config.fromfile(path)
    model, data = config.model, config.test_dataloader.dataset
    assert config.protocol == family and VOCABULARIES[data.type] == dataset
    assert (model.method, model.backbone, model.weights) == (method, "ViT-B-16-quickgelu", "openai")
    found = (model.vocabulary, model.window, model.stride, model.logit_scale, model.background_threshold)
    assert found == (wanted.names, wanted.window, wanted.stride, wanted.scale, wanted.threshold)
    assert model.get("area_threshold", 0.0) == wanted.area
    assert model.templates == templates and model.get("synonyms", "probability") == "probability"
    resize = data.pipeline[2]
    assert resize.get("size", resize.get("short_side")) == wanted.size
    assert resize.interpolation == interpolation and resize.get("long_side", 2048) == 2048


def settings(wanted: Wanted) -> str:
    """A row of the table as docs/protocols.md writes it."""
    window = f"{wanted.window}/{wanted.stride}" if wanted.window else "whole images"
    cells = [f"{wanted.size}", window, f"{wanted.scale:g}"]
    cells += [f"{wanted.threshold:g}"] if wanted.threshold is not None else []
    return "; ".join(cells + ([f"area {wanted.area:g}"] if wanted.area else []))


def test_the_page_states_the_same_settings():
    page = (CONFIGS.parent / "docs/protocols.md").read_text("utf-8")
    families = ("common", "sclip", "naclip", "clearclip")
    for dataset, title in TITLES.items():
        cells = [settings(TABLE[family][dataset]) for family in families]
        lines = page.replace("¹", "").replace("²", "").splitlines()
        assert f"| {title} | {' | '.join(cells)} |" in lines


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_leaf_is_short_and_its_name_says_method_backbone_data_set_and_size(path):
    assert len(path.read_text().splitlines()) <= 9
    config = Config.fromfile(path)
    method, backbone, rest = path.stem.split("_", 2)
    dataset, size = rest.rsplit("-", 1)
    assert config.model.method == method.replace("-", "_")
    assert config.model.backbone == {"vit-b16": "ViT-B-16-quickgelu"}.get(backbone, backbone)
    resize = config.test_pipeline[2]
    assert size == ("{}x{}".format(*resize.size) if "size" in resize else f"short{resize.short_side}")
    data = config.test_dataloader.dataset
    assert data.test_mode and data.data_prefix.img_path and data.data_prefix.seg_map_path
    assert config.test_dataloader.batch_size == 1 and config.test_evaluator.type == "ExactIoUMetric"
    assert dataset in PHOTOS.get(backbone, ()) or VOCABULARIES[data.type] == dataset


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_pipeline_is_the_same_everywhere_and_inference_uses_it_too(path):
    config = Config.fromfile(path)
    steps = config.test_dataloader.dataset.pipeline
    assert [step.type for step in steps] == [
        "LoadImageFromFile",
        "LoadAnnotations",
        "ClipResize",
        "PackSegInputs",
    ]
    assert config.test_pipeline == steps and steps[2].get("scored", "original") == "original"
    views = mirrored(steps)
    assert views[:3] == steps[:3] and views[3]["transforms"][1] == [steps[3]]


def test_no_block_of_three_lines_is_written_twice_in_the_base_configs():
    blocks = Counter()
    files = sorted((CONFIGS / "_base_").rglob("*.py"))
    for path in files:
        lines = [line.strip() for line in path.read_text().splitlines()]
        lines = [line for line in lines if line.strip(" ()[]{},") and not line.endswith("dict(")]
        blocks.update(set(zip(lines, lines[1:], lines[2:])))
    assert len(files) >= 15 and blocks
    assert [block for block, count in blocks.items() if count > 1] == []


def test_labels_are_scored_at_the_inputs_size_by_one_option():
    option = {"test_dataloader.dataset.pipeline.2.scored": "input"}
    config = load_config(leaf("paper", "voc21"), option)
    assert config.test_dataloader.dataset.pipeline[2].scored == "input"
    assert "pipelines" not in config  # a record holds the pipeline that was run and not the others


@pytest.mark.parametrize("pipeline", [[], [{"type": "ClipResize", "size": 8}], [{}]])
def test_views_need_a_pipeline_that_packs_its_inputs(pipeline):
    with pytest.raises(UsageError, match="--tta needs a pipeline that ends in PackSegInputs, got "):
        mirrored(pipeline)


def test_every_config_builds_under_every_method(loaded_once):
    built = 0
    for path in LEAVES:
        config = Config.fromfile(path)
        for method in METHODS:
            segmentor = init_model(config, device="cpu", cfg_options={**EMBEDDED, "model.method": method})
            assert segmentor.core.method is METHODS[method] and not segmentor.training
            built += 1
    assert built == len(LEAVES) * len(METHODS) >= 43 * 8


def predict(path: Path, size: tuple[int, int] = (40, 56), **options) -> torch.Tensor:
    """The label map (H, W) of one random picture by the embedded model with plain templates."""
    fields = {f"model.{name}": value for name, value in options.items()}
    settings = {**EMBEDDED, "model.templates": "plain", **fields}
    segmentor = init_model(str(path), device="cpu", cfg_options=settings)
    picture = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
    (found,) = segmentor.predict([picture])
    classes = len(load_vocabulary(segmentor.cfg.model.vocabulary))
    assert found.seg_logits.data.shape == (classes, *size)
    labels = found.pred_sem_seg.data
    assert labels.shape == (1, *size) and int(labels.max()) < classes
    return labels[0]


@pytest.mark.parametrize("family, dataset", ROWS)
def test_a_leaf_gives_every_pixel_a_class(family, dataset, loaded_once):
    predict(leaf(family, dataset))


def test_sclips_area_rule_is_in_its_leaf_of_voc_21(loaded_once):
    path = leaf("sclip", "voc21")
    fields = {"background_threshold": None, "window": 32, "stride": 16}
    before = predict(path, (96, 128), area_threshold=0.0, **fields)
    after = predict(path, (96, 128), **fields)
    counts = torch.bincount(before.flatten(), minlength=21)
    small = [k for k in range(1, 21) if 0 < counts[k] <= 0.1 * counts[1:].sum()]
    assert small and not set(small) & set(after.unique().tolist())


def test_without_a_threshold_the_scale_of_the_softmax_decides_nothing(loaded_once):
    """docs/protocols.md says so of VOC 20, where two sources give SCLIP another scale."""
    path = leaf("sclip", "voc20")
    wanted = predict(path)
    assert torch.equal(predict(path, logit_scale=40.0), wanted) and len(wanted.unique()) > 1


def test_the_three_fields_are_changed_for_a_run():
    path = leaf("paper", "ade20k")
    config = load_config(path, {"model.logit_scale": 40}, "sclip", "ViT-L-14-quickgelu")
    assert (config.model.method, config.model.backbone, config.model.weights, config.model.logit_scale) == (
        "sclip",
        "ViT-L-14-quickgelu",
        "openai",
        40,
    )
    assert load_config(path, backbone="tiny").model.weights is None
    assert load_config(path, backbone="RN50-quickgelu", weights="mine.pt").model.weights == "mine.pt"
