"""The embedded models' files: small CLIPs, each one safetensors asset.

``small`` has a convolutional trunk under CLIP's attention pooling (``pooled.py``) and is the default
model; its large matrices are stored in 8 bits, whole numbers with one scale for each row. ``tiny``
is a ViT of six blocks, stored in 16 bits. Both are computed with in float32. Of the token embedding only the
rows that training touched are stored; every other row is zero, so words the model never saw add nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ovseg.clip.config import Config, check_config, check_count, part
from ovseg.clip.plain import Clip, VisionTransformer
from ovseg.clip.pooled import TRUNKS, PooledTrunk
from ovseg.errors import WeightsError
from ovseg.weights import checkpoints, store
from ovseg.weights.files import brief
from ovseg.weights.known import SMALL, TINY

SIZES = {SMALL: 352, TINY: 160}
"""The short side of the input in pixels where no size is given. For "tiny" it is where the maps are best;
for "small" none was searched for."""
_EMBEDDING = "token_embedding.weight"
_IDS = "token_ids"
_SCALE = ".scale"
_TOWER = "visual."
_CONTEXT, _VOCABULARY = 77, 49408  # of open_clip's tokenizer, which the embedded models are read with
_VIT = {"layers", "width", "head_width", "patch_size", "image_size"}
_POOLED = {"image_size": 1024, "hidden": 8192, "heads": 64}  # the largest of each
_TEXT = {"layers", "width", "heads"}
_PACKED = 50_000
"""Matrices of at least this many values are stored in 8 bits. Smaller ones, such as the kernels of the first
layers, take little space and lose most by rounding."""
_STEPS = 127  # of 8 bits; the rounding error of a weight is at most half a step


def asset_path(name: str) -> Path:
    """The file of an embedded model, "small" or "tiny", in the installed package."""
    return store.embedded("clip", name).path()


def build(config: Config, what: str = "an embedded model") -> Clip:
    """The untrained model of a config ``{"embed_dim", "vision_cfg", "text_cfg"}``, in eval mode.

    Args:
        config: its ``vision_cfg`` holds the arguments of ``VisionTransformer`` or of ``PooledTrunk``, its
            ``text_cfg`` those of ``Clip``.
        what: the model's name, for messages.

    Raises:
        WeightsError: the config cannot be built.
    """
    vision: Mapping[str, Any] = part(config, "vision_cfg")
    text: Mapping[str, Any] = part(config, "text_cfg")
    size: Any = config["embed_dim"]
    try:
        visual: nn.Module = (
            PooledTrunk(size, **vision) if "trunk" in vision else VisionTransformer(**vision, output_dim=size)
        )
        return Clip(visual, size, **text).eval()
    except Exception as error:  # torch raises whatever the values lead to
        raise WeightsError(f"expected a config of {what}, it cannot be built: {brief(error)}") from None


def save(model: Clip, config: Config, token_ids: list[int], path: Path, bits: int = 16) -> None:
    """Write ``model`` to ``path``; ``token_ids`` are the rows of the token embedding to keep.

    Args:
        model: built from ``config``.
        config: as in ``build``.
        token_ids: rows of the token embedding.
        path: of the file.
        bits: 16, or 8 for large matrices in whole numbers with a scale for each row.
    """
    from safetensors.torch import save_file

    state = {key: value.detach() for key, value in model.state_dict().items()}
    state[_EMBEDDING] = state[_EMBEDDING][token_ids]
    state = pack(state) if bits == 8 else {key: value.half().contiguous() for key, value in state.items()}
    state[_IDS] = torch.tensor(token_ids, dtype=torch.int32)
    save_file(state, path, metadata={"config": json.dumps(config)})


def load(name: str, path: Path | None = None, *, untrained: bool = False) -> Clip:
    """An embedded model in float32 on the CPU.

    Args:
        name: "small" or "tiny".
        path: a file that ``save`` wrote; None for the package's own.
        untrained: build the model of the file's config with untrained weights.

    Raises:
        WeightsError: the package's file is missing, which only a damaged installation can cause, or ``path``
            is missing, damaged or another kind of file.
    """
    checkpoint, what = _read(name, path)
    config = _config(checkpoint, what)
    if untrained:
        return build(config, what)
    with torch.device("meta"):  # random initialisation would cost more than loading
        model = build(config, what)
    wanted = model.state_dict()
    stored = unpack(checkpoint.state, f"weights of {what} in {checkpoint.file}")
    rows = _fitting_rows(stored, wanted[_EMBEDDING], checkpoint.file, what)
    state = {key: value for key, value in stored.items() if key not in (_EMBEDDING, _IDS)}
    rest = {key: value for key, value in wanted.items() if key != _EMBEDDING}
    filled = checkpoints.fitted(rest, state, what, checkpoint.file)
    table = torch.zeros(wanted[_EMBEDDING].shape)
    table[stored[_IDS].long()] = rows
    model.load_state_dict({**filled, _EMBEDDING: table}, assign=True)
    return model


def load_trunk() -> PooledTrunk:
    """The image tower of "small" alone, in float32 on the CPU, for what is built on its features.

    Raises:
        WeightsError: as ``load``.
    """
    checkpoint, what = _read(SMALL, None)
    config = _config(checkpoint, what)
    vision: Mapping[str, Any] = part(config, "vision_cfg")
    size: Any = config["embed_dim"]
    with torch.device("meta"):
        tower = PooledTrunk(size, **vision).eval()
    own = {
        key.removeprefix(_TOWER): value for key, value in checkpoint.state.items() if key.startswith(_TOWER)
    }
    state = unpack(own, f"weights of {what} in {checkpoint.file}")
    tower.load_state_dict(checkpoints.fitted(tower.state_dict(), state, what, checkpoint.file), assign=True)
    return tower


def _read(name: str, path: Path | None) -> tuple[checkpoints.Checkpoint, str]:
    """A file of ``save``, the package's own where ``path`` is None, and what it holds in words."""
    file, what = path or asset_path(name), f"the embedded model {name!r}"
    if path is None and not file.is_file():
        raise WeightsError(f"expected {what} at {file}, found no file: reinstall ovseg")
    return checkpoints.read(file, f"weights of {what}"), what


