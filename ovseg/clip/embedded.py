"""The embedded model's file: a very small CLIP in open_clip's own classes, as one safetensors asset.

Half-precision weights, computed with in float32. Of the token embedding only the rows that
training touched are stored; every other row is zero, so words the model never saw add nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor

from ovseg.clip.build import build_clip, check_config
from ovseg.errors import WeightsError
from ovseg.weights import checkpoints, store
from ovseg.weights.known import EMBEDDED as NAME

SIZE = 160  # short side in pixels where the dense maps are best, see docs/results.md
_EMBEDDING = "token_embedding.weight"
_IDS = "token_ids"
_CONTEXT, _VOCABULARY = 77, 49408  # of open_clip's tokenizer, which the embedded model is read with
_WHAT = "the embedded model"

__all__ = ["NAME", "SIZE", "asset_path", "build", "load", "save"]


def asset_path() -> Path:
    """Where the installed package keeps the embedded model."""
    return store.embedded("clip").path()


def build(config: Mapping[str, object]) -> CLIP:
    """The untrained model of a config ``{"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}``.

    Raises:
        WeightsError: the config cannot be built.
    """
    model = build_clip(config, _WHAT)
    if not isinstance(model, CLIP):
        raise WeightsError(f"wanted the config of {_WHAT}, got one of a {type(model).__name__}")
    return model.eval()


def save(model: CLIP, config: Mapping[str, object], token_ids: list[int], path: Path) -> None:
    """Write ``model`` to ``path``; ``token_ids`` are the rows of the token embedding to keep."""
    state = {k: v.detach().half().contiguous() for k, v in model.state_dict().items()}
    state[_EMBEDDING] = state[_EMBEDDING][token_ids].contiguous()
    state[_IDS] = torch.tensor(token_ids, dtype=torch.int32)
    save_file(state, path, metadata={"config": json.dumps(config)})


def load(path: Path | None = None, *, untrained: bool = False) -> CLIP:
    """The embedded model in float32 on the CPU.

    Args:
        path: another file that ``save`` wrote; None for the package's own.
        untrained: build the model of the file's config with untrained weights.

    Raises:
        WeightsError: the package's file is missing, which only a damaged installation can cause, or ``path``
            is missing, damaged or another kind of file.
    """
    file = path or asset_path()
    if path is None and not file.is_file():
        raise WeightsError(f"wanted {_WHAT} at {file}, found no file: reinstall ovseg")
    checkpoint = checkpoints.read(file, f"weights of {_WHAT}")
    config = checkpoints.config_of(checkpoint, _WHAT)
    check_config(config, _WHAT)
    text = config["text_cfg"]
    assert isinstance(text, Mapping)  # checked above
    if (text.get("context_length", _CONTEXT), text.get("vocab_size", _VOCABULARY)) != (_CONTEXT, _VOCABULARY):
        raise WeightsError(
            f"wanted weights of {_WHAT}, {file} does not fit: its config is of another tokenizer"
        )
    if untrained:
        return build(config)
    with torch.device("meta"):  # random initialisation would cost more than loading
        model = build(config)
    wanted = model.state_dict()
    rows = _fitting_rows(checkpoint.state, wanted, file)
    state = {key: value for key, value in checkpoint.state.items() if key not in (_EMBEDDING, _IDS)}
    rest = {key: value for key, value in wanted.items() if key != _EMBEDDING}
    filled = checkpoints.fitted(rest, state, _WHAT, file)
    table = torch.zeros(wanted[_EMBEDDING].shape)
    table[checkpoint.state[_IDS].long()] = rows
    model.load_state_dict({**filled, _EMBEDDING: table}, assign=True)
    # a buffer that open_clip does not store
    model.attn_mask = torch.full((_CONTEXT, _CONTEXT), float("-inf")).triu(1)
    return model


def _fitting_rows(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> Tensor:
    """The stored rows of the token embedding, once they and their ids fit the table they go into."""
    if _EMBEDDING not in state or _IDS not in state:
        raise WeightsError(
            f"wanted weights of {_WHAT}, {file} does not fit: Missing key of the token embedding"
        )
    ids, rows, table = state[_IDS], state[_EMBEDDING], wanted[_EMBEDDING]
    whole = ids.ndim == 1 and not ids.dtype.is_floating_point and not ids.dtype.is_complex
    if not whole or ids.dtype == torch.bool or len(ids) != len(ids.unique()):
        raise WeightsError(
            f"wanted weights of {_WHAT}, {file} does not fit: its token ids are no distinct integers"
        )
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(table):
        raise WeightsError(
            f"wanted weights of {_WHAT}, {file} does not fit: token ids outside 0..{len(table) - 1}"
        )
    target = table[: len(ids)]  # shapes and types as of any other tensor
    return checkpoints.fitted({_EMBEDDING: target}, {_EMBEDDING: rows}, _WHAT, file)[_EMBEDDING]
