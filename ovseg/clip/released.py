"""Load open_clip's models: a name leads to config, tokenizer and file, whose tensors fill the model.

Imported when such a model is loaded: importing open_clip takes longer than loading an embedded model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import open_clip
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from torch import nn

from ovseg.clip.attention import Method
from ovseg.clip.build import build_clip, build_tokenizer, check_tower, text_identity
from ovseg.clip.config import Config
from ovseg.clip.loaded import MEAN, SIZE, STD, LoadedClip, Triple, looks_like_file
from ovseg.clip.text_tower import Tokenizer
from ovseg.errors import OvsegError, UsageError, WeightsError, described
from ovseg.weights import checkpoints, known, store
from ovseg.weights.files import RANDOM, WeightsRecord, brief, read_json
from ovseg.weights.known import CLIP_FOLDER, CLIP_HUB
from ovseg.weights.network import CLIP_CONFIG, CLIP_WEIGHTS


@dataclass(frozen=True)
class _Origin:
    """What a name and its weights lead to; ``file`` is None for untrained weights."""

    config: Config
    tokenizer: Tokenizer
    file: Path | None
    given: str
    mean: Triple = MEAN
    std: Triple = STD


def load_released(name: str, given: str | Path | None, offline: bool, method: Method | None) -> LoadedClip:
    """A model of open_clip's, of the hub or of a folder, in float32 on the CPU; see ``models.load_clip``."""
    origin = (_folder_origin if ":" in name else _named_origin)(name, given, offline, method)
    state, quick = None, bool(origin.config.get("quick_gelu"))
    if origin.file is not None:
        state = checkpoints.read(origin.file, f"weights of {name}")
        quick = quick or state.scripted  # OpenAI's archives are the scripted ones, trained with QuickGELU
    config = {**origin.config, "quick_gelu": quick}
    clip = build_clip(config, name, offline=offline)
    if state is not None:
        _fill(clip, state, name)
    record, text = WeightsRecord(origin.given, origin.file), text_identity(config, clip, origin.tokenizer)
    return LoadedClip(clip, origin.tokenizer, name, origin.mean, origin.std, SIZE, record, text)


# -------------------------------------------------------------------------- where a model comes from


def _named_origin(name: str, given: str | Path | None, offline: bool, method: Method | None) -> _Origin:
    """One of open_clip's own names: config and tags from its tables, the image tower checked first."""
    config: Config = open_clip.get_model_config(known.check_model(name))
    if given is None:
        raise UsageError(
            f"expected weights for {name}: a tag, a file, or 'random' for untrained ones, got none"
        )
    check_tower(config, name, method)
    # A tag wins over a file of the same name, as in open_clip; a path is told by its shape.
    entry = open_clip.get_pretrained_cfg(name, given) if isinstance(given, str) else {}
    is_file = not entry and (isinstance(given, Path) or (given != RANDOM and looks_like_file(given)))
    if not entry and not is_file and given != RANDOM:
        known.entry(name, str(given))  # raises and lists the known tags
    tokenizer = build_tokenizer(config, name, offline=offline)
    if given == RANDOM:
        return _Origin(config, tokenizer, None, RANDOM)
    if is_file:
        return _Origin(config, tokenizer, Path(given).expanduser(), str(given))
    config = {**config, "quick_gelu": bool(entry.get("quick_gelu")) or bool(config.get("quick_gelu"))}
    file = store.pull(name, str(given), offline=offline)
    mean, std = _triple(entry, "mean", name), _triple(entry, "std", name)
    return _Origin(config, tokenizer, file, str(given), mean, std)


def _folder_origin(name: str, given: str | Path | None, offline: bool, method: Method | None) -> _Origin:
    """ "hf-hub:…" or "local-dir:…": a folder with open_clip's config and weights."""
    if not name.startswith((CLIP_HUB, CLIP_FOLDER)):
        raise UsageError(
            f"unknown model {described(name)}, expected {CLIP_HUB}org/name or {CLIP_FOLDER}FOLDER"
        )
    folder = store.pull(name, offline=offline)
    found = read_json(folder / CLIP_CONFIG, f"the config of {name}")
    config = found.get("model_cfg")
    if not isinstance(config, Mapping):
        raise WeightsError(f"expected a config with a model_cfg, {folder / CLIP_CONFIG} has none")
    check_tower(config, name, method)
    if given == RANDOM:
        file: Path | None = None
    elif given is None:
        file = _weights_in(folder)
    elif isinstance(given, Path) or looks_like_file(given):
        file = Path(given).expanduser()
    else:
        raise UsageError(
            f"{name} has its own weights: expected no weights, a file or 'random', got {described(given)}"
        )
    preprocessing = found.get("preprocess_cfg")
    values = preprocessing if isinstance(preprocessing, Mapping) else {}
    mean, std = _triple(values, "mean", name), _triple(values, "std", name)
    tokenizer = build_tokenizer(config, name, offline=offline, folder=folder)
    return _Origin(config, tokenizer, file, "its own" if given is None else str(given), mean, std)


def _weights_in(folder: Path) -> Path:
    """The weights of a folder in open_clip's form. Raises WeightsError for none, or for several."""
    for name in (*CLIP_WEIGHTS, "model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    endings = (".safetensors", ".bin", ".pth", ".pt")
    found = sorted(file for file in folder.iterdir() if file.suffix in endings)
    if len(found) != 1:
        got = ", ".join(file.name for file in found[:3]) or "none"
        raise WeightsError(f"expected one file of weights in {folder}, got {got}")
    return found[0]


def _triple(values: Mapping[str, object], key: str, name: str) -> Triple:
    found = values.get(key, MEAN if key == "mean" else STD)
    listed = found if isinstance(found, (list, tuple)) else ()
    numbers = [one for one in listed if isinstance(one, (int, float)) and not isinstance(one, bool)]
    usable = len(numbers) == 3 and all(map(math.isfinite, numbers))
    if not usable or (key == "std" and min(numbers) <= 0):
        raise WeightsError(f"expected {key} of {name} as three numbers, got {str(found)[:60]}")
    return (float(numbers[0]), float(numbers[1]), float(numbers[2]))


# ------------------------------------------------------------------------------- weights into a model


def _fill(clip: nn.Module, checkpoint: checkpoints.Checkpoint, name: str) -> None:
    """Load the checkpoint's tensors into the model, after open_clip's conversions of names."""
    try:
        state = _converted(clip, checkpoint)
    except OvsegError:
        raise
    except Exception as error:  # open_clip's conversions trust the names that they find
        raise WeightsError(
            f"expected weights of {name}, {checkpoint.file} does not fit: {brief(error)}"
        ) from None
    checkpoints.fill(clip, state, name, checkpoint.file)


def _converted(clip: nn.Module, checkpoint: checkpoints.Checkpoint) -> checkpoints.State:
    state = dict(checkpoint.state)
    if checkpoint.scripted:  # numbers and masks that the archives keep beside the weights
        for key in ("input_resolution", "context_length", "vocab_size", "attn_mask"):
            state.pop(key, None)
    state = convert_state_dict(clip, state)
    if "positional_embedding" in state and not hasattr(clip, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    wanted = clip.state_dict()
    for key in ("logit_scale", "logit_bias"):  # a number, or one number in a list
        if key in state and key in wanted and state[key].numel() == wanted[key].numel() == 1:
            state[key] = state[key].reshape(wanted[key].shape)
    positions = "text.transformer.embeddings.position_ids"  # older versions of transformers stored it
    if positions not in wanted:
        state.pop(positions, None)
    return state
