"""Every architecture that open_clip lists, by its config alone: what is read, and what of the rest."""

from __future__ import annotations

import runpy
from pathlib import Path

import open_clip
import pytest
import torch

from ovseg.clip.attention import METHODS
from ovseg.clip.build import unfilled_tower
from ovseg.clip.encoder import encode_image
from ovseg.clip.models import list_models, load_clip
from ovseg.clip.towers import tower_of
from ovseg.errors import UnsupportedModelError

ROOT = Path(__file__).parents[3]
# Wanted by no weights that open_clip knows.
UNREAD = {
    "swin_base_patch4_window7_224": "got SwinTransformer",
    "vit_relpos_medium_patch16_cls_224": "got VisionTransformerRelPos",
}


def test_the_table_of_the_docs_is_what_the_configs_give():
    tool = runpy.run_path(str(ROOT / "tools" / "list_models.py"))
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    if f"open_clip {open_clip.__version__}:" not in page:
        pytest.skip("the table is of another version of open_clip")
    assert tool["with_tables"](page) == page, "run: python tools/list_models.py --write"


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_is_said_in_one_line(name):
    with pytest.raises(
        UnsupportedModelError, match=f"expected timm's .* as the image tower, {UNREAD[name]}$"
    ):
        load_clip(name, "random")
    assert list_models()[name] == ()


@pytest.mark.parametrize("name", ["convnext_base", "MobileCLIP-S1"])
@pytest.mark.parametrize("method", ["clip_surgery", "segearth"])
def test_a_method_that_a_tower_cannot_take_is_refused_before_any_download(name, method, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("the hub was asked"))
    monkeypatch.setattr("ovseg.clip.released.build_clip", lambda *_, **__: pytest.fail("a model was built"))
    for weights in ("random", list_models()[name][0]):
        with pytest.raises(UnsupportedModelError, match="expected method 'clip' or 'maskclip'"):
            load_clip(name, weights, method=METHODS[method])


GIANTS = {
    "ViT-bigG-14-CLIPA": "clip_surgery",
    "coca_ViT-L-14": "clip_surgery",
    "ViT-gopt-16-SigLIP2-256": "clip_surgery",
    "MobileCLIP2-L-14": "clip_surgery",
    "ViTamin-XL-256": "clip_surgery",
    "EVA02-E-14": "clip_surgery",
    "PE-Core-bigG-14-448": "clip_surgery",
    "convnext_xxlarge": "clip",
    "MobileCLIP2-S4": "clip",
}


@pytest.mark.parametrize("name", GIANTS)
def test_the_largest_of_each_family_is_encoded_without_memory(name):
    """Shapes only: the largest towers have gigabytes of weights."""
    config = open_clip.get_model_config(name)
    visual = unfilled_tower(config)
    with torch.device("meta"), torch.no_grad():
        height, width = tower_of(visual).patch_size
        found = encode_image(visual, torch.empty(2, 3, 3 * height, 5 * width), METHODS[GIANTS[name]])
    assert found.grid == (3, 5) and found.patches.shape == (2, 15, config["embed_dim"])