def _config(checkpoint: checkpoints.Checkpoint, what: str) -> Config:
    """The checked config in a file's metadata, for ``build``."""
    config = checkpoints.config_of(checkpoint, what)
    if strange := sorted(set(config) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}):
        raise WeightsError(f"expected a config of {what}, it has the unknown part {strange[0][:60]!r}")
    vision = config.get("vision_cfg")
    pooled = isinstance(vision, Mapping) and "trunk" in vision
    known = {
        "vision_cfg": {"trunk", *_POOLED} if pooled else _VIT,
        "text_cfg": {*_TEXT, "context_length", "vocab_size"},
    }
    check_config(config, what, known)
    for name, keys in (("vision_cfg", known["vision_cfg"]), ("text_cfg", _TEXT)):
        if missing := keys - set(part(config, name)):
            raise WeightsError(f"expected a config of {what}, its {name} lacks {', '.join(sorted(missing))}")
    for key, most in _POOLED.items() if pooled else ():
        check_count(part(config, "vision_cfg")[key], key, what, most)
    if pooled and (trunk := part(config, "vision_cfg")["trunk"]) not in TRUNKS:
        raise WeightsError(
            f"expected a config of {what} with a trunk of {', '.join(TRUNKS)}, got {trunk!r:.60}"
        )
    if config.get("quick_gelu"):
        raise WeightsError(f"expected a config of {what} with quick_gelu false, got true")
    text = part(config, "text_cfg")
    if (text.get("context_length", _CONTEXT), text.get("vocab_size", _VOCABULARY)) != (_CONTEXT, _VOCABULARY):
        raise WeightsError(
            f"expected weights of {what}, {checkpoint.file} does not fit: its config is of another tokenizer"
        )
    return config


def _fitting_rows(state: Mapping[str, Tensor], table: Tensor, file: Path, what: str) -> Tensor:
    """The stored rows of the token embedding, after checking that rows and ids fit the table."""
    problem, ids = f"expected weights of {what}, {file} does not fit:", state.get(_IDS)
    if ids is None or _EMBEDDING not in state:
        raise WeightsError(f"{problem} Missing key of the token embedding")
    whole = ids.ndim == 1 and not ids.dtype.is_floating_point and not ids.dtype.is_complex
    if not whole or ids.dtype == torch.bool or len(ids) != len(ids.unique()):
        raise WeightsError(f"{problem} its token ids are no distinct integers")
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(table):
        raise WeightsError(f"{problem} token ids outside 0..{len(table) - 1}")
    target = table[: len(ids)]  # shapes and types as of any other tensor
    return checkpoints.fitted({_EMBEDDING: target}, {_EMBEDDING: state[_EMBEDDING]}, what, file)[_EMBEDDING]


# ------------------------------------------------------------------------------------- weights in 8 bits


def pack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with its large matrices in 8 bits, each beside its "KEY.scale" (rows,); others in 16 bits.

    Vectors (biases, norms, running statistics) keep their type.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if value.ndim < 2 or not value.is_floating_point():
            found[key] = value.contiguous()
        elif value.numel() < _PACKED:
            found[key] = value.half().contiguous()
        else:
            rows = value.float().flatten(1)
            scale = (rows.abs().amax(dim=1) / _STEPS).clamp_min(torch.finfo(torch.float32).tiny)
            whole = (rows / scale[:, None]).round().to(torch.int8)
            found[key], found[key + _SCALE] = whole.reshape(value.shape).contiguous(), scale
    return found


def unpack(state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Undo ``pack``, up to rounding; the large matrices come back in float32.

    Args:
        state: of a file.
        what: the file in words, for messages.

    Raises:
        WeightsError: a scale does not belong to a tensor of 8 bits with as many rows.
    """
    found = {key: value for key, value in state.items() if not key.endswith(_SCALE)}
    for key in state.keys() - found.keys():
        owner, scale = key.removesuffix(_SCALE), state[key]
        value = found.get(owner)
        if value is None or value.dtype != torch.int8 or value.ndim < 2 or scale.shape != value.shape[:1]:
            raise WeightsError(f"expected {what}, its {key[:80]} does not fit: no matrix of 8 bits has it")
        found[owner] = value.float() * scale.float().reshape(-1, *[1] * (value.ndim - 1))
    return found
