"""The embedded model's file: a very small CLIP in open_clip's own classes, as one safetensors asset.

Half-precision weights, computed with in float32. Of the token embedding only the rows that
training touched are stored; every other row is zero, so words the model never saw add nothing.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ovseg.errors import WeightsError

NAME = "tiny"
SIZE = 160  # short side in pixels where the dense maps are best, see docs/results.md
_EMBEDDING = "token_embedding.weight"


def asset_path() -> Path:
    """Where the installed package keeps the embedded model."""
    return Path(str(resources.files("ovseg") / "assets" / "tiny_clip.safetensors"))


def build(config: dict[str, Any]) -> CLIP:
    """The untrained model of a config ``{"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}``."""
    return CLIP(**config).eval()


def save(model: CLIP, config: dict[str, Any], token_ids: list[int], path: Path) -> None:
    """Write ``model`` to ``path``; ``token_ids`` are the rows of the token embedding to keep."""
    state = {k: v.detach().half().contiguous() for k, v in model.state_dict().items()}
    state[_EMBEDDING] = state[_EMBEDDING][token_ids].contiguous()
    state["token_ids"] = torch.tensor(token_ids, dtype=torch.int32)
    save_file(state, path, metadata={"config": json.dumps(config)})


def load(path: Path | None = None) -> CLIP:
    """The embedded model in float32 on the CPU.

    ``path``: another file that ``save`` wrote. Raises WeightsError where the asset is missing, which
    only a damaged installation can cause, or where ``path`` is another kind of file.
    """
    path = path or asset_path()
    if not path.is_file():
        raise WeightsError(f"wanted the embedded model at {path}, found no file: reinstall ovseg")
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads(file.metadata()["config"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, KeyError, TypeError, ValueError):  # another format, or no config in it
        raise WeightsError(f"wanted weights of the embedded model, {path} does not fit") from None
    with torch.device("meta"):  # random initialisation would cost more than loading
        model = CLIP(**config)
    rows = state.pop(_EMBEDDING).float()
    table = torch.zeros(model.vocab_size, rows.shape[1])
    table[state.pop("token_ids").long()] = rows
    state = {key: value.float() for key, value in state.items()}
    mask = torch.full((model.context_length, model.context_length), float("-inf")).triu(1)
    model.load_state_dict({**state, _EMBEDDING: table}, assign=True)
    model.attn_mask = mask  # a buffer that open_clip does not store
    return model.eval()
