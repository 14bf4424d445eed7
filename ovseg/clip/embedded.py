"""The embedded models' files: small CLIPs in open_clip's own classes, each one safetensors asset.

``small`` has a convolutional trunk under CLIP's attention pooling (``pooled.py``) and is what is used where
no model is named; its matrices are stored in 8 bits (``packing.py``). ``tiny`` is a ViT of six blocks, stored
in 16 bits. Both are computed with in float32. Of the token embedding only the rows that training touched are
stored; every other row is zero, so words the model never saw add nothing.
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
from ovseg.clip.packing import pack, unpack
from ovseg.clip.pooled import PooledTrunk, check_trunk
from ovseg.errors import WeightsError
from ovseg.weights import checkpoints, store
from ovseg.weights.known import SMALL, TINY

SIZES = {SMALL: 352, TINY: 160}
"""The short side of the input in pixels where no size is given. For "tiny" it is where the maps are best;
for "small" none was searched for."""
_EMBEDDING = "token_embedding.weight"
_IDS = "token_ids"
_CONTEXT, _VOCABULARY = 77, 49408  # of open_clip's tokenizer, which the embedded models are read with
_NO_VISION = {"layers": 1, "width": 64, "head_width": 64, "patch_size": 32, "image_size": 32}

__all__ = ["SIZES", "asset_path", "build", "load", "save"]


def asset_path(name: str) -> Path:
    """Where the installed package keeps an embedded model, "small" or "tiny"."""
    return store.embedded("clip", name).path()


def build(config: Mapping[str, object], what: str = "an embedded model") -> CLIP:
    """The untrained model of a config ``{"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}``.

    Args:
        config: of open_clip's form; or with the arguments of ``PooledTrunk`` as its ``vision_cfg``.
        what: the model's name, for messages.

    Raises:
        WeightsError: the config cannot be built.
    """
    vision = config["vision_cfg"]
    assert isinstance(vision, Mapping)
    pooled = "trunk" in vision
    model = build_clip({**config, "vision_cfg": _NO_VISION} if pooled else config, what)
    if not isinstance(model, CLIP):
        raise WeightsError(f"expected the config of {what}, got one of a {type(model).__name__}")
    if pooled:
        size = config["embed_dim"]
        assert isinstance(size, int)  # build_clip has seen to it
        model.visual = PooledTrunk(size, **check_trunk(vision, what))
    return model.eval()


def save(model: CLIP, config: Mapping[str, object], token_ids: list[int], path: Path, bits: int = 16) -> None:
    """Write ``model`` to ``path``; ``token_ids`` are the rows of the token embedding to keep.

    Args:
        model: built from ``config``.
        config: as in ``build``.
        token_ids: rows of the token embedding.
        path: of the file.
        bits: 16, or 8 for matrices in whole numbers with a scale for each row.
    """
    state = {key: value.detach() for key, value in model.state_dict().items()}
    state[_EMBEDDING] = state[_EMBEDDING][token_ids]
    state = pack(state) if bits == 8 else {key: value.half().contiguous() for key, value in state.items()}
    state[_IDS] = torch.tensor(token_ids, dtype=torch.int32)
    save_file(state, path, metadata={"config": json.dumps(config)})


def load(name: str, path: Path | None = None, *, untrained: bool = False) -> CLIP:
    """An embedded model in float32 on the CPU.

    Args:
        name: "small" or "tiny".
        path: another file that ``save`` wrote; None for the package's own.
        untrained: build the model of the file's config with untrained weights.

    Raises:
        WeightsError: the package's file is missing, which only a damaged installation can cause, or ``path``
            is missing, damaged or another kind of file.
    """
    file, what = path or asset_path(name), f"the embedded model {name!r}"
    if path is None and not file.is_file():
        raise WeightsError(f"expected {what} at {file}, found no file: reinstall ovseg")
    checkpoint = checkpoints.read(file, f"weights of {what}")
    config = _config(checkpoint, file, what)
    if untrained:
        return build(config, what)
    with torch.device("meta"):  # random initialisation would cost more than loading
        model = build(config, what)
    wanted = model.state_dict()
    stored = unpack(checkpoint.state, f"weights of {what} in {file}")
    rows = _fitting_rows(stored, wanted, file, what)
    state = {key: value for key, value in stored.items() if key not in (_EMBEDDING, _IDS)}
    rest = {key: value for key, value in wanted.items() if key != _EMBEDDING}
    filled = checkpoints.fitted(rest, state, what, file)
    table = torch.zeros(wanted[_EMBEDDING].shape)
    table[stored[_IDS].long()] = rows
    model.load_state_dict({**filled, _EMBEDDING: table}, assign=True)
    # a buffer that open_clip does not store
    model.attn_mask = torch.full((_CONTEXT, _CONTEXT), float("-inf")).triu(1)
    return model


def _config(checkpoint: checkpoints.Checkpoint, file: Path, what: str) -> dict[str, object]:
    """The model's config in the metadata of its file, checked."""
    config = checkpoints.config_of(checkpoint, what)
    vision = config.get("vision_cfg")
    if isinstance(vision, Mapping) and "trunk" in vision:
        check_config({**config, "vision_cfg": _NO_VISION}, what)
        check_trunk(vision, what)
    else:
        check_config(config, what)
    text = config["text_cfg"]
    assert isinstance(text, Mapping)  # checked above
    if (text.get("context_length", _CONTEXT), text.get("vocab_size", _VOCABULARY)) != (_CONTEXT, _VOCABULARY):
        raise WeightsError(
            f"expected weights of {what}, {file} does not fit: its config is of another tokenizer"
        )
    return config


def _fitting_rows(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path, what: str) -> Tensor:
    """The stored rows of the token embedding, once they and their ids fit the table they go into."""
    if _EMBEDDING not in state or _IDS not in state:
        raise WeightsError(
            f"expected weights of {what}, {file} does not fit: Missing key of the token embedding"
        )
    ids, rows, table = state[_IDS], state[_EMBEDDING], wanted[_EMBEDDING]
    whole = ids.ndim == 1 and not ids.dtype.is_floating_point and not ids.dtype.is_complex
    if not whole or ids.dtype == torch.bool or len(ids) != len(ids.unique()):
        raise WeightsError(
            f"expected weights of {what}, {file} does not fit: its token ids are no distinct integers"
        )
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(table):
        raise WeightsError(
            f"expected weights of {what}, {file} does not fit: token ids outside 0..{len(table) - 1}"
        )
    target = table[: len(ids)]  # shapes and types as of any other tensor
    return checkpoints.fitted({_EMBEDDING: target}, {_EMBEDDING: rows}, what, file)[_EMBEDDING]
