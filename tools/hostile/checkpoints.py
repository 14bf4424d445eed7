"""Checkpoints of every loader: whole, changed, wrapped, damaged, and with configs that cannot be."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hostile.call import Call, told
from hostile.pictures import damaged
from hostile.place import Place, small_sam
from ovseg.clip import embedded
from ovseg.segmenters import tiny

State = dict[str, torch.Tensor]
CLIP = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}  # fmt: skip
NUMBERS = (0, -1, None, "x", 1.5, 10**7, 10**12, [], {}, True, 3, float("nan"))
TYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.int32,
    torch.bool,
    torch.complex64,
    torch.float8_e4m3fn,
    torch.uint8,
)
SHARES = {"tiny": 4, "local-dir": 3, "tiny sam": 4, "vit_b": 2, "hf": 2, "mobile": 2}
"""How often each loader is drawn."""


def checkpoint(place: Place, rng: Random) -> Call:
    """A file of weights for one of the loaders."""
    loader = rng.choices(list(SHARES), list(SHARES.values()))[0]
    state, metadata = _whole(loader)
    folder = _folder(place, loader, _changed_config(rng, loader) if rng.random() < 0.1 else None)
    changed, words = _changed(rng, dict(state))
    if metadata and rng.random() < 0.3:
        metadata = _changed_metadata(rng, metadata)
        words += f", metadata {told(metadata)}"
    path = folder / _file_name(loader, rng)
    words += f" as {path.name}" + _write(path, rng, changed, metadata)
    words = f"{loader}: {words}"
    return Call(words, lambda: _load(place, loader, path))


def config(place: Place, rng: Random) -> Call:
    """A folder of a hub's form whose config says something that cannot be; nothing else is wrong."""
    loader = rng.choice(("local-dir", "local-dir", "hf"))
    changed = _changed_config(rng, loader)
    folder = _folder(place, loader, changed)
    path = folder / _file_name(loader, Random(0))
    save_file(_whole(loader)[0], path)
    if loader == "local-dir" and rng.random() < 0.5:
        words = f"load_model('local-dir:…', 'random') with config {told_json(changed)}"
        return Call(words, lambda: _used(place.load_model(f"local-dir:{folder}", "random"), place))
    return Call(f"{loader} with config {told_json(changed)}", lambda: _load(place, loader, path))


