"""Loading through open_clip: what fits, what does not, and what is said then."""

from __future__ import annotations

import json
import pickle

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from ovseg.clip import embedded
from ovseg.clip.models import load_clip
from ovseg.errors import UnsupportedModelError, UsageError, WeightsError

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def small_models(tmp_path_factory):
    """ovseg-a, ovseg-b (another width) and ovseg-pooled, as open_clip configs."""
    folder = tmp_path_factory.mktemp("configs")
    wide = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "width": 96}}
    pooled = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "pool_type": "avg"}}
    for name, config in (("ovseg-a", CONFIG), ("ovseg-b", wide), ("ovseg-pooled", pooled)):
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


@pytest.fixture
def weights():
    torch.manual_seed(3)
    return open_clip.create_model("ovseg-a").state_dict()


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_file_fills_the_model(weights, tmp_path, ending):
    path = tmp_path / f"weights.{ending}"
    if ending == "pt":
        torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}}, path)
    else:
        save_file({k: v.contiguous() for k, v in weights.items()}, path)
    loaded = load_clip("ovseg-a", str(path))
    assert all(torch.equal(v, loaded.clip.state_dict()[k]) for k, v in weights.items())
    assert not loaded.clip.training and loaded.size == 512


def test_openais_archive_brings_its_activation(weights, tmp_path):
    """OpenAI's files are TorchScript and QuickGELU: a plain name must not load them with GELU."""

    class Holder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = open_clip.create_model("ovseg-a")
            self.model.load_state_dict(weights)

        def forward(self, x):
            return self.model.visual.conv1(x)

    with pytest.warns(DeprecationWarning) if torch.__version__ >= "2.99" else _nothing():
        scripted = torch.jit.trace(Holder().eval(), torch.zeros(1, 3, 32, 32), check_trace=False)
    path = tmp_path / "archive.pt"
    torch.jit.save(scripted.model, path)
    try:
        loaded = load_clip("ovseg-a", str(path))
    except WeightsError as error:  # a trace keeps only what it used: said, not ignored
        assert "does not fit" in str(error)
    else:
        assert "QuickGELU" in repr(loaded.clip.visual)


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_another_architecture_is_one_line(tmp_path, ending):
    path = tmp_path / f"other.{ending}"
    state = open_clip.create_model("ovseg-b").state_dict()
    if ending == "pt":
        torch.save(state, path)
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    with pytest.raises(
        WeightsError, match="wanted weights of ovseg-a.*does not fit: size mismatch"
    ) as caught:
        load_clip("ovseg-a", str(path))
    assert "\n" not in str(caught.value)


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("the pickle's code was run",))


def test_a_pickle_with_code_is_not_loaded(tmp_path):
    torch.save({"state_dict": Harmful()}, tmp_path / "code.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Harmful()))
    for name in ("code.pt", "plain.pkl"):
        with pytest.raises(WeightsError, match=name):
            load_clip("ovseg-a", str(tmp_path / name))


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"PK\x03\x04rest"], ids=["empty", "zeros", "cut zip"]
)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_rubbish_is_one_line(tmp_path, content, ending):
    path = tmp_path / f"rubbish.{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="rubbish") as caught:
        load_clip("ovseg-a", str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(name="ViT-B-61"), "unknown model 'ViT-B-61'.*did you mean ViT-B-16"),
        (dict(name="ViT-B-16", weights="opnai"), "unknown weights 'opnai' for ViT-B-16.*openai"),
        (dict(name="tiny", weights="openai"), "wanted no weights, got 'openai'"),
        (dict(precision="fp64"), "unknown precision 'fp64'.*bf16"),
        (dict(precision="fp16"), "fp16 wanted a GPU"),
        (dict(device="gpu"), "unknown device 'gpu'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_misuse(arguments, message):
    with pytest.raises(UsageError, match=message):
        load_clip(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_no_gpu():
    with pytest.raises(UsageError, match="wanted device cuda, this machine offers cpu only"):
        load_clip(device="cuda")


def test_missing_weights():
    with pytest.raises(WeightsError, match="no/such.pt does not exist"):
        load_clip("ovseg-a", "no/such.pt")
    with pytest.raises(WeightsError, match="ovseg models pull ViT-B-16 openai"):
        load_clip("ViT-B-16", "openai", offline=True)


def test_a_tower_without_class_token_is_refused():
    with pytest.raises(UnsupportedModelError, match="avg pooling"):
        load_clip("ovseg-pooled", "random")


def test_precision_is_the_image_towers():
    loaded = load_clip("tiny", precision="bf16")
    assert loaded.clip.visual.conv1.weight.dtype == torch.bfloat16
    assert loaded.clip.token_embedding.weight.dtype == torch.float32


def test_the_embedded_model_is_small_and_whole(tmp_path):
    assert embedded.asset_path().stat().st_size < 12e6
    clip = embedded.load()
    used = clip.token_embedding.weight.abs().sum(dim=-1) > 0
    assert 100 < used.sum() < 2000  # only rows that training touched are stored
    assert all(torch.isfinite(v).all() for k, v in clip.state_dict().items() if k != "attn_mask")
    with pytest.raises(WeightsError, match="reinstall"):
        embedded.load(tmp_path / "none.safetensors")
