"""A name to an open_clip model, its tokenizer and its normalisation; loading goes through open_clip."""

from __future__ import annotations

import difflib
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import load_checkpoint

from ovseg.clip import embedded
from ovseg.clip.towers import check_visual
from ovseg.errors import OvsegError, UsageError, WeightsError
from ovseg.weights import clip as store

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class LoadedClip:
    """An open_clip model in eval mode and what its inputs want.

    ``mean`` and ``std`` of RGB in 0..1; ``size`` the default input in pixels for dense maps; ``file``
    the weights on disk, None where they are random.
    """

    clip: Any  # open_clip's CLIP or CustomTextCLIP, whose parts nn.Module does not declare
    tokenizer: Any
    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int
    file: Path | None = None


def load_clip(
    name: str = embedded.NAME,
    weights: str | None = None,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    offline: bool = False,
) -> LoadedClip:
    """See ``ovseg.load``. Only the image tower is converted to ``precision``; texts stay float32."""
    target = _check_device(device, precision)
    if name == embedded.NAME:
        if weights is not None and not Path(weights).is_file():
            raise UsageError(f"the embedded model has its own weights: wanted no weights, got {weights!r}")
        weight_file = Path(weights) if weights else embedded.asset_path()
        loaded = LoadedClip(
            embedded.load(weight_file),
            open_clip.get_tokenizer("ViT-B-32"),
            name,
            open_clip.OPENAI_DATASET_MEAN,
            open_clip.OPENAI_DATASET_STD,
            embedded.SIZE,
            weight_file,
        )
    else:
        loaded = _load_open_clip(name, weights, offline)
    check_visual(loaded.clip.visual)
    loaded.clip.eval().requires_grad_(False).to(target)
    loaded.clip.visual.to(PRECISIONS[precision])
    return loaded


def _check_device(device: str, precision: str) -> torch.device:
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}: wanted one of {', '.join(PRECISIONS)}")
    try:
        target = torch.device(device)
    except RuntimeError:
        raise UsageError(f"unknown device {device!r}: wanted cpu, cuda, cuda:0 …") from None
    if target.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"wanted device {device}, this machine offers cpu only")
    if target.type == "cpu" and precision == "fp16":
        raise UsageError("fp16 wanted a GPU, got cpu: use fp32 or bf16")
    return target


def _load_open_clip(name: str, weights: str | None, offline: bool) -> LoadedClip:
    name = name.replace("/", "-")
    if name not in open_clip.list_models():
        near = difflib.get_close_matches(name, [embedded.NAME, *open_clip.list_models()], n=3, cutoff=0.4)
        hint = f": did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"unknown model {name!r}, wanted 'tiny' or a name of open_clip's{hint}")
    entry: dict[str, Any] = {}
    file: Path | None = None
    if weights is None:
        raise UsageError(
            f"wanted weights for {name}: a tag, a file, or 'random' for untrained ones, got none"
        )
    if weights != "random":
        # A tag wins over a file of the same name, as in open_clip; a path is told by its shape.
        if open_clip.get_pretrained_cfg(name, weights) or not _looks_like_path(weights):
            entry = store.config(name, weights)
            file = store.pull(name, weights, offline=offline)
        else:
            file = Path(weights)
            if not file.is_file():
                raise WeightsError(f"wanted a checkpoint, {file} does not exist")
    scripted = file is not None and _is_torchscript(file)
    # OpenAI's archives are the TorchScript ones, and they were trained with QuickGELU.
    quick = bool(entry.get("quick_gelu")) or scripted
    try:
        clip = open_clip.create_model(name, pretrained=None, force_quick_gelu=quick, pretrained_text=False)
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, RuntimeError, ImportError, ValueError) as error:  # text towers of the hub need it here
        raise WeightsError(f"wanted the parts of {name}, open_clip says: {_first_problem(error)}") from None
    if file is not None:
        _fill(clip, file, name, scripted)
    mean = entry.get("mean", clip.visual.preprocess_cfg.get("mean", open_clip.OPENAI_DATASET_MEAN))
    std = entry.get("std", clip.visual.preprocess_cfg.get("std", open_clip.OPENAI_DATASET_STD))
    return LoadedClip(clip, tokenizer, name, tuple(mean), tuple(std), 512, file)


def _looks_like_path(weights: str) -> bool:
    return Path(weights).is_file() or "/" in weights or "\\" in weights or "." in weights


def _is_torchscript(file: Path) -> bool:
    """An archive whose members include code: what OpenAI published. A plain checkpoint has none."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any("/code/" in member or member.endswith("constants.pkl") for member in archive.namelist())


def _fill(clip: Any, file: Path, name: str, scripted: bool) -> None:
    """Weights of ``file`` into ``clip``: every tensor of the model, none left over."""
    try:
        if scripted:
            state = torch.jit.load(str(file), map_location="cpu").state_dict()
            for key in ("input_resolution", "context_length", "vocab_size"):
                state.pop(key, None)
            clip.load_state_dict({key: value.float() for key, value in state.items()}, strict=True)
        else:
            load_checkpoint(clip, str(file), strict=True, weights_only=True)
    except OvsegError:
        raise
    except pickle.UnpicklingError:
        raise WeightsError(f"wanted tensors only, {file} holds code or other objects: not loaded") from None
    except Exception as error:  # torch, safetensors and open_clip raise whatever the damage leads to
        raise WeightsError(
            f"wanted weights of {name}, {file} does not fit: {_first_problem(error)}"
        ) from None


def _first_problem(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Error(s) in loading") and len(lines) > 1:
        return lines[1][:160]
    return (lines[0] if lines else type(error).__name__)[:160]
