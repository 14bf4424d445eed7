"""Loading through open_clip: what fits, what does not, and what is said then."""

from __future__ import annotations

import json
import logging
import math
import pickle
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file

import ovseg
from ovseg.clip import embedded
from ovseg.clip.build import PARTS, build_tokenizer
from ovseg.clip.config import check_config
from ovseg.clip.loaded import MEAN, STD
from ovseg.clip.models import list_models, load_clip
from ovseg.errors import UnsupportedModelError, UsageError, WeightsError
from ovseg.segmenters.load import load_segmenter
from ovseg.weights import checkpoints, network, store
from ovseg.weights.files import file_digest, state_digest

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def small_models(tmp_path_factory, add_model_configs):
    """ovseg-a, ovseg-b (another width) and ovseg-pooled, as open_clip configs."""
    folder = tmp_path_factory.mktemp("configs")
    wide = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "width": 96}}
    pooled = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "pool_type": "none"}}
    for name, config in (("ovseg-a", CONFIG), ("ovseg-b", wide), ("ovseg-pooled", pooled)):
        (folder / f"{name}.json").write_text(json.dumps(config))
    add_model_configs(folder)


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
    assert loaded.weights.describe() == {"given": str(path), "file": str(path), "sha256": file_digest(path)}
    assert load_clip("ovseg-a", path).file == path


class Whole(torch.nn.Module):
    """All of a CLIP in one forward: a trace keeps only what it used."""

    def __init__(self, clip):
        super().__init__()
        self.clip = clip

    def forward(self, pixels, tokens):
        clip = self.clip
        return clip.encode_image(pixels), clip.encode_text(tokens), clip.logit_scale.exp()


