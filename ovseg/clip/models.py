"""A name to an open_clip model, its tokenizer, its normalisation, and a record of its weights."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict

from ovseg.clip import embedded
from ovseg.clip.attention import Method
from ovseg.clip.build import Clip, Config, Tokenizer, build_clip, build_tokenizer, check_config, check_tower
from ovseg.clip.towers import check_visual
from ovseg.errors import OvsegError, UsageError, WeightsError, described
from ovseg.options import LoadOptions
from ovseg.options.checks import check_name_or_path, check_text
from ovseg.weights import checkpoints, store, table
from ovseg.weights.device import check_device
from ovseg.weights.digest import RANDOM, WeightsRecord
from ovseg.weights.files import brief, read_json
from ovseg.weights.hub import CLIP_CONFIG, CLIP_WEIGHTS
from ovseg.weights.known import CLIP_FOLDER, CLIP_HUB, EMBEDDED, SMALL

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SIZE = 512
"""The default short side in pixels of inputs for dense maps, except for the embedded model."""
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class LoadedClip:
    """An open_clip model in eval mode and what its inputs want.

    Attributes:
        clip: open_clip's model, on the device that was asked for.
        tokenizer: open_clip's, for its texts.
        name: the name that it was loaded by.
        mean: of RGB in 0..1, for normalisation.
        std: likewise.
        size: default short side in pixels of the input for dense maps.
        file: the weights on disk, None where they are untrained.
        weights: what was asked for, the file and its SHA-256, or that they are untrained.
    """

    clip: Clip
    tokenizer: Tokenizer
    name: str
    mean: Triple
    std: Triple
    size: int
    file: Path | None = None
    weights: WeightsRecord = field(default_factory=lambda: WeightsRecord(RANDOM))


@dataclass(frozen=True)
class _Origin:
    """What a name and its weights mean: a config, a file or none, and how its images are normalised."""

    config: Config
    tokenizer: Tokenizer
    file: Path | None
    given: str
    mean: Triple = open_clip.OPENAI_DATASET_MEAN
    std: Triple = open_clip.OPENAI_DATASET_STD


def list_models() -> dict[str, tuple[str, ...]]:
    """Every model by name with the tags of its weights: the embedded one and all that open_clip lists.

    Not every image tower of open_clip's has tokens that can be read: ``load_clip`` says so, by the config
    alone.

    Example:
        >>> list_models()["tiny"], "openai" in list_models()["ViT-B-16"]
        ((), True)
    """
    found = {name: tuple(open_clip.list_pretrained_tags_by_model(name)) for name in open_clip.list_models()}
    return {**{name: () for name in EMBEDDED}, **found}


def load_clip(
    name: str = SMALL,
    weights: str | PathLike[str] | None = None,
    *,
    device: str = LoadOptions.device,
    precision: str = LoadOptions.precision,
    offline: bool = LoadOptions.offline,
    method: Method | None = None,
) -> LoadedClip:
    """An open_clip model by name, its weights loaded whole, ready for ``encode_image``.

    Args:
        name: "small" or "tiny" (embedded), a name of open_clip's, "hf-hub:org/name" or "local-dir:FOLDER".
        weights: a tag of open_clip's, a file, or "random" for untrained weights. None for the embedded ones,
            "hf-hub:" and "local-dir:", which have weights of their own; any other model needs one.
        device: "cpu", "cuda", "cuda:1" …
        precision: "fp32", "bf16" or "fp16", of the image tower; the text tower stays in fp32.
        offline: never touch the network.
        method: what it is loaded for, refused before any download where the image tower cannot take it.

    Raises:
        UsageError: an argument is wrong, or the name or tag is unknown.
        UnsupportedModelError: the image tower has no tokens that ovseg reads, or nothing that ``method``
            could change. Known from the config, before anything is downloaded.
        WeightsError: the weights are missing, damaged or of another model.

    Example:
        >>> loaded = load_clip()
        >>> loaded.size, loaded.weights.is_random
        (352, False)
    """
    options = LoadOptions(device=device, precision=precision, offline=offline)
    target = check_device(options.device, options.precision)
    check_text("name", name)
    # A path object is a file, also where a tag has the same name.
    given = None if weights is None else check_name_or_path("weights", weights)
    if name in EMBEDDED:
        loaded = _load_embedded(name, given)
    else:
        loaded = _load_open_clip(
            name.replace("/", "-") if ":" not in name else name, given, options.offline, method
        )
    check_visual(loaded.clip.visual)
    loaded.clip.eval().requires_grad_(False).to(target)
    loaded.clip.visual.to(PRECISIONS[options.precision])
    return loaded


def _load_embedded(name: str, given: str | Path | None) -> LoadedClip:
    if given == RANDOM:
        clip, file, record = embedded.load(name, untrained=True), None, WeightsRecord(RANDOM)
    else:
        file = embedded.asset_path(name)
        if given is not None:
            file = Path(given).expanduser()
            if isinstance(given, str) and not _looks_like_file(given):
                raise UsageError(
                    f"expected no weights, a file or 'random' for the embedded model, got {described(given)}"
                )
        clip = embedded.load(name, file if given is not None else None)
        record = WeightsRecord("embedded" if given is None else str(given), file)
    mean = getattr(clip.visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN
    std = getattr(clip.visual, "image_std", None) or open_clip.OPENAI_DATASET_STD
    tokenizer = build_tokenizer({"text_cfg": {}}, "the embedded model", offline=True)
    return LoadedClip(clip, tokenizer, name, mean, std, embedded.SIZES[name], file, record)


def _load_open_clip(name: str, given: str | Path | None, offline: bool, method: Method | None) -> LoadedClip:
    origin = (_folder_origin if ":" in name else _named_origin)(name, given, offline, method)
    state, quick = None, bool(origin.config.get("quick_gelu"))
    if origin.file is not None:
        state = checkpoints.read(origin.file, f"weights of {name}")
        quick = quick or state.scripted  # OpenAI's archives are the scripted ones, trained with QuickGELU
    config = {**origin.config, "quick_gelu": quick}
    clip = build_clip(config, name, offline=offline)
    if state is not None:
        _fill(clip, state, name)
    record = WeightsRecord(origin.given, origin.file)
    return LoadedClip(clip, origin.tokenizer, name, origin.mean, origin.std, SIZE, origin.file, record)


# -------------------------------------------------------------------------- where a model comes from


def _named_origin(name: str, given: str | Path | None, offline: bool, method: Method | None) -> _Origin:
    """One of open_clip's own names: config and tags from its tables, the image tower checked first."""
    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        near = difflib.get_close_matches(name, [*EMBEDDED, *open_clip.list_models()], n=3, cutoff=0.4)
        hint = f": did you mean {', '.join(near)}?" if near else ""
        raise UsageError(
            f"unknown model {described(name)}, expected 'small', 'tiny' or a name of open_clip's{hint}"
        )
    check_config(config, name)
    if given is None:
        raise UsageError(
            f"expected weights for {name}: a tag, a file, or 'random' for untrained ones, got none"
        )
    check_tower(config, name, method)
    # A tag wins over a file of the same name, as in open_clip; a path is told by its shape.
    entry = open_clip.get_pretrained_cfg(name, given) if isinstance(given, str) else {}
    is_file = not entry and (isinstance(given, Path) or (given != RANDOM and _looks_like_file(given)))
    if not entry and not is_file and given != RANDOM:
        table.entry(name, str(given))  # raises, with the tags that there are
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
    check_config(config, name)
    check_tower(config, name, method)
    if given == RANDOM:
        file: Path | None = None
    elif given is None:
        file = _weights_in(folder)
    elif isinstance(given, Path) or _looks_like_file(given):
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
    default = open_clip.OPENAI_DATASET_MEAN if key == "mean" else open_clip.OPENAI_DATASET_STD
    found = values.get(key, default)
    numbers = (
        [value for value in found if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if isinstance(found, (list, tuple))
        else []
    )
    if (
        len(numbers) != 3
        or not all(map(math.isfinite, numbers))
        or (key == "std" and not all(number > 0 for number in numbers))
    ):
        raise WeightsError(f"expected {key} of {name} as three numbers, got {str(found)[:60]}")
    return (float(numbers[0]), float(numbers[1]), float(numbers[2]))


def _looks_like_file(weights: str) -> bool:
    try:
        return "/" in weights or "\\" in weights or "." in weights or Path(weights).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # a name that no file system takes, or an unknown home
        return False


# ------------------------------------------------------------------------------- weights into a model


def _fill(clip: Clip, checkpoint: checkpoints.Checkpoint, name: str) -> None:
    """The checkpoint's tensors into the model, after open_clip's conversions of names."""
    try:
        state = _converted(clip, checkpoint)
    except OvsegError:
        raise
    except Exception as error:  # open_clip's conversions trust the names that they find
        raise WeightsError(
            f"expected weights of {name}, {checkpoint.file} does not fit: {brief(error)}"
        ) from None
    checkpoints.fill(clip, state, name, checkpoint.file)


def _converted(clip: Clip, checkpoint: checkpoints.Checkpoint) -> checkpoints.State:
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