def told_json(value: object) -> str:
    """What differs from the good config, as far as it can be shown on one line."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return ascii(text)[1:-1][:400]


def _load(place: Place, loader: str, path: Path) -> object:
    if loader == "tiny":
        return _used(place.load_model("tiny", path), place)
    if loader == "local-dir":
        return _used(place.load_model(f"local-dir:{path.parent}"), place)
    if loader == "hf":
        found = place.load_segmenter(f"hf:{path.parent}", offline=True)
    else:
        found = place.load_segmenter("tiny" if loader == "tiny sam" else loader, path)
    return found.decode(found.encode(place.image), [(5, 5)]).masks


def _used(model: object, place: Place) -> object:
    return model.segment(place.image, "sky, tree", size=32, templates="plain")


@cache
def _whole(loader: str) -> tuple[State, dict[str, str]]:
    """The tensors and the metadata of a good file."""
    torch.manual_seed(0)
    if loader in ("tiny", "tiny sam"):
        asset = embedded.asset_path("tiny") if loader == "tiny" else tiny.asset_path()
        with safe_open(asset, "pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, dict(opened.metadata())  # noqa: SIM118
    if loader == "local-dir":
        from ovseg.clip.build import build_clip

        model = build_clip(CLIP["model_cfg"], "a small model")
    elif loader == "hf":
        model = _transformers_sam()
    else:
        model = small_sam()
    return {key: value.detach().clone().contiguous() for key, value in model.state_dict().items()}, {}


def _transformers_sam() -> torch.nn.Module:
    from transformers import SamConfig, SamModel

    return SamModel(SamConfig(**_sam_parts())).eval()


def _sam_parts() -> dict[str, dict[str, object]]:
    vision = {"hidden_size": 16, "output_channels": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 64,
              "patch_size": 8, "window_size": 3, "global_attn_indexes": [0], "num_pos_feats": 16}  # fmt: skip
    decoder = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
    prompts = {"hidden_size": 32, "image_size": 64, "patch_size": 8}
    return {"vision_config": vision, "prompt_encoder_config": prompts, "mask_decoder_config": decoder}


def _good_config(loader: str) -> dict[str, object]:
    return {"model_type": "sam", **_sam_parts()} if loader == "hf" else copy.deepcopy(CLIP)


def _folder(place: Place, loader: str, written: object) -> Path:
    folder = place.folder / "given" / loader.replace(" ", "-")
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    if loader in ("local-dir", "hf"):
        written = _good_config(loader) if written is None else written
        name = "config.json" if loader == "hf" else "open_clip_config.json"
        (folder / name).write_text(written if isinstance(written, str) else json.dumps(written))
    return folder


def _file_name(loader: str, rng: Random) -> str:
    if loader == "hf":
        return "model.safetensors"
    if loader == "local-dir":
        return rng.choice(
            ("open_clip_model.safetensors", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
        )
    return rng.choice(("w.safetensors", "w.safetensors", "w.pt", "w.pth", "w", "w.bin", "w.txt"))


def _changed_config(rng: Random, loader: str) -> object:
    if rng.random() < 0.2:
        return rng.choice(
            (
                "",
                "{",
                "[]",
                "null",
                "5",
                "{}",
                '{"model_cfg": 5}',
                '{"model_type": "bert"}',
                '{"a": ' * 2000,
                "\0",
            )
        )
    made: dict[str, object] = _good_config(loader)
    inner: dict[str, object] = made
    while True:
        key = rng.choice(sorted(inner))
        if not isinstance(inner[key], dict) or rng.random() < 0.1:
            break
        inner = inner[key]
    if rng.random() < 0.15:
        del inner[key]
    else:
        inner[key] = rng.choice(NUMBERS)
    return made


def _changed_metadata(rng: Random, metadata: Mapping[str, str]) -> dict[str, str]:
    key = rng.choice(sorted(metadata))
    if rng.random() < 0.3:
        return rng.choice(({}, {key: "x"}, {key: "{}"}, {key: "[]"}, {key: "5"}, {key: ""}, {"other": "x"}))
    made = json.loads(metadata[key])
    inner = made
    while isinstance(inner, dict) and inner:
        field = rng.choice(sorted(inner))
        if not isinstance(inner[field], dict) or rng.random() < 0.1:
            inner[field] = rng.choice(NUMBERS)
            break
        inner = inner[field]
    return {key: json.dumps(made)}


def _changed(rng: Random, state: State) -> tuple[State, str]:
    """A state of the same model with something wrong, and what that is."""
    key = rng.choice(sorted(state))
    what = rng.choice(
        (
            "nothing",
            "value",
            "values",
            "type",
            "types",
            "shape",
            "missing",
            "extra",
            "prefix",
            "empty",
            "name",
        )
    )
    value = state[key]
    if what == "value" and value.is_floating_point() and value.numel():
        number = rng.choice((float("nan"), float("inf"), 1e30, 0.0))
        state[key] = torch.full(value.shape, number).to(value.dtype)
    elif what == "values":
        number = rng.choice((0.0, 1.0, 60000.0))
        state = {name: torch.full_like(one, number) for name, one in state.items()}
    elif what == "type":
        state[key] = value.to(rng.choice(TYPES))
    elif what == "types":
        kind = rng.choice(TYPES)
        state = {name: one.to(kind) for name, one in state.items()}
    elif what == "shape":
        state[key] = rng.choice(
            (
                value[None],
                value.flatten(),
                value[:0] if value.ndim else value,
                torch.zeros(0),
                torch.zeros(()),
            )
        )
    elif what == "missing":
        del state[key]
    elif what == "extra":
        state[rng.choice(("extra", "", "a.b", "\0"))] = torch.zeros(3)
    elif what == "prefix":
        before = rng.choice(("module.", "_orig_mod.", "model.", "clip.", "module.module."))
        state = {before + name: one for name, one in state.items()}
    elif what == "empty":
        state = {}
    elif what == "name":
        state[key.upper()] = state.pop(key)
    return state, f"{what} of {key}"


def _write(path: Path, rng: Random, state: State, metadata: Mapping[str, str]) -> str:
    """The state in a file of one of the forms; says which one, and how the file was damaged afterwards."""
    if rng.random() < 0.6:
        made = {name: one.contiguous().clone() for name, one in state.items()}
        save_file(made, path, metadata=dict(metadata) or None)
        words = ", safetensors"
    else:
        wrapped, words = _wrapped(rng, state)
        torch.save(wrapped, path, _use_new_zipfile_serialization=rng.random() < 0.8)
    if rng.random() < 0.25:
        path.write_bytes(damaged(rng, path.read_bytes()))
        words += ", damaged"
    return words


def _wrapped(rng: Random, state: State) -> tuple[object, str]:
    """What a training script might have saved instead of the tensors alone."""

    def sparse(one: torch.Tensor) -> torch.Tensor:
        return one.to_sparse() if one.ndim > 1 and one.dtype != torch.float8_e4m3fn else one

    choices = {
        "the state": lambda: state, "model": lambda: {"model": state},
        "state_dict": lambda: {"state_dict": state, "epoch": 5},
        "nested": lambda: {"a": {"state_dict": state}}, "an epoch beside": lambda: {**state, "epoch": 5},
        "a number key": lambda: {1: torch.zeros(3)},
        "a list": lambda: list(state.values()), "a tensor": lambda: torch.zeros(3), "None": lambda: None,
        "a text": lambda: "x", "texts": lambda: dict.fromkeys(state, "x"),
        "sparse": lambda: {name: sparse(one) for name, one in state.items()},
        "meta": lambda: {name: one.to("meta") for name, one in state.items()},
        "expanded": lambda: {
            name: one[:1].expand(one.shape) if one.ndim else one for name, one in state.items()
        },
        "an object": lambda: {"model": Path("x")}, "both": lambda: {"model": state, "state_dict": 5},
        "parameters": lambda: {
            name: torch.nn.Parameter(one, one.is_floating_point()) for name, one in state.items()
        },
    }  # fmt: skip
    words = rng.choice(sorted(choices))
    return choices[words](), f", torch.save of {words}"