def archive(path, model, how):
    """``model`` as OpenAI published theirs: a TorchScript archive, traced or scripted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "scripted":
            made = torch.jit.script(model)
        else:
            example = torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long)
            made = torch.jit.trace(Whole(model).eval(), example, check_trace=False).clip
        torch.jit.save(made, path)
        return torch.jit.load(path).state_dict()


@pytest.mark.parametrize("how", ["traced", "scripted"])
@pytest.mark.parametrize("half", [False, True])
def test_openais_archive_brings_its_weights_and_its_activation(weights, tmp_path, how, half):
    """OpenAI's files are TorchScript and QuickGELU: a plain name must not load them with GELU."""
    model = open_clip.create_model("ovseg-a").eval()
    model.load_state_dict(weights)
    wanted = archive(tmp_path / "archive.pt", model, how)
    if half:
        wanted = archive(tmp_path / "archive.pt", model.half(), "scripted")
    read = checkpoints.read(tmp_path / "archive.pt")
    assert read.scripted and set(read.state) == set(wanted)
    assert all(torch.equal(read.state[key], value) for key, value in wanted.items())
    loaded = load_clip("ovseg-a", tmp_path / "archive.pt")
    assert "QuickGELU" in repr(loaded.clip.visual) and "QuickGELU" in repr(loaded.clip.transformer)
    state = loaded.clip.state_dict()
    assert len(state) == len(weights) > 20
    assert all(
        torch.equal(state[key], value.half().float() if half else value) for key, value in weights.items()
    )
    assert "QuickGELU" not in repr(load_clip("ovseg-a", "random").clip.visual)


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_another_architecture_is_one_line(tmp_path, ending):
    path = tmp_path / f"other.{ending}"
    state = open_clip.create_model("ovseg-b").state_dict()
    if ending == "pt":
        torch.save(state, path)
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    with pytest.raises(
        WeightsError, match="expected weights of ovseg-a.*does not fit: size mismatch"
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
        (
            dict(name="tiny", weights="openai"),
            "expected no weights, a file or 'random' for the embedded model, got 'openai'",
        ),
        (dict(precision="fp64"), "unknown precision 'fp64'.*bf16"),
        (dict(precision="fp16"), "fp16 needs a GPU"),
        (dict(device="gpu"), "unknown device 'gpu'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_misuse(arguments, message):
    with pytest.raises(UsageError, match=message):
        load_clip(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_no_gpu():
    with pytest.raises(UsageError, match="expected device cuda, this machine offers cpu only"):
        load_clip(device="cuda")


def test_missing_weights():
    with pytest.raises(WeightsError, match="no/such.pt does not exist"):
        load_clip("ovseg-a", "no/such.pt")
    with pytest.raises(WeightsError, match="ovseg models pull ViT-B-16 openai"):
        load_clip("ViT-B-16", "openai", offline=True)


def test_a_tower_without_pooling_is_refused():
    with pytest.raises(UnsupportedModelError, match="got none pooling"):
        load_clip("ovseg-pooled", "random")


def test_precision_is_the_image_towers():
    loaded = load_clip("tiny", precision="bf16")
    assert loaded.clip.visual.conv1.weight.dtype == torch.bfloat16
    assert loaded.clip.token_embedding.weight.dtype == torch.float32


def test_the_embedded_model_is_small_and_whole(tmp_path):
    assert embedded.asset_path("tiny").stat().st_size < 12e6
    clip = embedded.load("tiny")
    used = clip.token_embedding.weight.abs().sum(dim=-1) > 0
    assert 100 < used.sum() < 2000  # only rows that training touched are stored
    assert all(torch.isfinite(v).all() for k, v in clip.state_dict().items() if k != "attn_mask")
    with pytest.raises(WeightsError, match=r"none\.safetensors does not exist"):
        embedded.load("tiny", tmp_path / "none.safetensors")


def test_a_missing_asset_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "asset_path", lambda name: tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="reinstall ovseg"):
        embedded.load("tiny")


# ----------------------------------------------------------------------- names, and what each weights means


def test_what_the_weights_are_is_known(tmp_path):
    tiny = load_clip("tiny")
    assert (tiny.weights.given, tiny.weights.file, tiny.file) == (
        "embedded",
        *[embedded.asset_path("tiny")] * 2,
    )
    for name in ("tiny", "ovseg-a"):
        first, second = load_clip(name, "random"), load_clip(name, "random")
        assert first.weights.is_random and first.file is None
        assert first.weights.describe() == {"given": "random", "file": None, "sha256": None}
        assert state_digest(first.clip) != state_digest(second.clip)  # no seed: two are two
    before = state_digest(tiny.clip)
    assert before == state_digest(load_clip("tiny").clip)
    tiny.clip.load_state_dict(load_clip("tiny", "random").clip.state_dict())
    assert state_digest(tiny.clip) != before and tiny.weights.given == "embedded"


def test_a_real_model_without_weights_is_an_error():
    with pytest.raises(
        UsageError, match="expected weights for ViT-B-16: a tag, a file, or 'random'.*got none"
    ):
        load_clip("ViT-B-16")


@pytest.mark.parametrize(
    "arguments",
    [
        *[
            dict(name=wrong)
            for wrong in (None, 5, b"tiny", "", " ", ["tiny"], Path("tiny"), "a:b", "hf-hub:", "x\0")
        ],
        *[dict(weights=wrong) for wrong in (5, b"a.pt", "", ["a.pt"], "openai", 1.5, True)],
        *[dict(name="ovseg-a", weights=wrong) for wrong in (5, b"a.pt", "", "openai", None)],
        *[dict(offline=wrong) for wrong in (None, 1, "yes")],
        *[dict(precision=wrong) for wrong in (None, "fp64", torch.float32, 16)],
        *[
            dict(device=wrong)
            for wrong in (None, 0, "", "gpu", "cuda:", "cpu:x", "cuda:-1", torch.device("cpu"))
        ],
    ],
    ids=repr,
)
def test_a_wrong_argument_is_one_line_of_misuse(arguments):
    with pytest.raises(UsageError, match="expected|unknown|needs") as caught:
        load_clip(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "device", ["mps", "xpu", "hpu", "meta", "vulkan", "cuda:9", "xla", "npu", "privateuseone", "ipu"]
)
def test_a_device_that_is_not_here_is_one_line(device):
    for call in (lambda: load_clip(device=device), lambda: load_segmenter("tiny", device=device)):
        with pytest.raises(UsageError, match=f"device.* '?{device}") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_names_of_models_are_open_clips_and_the_embedded_one():
    found = list_models()
    assert found["tiny"] == () and "openai" in found["RN50"] and "ovseg-a" in found
    assert set(open_clip.list_models()) < set(found)


def test_loading_leaves_the_log_of_the_process_alone(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    load_clip("tiny")
    load_clip("ovseg-a", "random")
    assert logging.getLogger().handlers == []


# --------------------------------------------------------------- towers first, and text towers of the hub

HUB_TEXTS = (
    "roberta-ViT-B-32",
    "coca_roberta-ViT-B-32",
    "xlm-roberta-base-ViT-B-32",
    "xlm-roberta-large-ViT-H-14",
    "mt5-base-ViT-B-32",
    "mt5-xl-ViT-H-14",
    "nllb-clip-base",
    "nllb-clip-large",
    "ViT-L-14-worldwide",
    "ViT-L-14-worldwide-quickgelu",
    "ViT-H-14-worldwide",
    "ViT-H-14-worldwide-378",
    "ViT-H-14-worldwide-quickgelu",
    "ViT-bigG-14-worldwide",
    "ViT-bigG-14-worldwide-378",
)


@pytest.mark.parametrize("name", HUB_TEXTS)
def test_a_text_tower_of_the_hub_is_one_line_offline_and_asks_nothing(name, asked, tmp_path):
    for weights in ("random", tmp_path / "any.pt", *list_models()[name][:1]):
        with pytest.raises(WeightsError, match=f"expected the text tower of {name}: .* found none") as caught:
            load_clip(name, weights, offline=True)
        assert "\n" not in str(caught.value)
    assert asked == []


def test_there_are_fifteen_of_them():
    """Every model with an image tower as CLIP's own and a tokenizer of the hub is in the list above."""
    found = []
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        vision = config["vision_cfg"]
        other = (
            "timm_model_name" in vision
            or vision.get("attentional_pool")
            or vision.get("pool_type", "tok") != "tok"
        )
        if "hf_tokenizer_name" in config["text_cfg"] and not other:
            found.append(name)
    assert sorted(found) == sorted(HUB_TEXTS) and len(found) == 15


def test_online_the_hub_is_asked(monkeypatch):
    wanted = []

    def fetch(repository, **_):
        wanted.append(repository)
        raise OSError("not\nhere")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(WeightsError, match=r"text tower of roberta-ViT-B-32: .*not to be had .*\(not here\)"):
        load_clip("roberta-ViT-B-32", "random")
    assert wanted == ["roberta-base"]


@pytest.mark.parametrize("name", ["swin_base_patch4_window7_224", "vit_relpos_medium_patch16_cls_224"])
def test_the_image_tower_is_refused_before_anything_is_asked_or_built(name, asked, monkeypatch):
    monkeypatch.setattr(
        "ovseg.clip.released.build_tokenizer", lambda *_, **__: pytest.fail("a tokenizer was made")
    )
    monkeypatch.setattr("ovseg.clip.released.build_clip", lambda *_, **__: pytest.fail("a model was built"))
    for weights in ("random", *list_models()[name][:1]):
        with pytest.raises(UnsupportedModelError, match="expected|unknown|needs"):
            load_clip(name, weights)
    assert asked == []


# ------------------------------------------------------------------------------- hf-hub: and local-dir:


def folder_of(root, weights, **changes):
    """A model as open_clip writes it to a folder or a repository."""
    root.mkdir(parents=True)
    config = {
        "model_cfg": CONFIG,
        "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
        **changes,
    }
    (root / "open_clip_config.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in weights.items()}, root / "open_clip_model.safetensors")
    return root


def test_a_model_in_a_folder_is_loaded_with_its_normalisation(weights, tmp_path, asked):
    folder = folder_of(tmp_path / "Model.v1", weights)
    loaded = load_clip(f"local-dir:{folder}", offline=True)
    assert all(torch.equal(v, loaded.clip.state_dict()[k]) for k, v in weights.items())
    assert (loaded.mean, loaded.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert loaded.file == folder / "open_clip_model.safetensors" and loaded.name == f"local-dir:{folder}"
    assert load_clip(f"local-dir:{folder}", "random").weights.is_random
    (folder / "open_clip_model.safetensors").rename(folder / "mine.safetensors")
    assert load_clip(f"local-dir:{folder}").file.name == "mine.safetensors"
    torch.save(weights, folder / "other.pt")
    with pytest.raises(
        WeightsError, match="expected one file of weights in .*, got mine.safetensors, other.pt"
    ):
        load_clip(f"local-dir:{folder}")
    assert load_clip(f"local-dir:{folder}", folder / "other.pt").file.name == "other.pt"
    with pytest.raises(UsageError, match="has its own weights"):
        load_clip(f"local-dir:{folder}", "openai")
    assert asked == []


def test_a_model_in_a_folder_may_have_a_tower_of_timm(tmp_path, asked):
    config = {
        "embed_dim": 192,
        "init_logit_bias": -10,
        "vision_cfg": {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "map", "timm_proj": "none",
                       "timm_model_pretrained": False, "image_size": 224},
        "text_cfg": CONFIG["text_cfg"],
    }  # fmt: skip
    torch.manual_seed(0)
    made = CustomTextCLIP(**config).eval()
    folder = folder_of(tmp_path / "siglip", made.state_dict(), model_cfg={**config, "custom_text": True})
    model = ovseg.load_model(f"local-dir:{folder}", cache=False)
    pixels = torch.rand(1, 3, 224, 224)
    torch.testing.assert_close(model.encode_image(pixels).class_token, made.encode_image(pixels))
    black = np.zeros((40, 32, 3), np.uint8)
    assert model.similarity(black, ["cat"], templates="plain")["cat"].shape == (40, 32)
    assert asked == []


def test_a_repository_of_the_hub_is_found_offline(weights, home, asked):
    root = network.cached("someone/clip")
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    folder_of(root / "snapshots" / ("0" * 40), weights)
    loaded = load_clip("hf-hub:someone/clip", offline=True)
    assert all(torch.equal(v, loaded.clip.state_dict()[k]) for k, v in weights.items())
    assert loaded.mean == (0.1, 0.2, 0.3) and store.source("hf-hub:someone/clip").find() == loaded.file.parent
    with pytest.raises(
        WeightsError, match="expected hf-hub:a/b at .*, found none: `ovseg models pull hf-hub:a/b` fetches"
    ):
        load_clip("hf-hub:a/b", offline=True)
    assert asked == []


CONFIGS = {
    "no JSON": "{",
    "a list": "[]",
    "no model_cfg": "{}",
    "a number": {"model_cfg": 5},
    "empty": {"model_cfg": {}},
    "no text": {"model_cfg": {**CONFIG, "text_cfg": None}},
    "no vision": {"model_cfg": {"embed_dim": 32, "text_cfg": {}}},
    "a word for a size": {"model_cfg": {**CONFIG, "embed_dim": "wide"}},
    "true for a size": {"model_cfg": {**CONFIG, "embed_dim": True}},
    "null for a size": {"model_cfg": {**CONFIG, "embed_dim": None}},
    "0 for a size": {"model_cfg": {**CONFIG, "embed_dim": 0}},
    "a giant size": {"model_cfg": {**CONFIG, "embed_dim": 10**7}},
    "no image": {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "image_size": 0}}},
    "a negative image": {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "image_size": -1}}},
    "true for an image": {
        "model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "image_size": True}}
    },
    "true for a patch": {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "patch_size": True}}},
    "no context": {"model_cfg": {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "context_length": 0}}},
    "no words": {"model_cfg": {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "vocab_size": 0}}},
    "a word for quick_gelu": {"model_cfg": {**CONFIG, "quick_gelu": "x"}},
    "a list for quick_gelu": {"model_cfg": {**CONFIG, "quick_gelu": []}},
    "no number as a mean": {"model_cfg": CONFIG, "preprocess_cfg": {"mean": [math.nan] * 3}},
    "true as a mean": {"model_cfg": CONFIG, "preprocess_cfg": {"mean": [True] * 3}},
    "a million layers": {"model_cfg": {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "layers": 10**6}}},
    "no layers": {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "layers": 0}}},
    "half a layer": {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "layers": 1.5}}},
    "a giant": {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "width": 10**12}}},
    "no patch": {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "patch_size": 0}}},
    "a patch above the image": {
        "model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "patch_size": 33}}
    },
    "a patch wider than the image": {
        "model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "patch_size": [16, 33]}}
    },
    "negative": {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "width": -64}}},
    "an unknown key": {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "colour": 1}}},
    "an unknown part": {"model_cfg": {**CONFIG, "audio_cfg": {}}},
    "a timm model of the hub": {
        "model_cfg": {**CONFIG, "vision_cfg": {"timm_model_name": "hf-hub:timm/resnet18"}}
    },
    "an unknown timm model": {"model_cfg": {**CONFIG, "vision_cfg": {"timm_model_name": "nothing"}}},
    "two means": {"model_cfg": CONFIG, "preprocess_cfg": {"mean": [1, 2]}},
    "words as means": {"model_cfg": CONFIG, "preprocess_cfg": {"mean": ["a", "b", "c"]}},
    "a deviation of 0": {"model_cfg": CONFIG, "preprocess_cfg": {"std": [1, 0, 1]}},
    "another width": {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "width": 96}}},
    "a tokenizer of other words": {
        "model_cfg": {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "tokenizer_kwargs": {"a": 1}}}
    },
    "a tokenizer of no words": {
        "model_cfg": {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "tokenizer_kwargs": 5}}
    },
    "tokenizer of the hub": {
        "model_cfg": {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "hf_tokenizer_name": "a/b"}}
    },
    "tokenizer elsewhere": {
        "model_cfg": {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "hf_tokenizer_name": "../b"}}
    },
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_damaged_config_in_a_folder_is_one_line(weights, tmp_path, config, asked):
    folder = folder_of(tmp_path / "model", weights)
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "open_clip_config.json").write_text(text)
    with pytest.raises((WeightsError, UsageError), match="expected|unknown|needs") as caught:
        load_clip(f"local-dir:{folder}", offline=True)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert asked == []


def test_a_tokenizer_in_the_models_folder_is_used(tmp_path, asked):
    """As open_clip does: the files beside the model, whatever repository its config names."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = Tokenizer(WordLevel({"[UNK]": 0, "sky": 1, "[PAD]": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "pad_token": "[PAD]"})
    )
    config = {"text_cfg": {"hf_tokenizer_name": "no/where", "context_length": 4}}
    tokenizer = build_tokenizer(config, "small", offline=True, folder=tmp_path)
    assert tokenizer(["sky sky"]).tolist() == [[1, 1, 2, 2]]
    assert asked == []


def test_every_config_that_open_clip_ships_passes_the_check():
    """Those of ResNets say null where a transformer's have the size of a patch."""
    names = open_clip.list_models()
    assert len(names) > 100
    for name in names:
        check_config(open_clip.get_model_config(name), name, PARTS)


def test_the_normalisation_is_open_clips():
    assert (MEAN, STD) == (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
