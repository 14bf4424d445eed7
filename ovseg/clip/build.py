"""From a config in open_clip's form to a model: checked, the image tower first, then built by open_clip.

open_clip's ``create_model`` and ``get_tokenizer`` ask the hub for some text towers, and write to the log of
the whole process; here their parts are called directly, with folders in place of the hub's names.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TypeAlias

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, _build_vision_tower
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from ovseg.clip.attention import Method
from ovseg.clip.towers import Tower, check_method, tower_of
from ovseg.errors import OvsegError, WeightsError
from ovseg.weights import hub, store
from ovseg.weights.files import brief

Clip: TypeAlias = "open_clip.CLIP | open_clip.CustomTextCLIP | open_clip.CoCa"
Tokenizer: TypeAlias = "SimpleTokenizer | HFTokenizer"
Config = Mapping[str, object]
_INTEGERS = {"width", "heads", "head_width", "vocab_size", "context_length"}
_MOST_CHANNELS = 65_536
_MOST_LAYERS = 256
_LARGEST = 10_000_000  # of any number in a config; open_clip's largest is a vocabulary of 901,629


def check_config(config: Config, what: str) -> None:
    """Raise WeightsError unless ``config`` has the parts and the plain values of an open_clip model."""
    for part, known in (("vision_cfg", CLIPVisionCfg), ("text_cfg", CLIPTextCfg)):
        found = config.get(part)
        if not isinstance(found, Mapping):
            raise WeightsError(f"expected a config of {what} with a {part}, got {type(found).__name__}")
        if strange := sorted(set(map(str, found)) - set(inspect.signature(known).parameters)):
            raise WeightsError(
                f"expected a config of {what}, its {part} has the unknown key {strange[0][:60]!r}"
            )
        for key in sorted(_INTEGERS & set(found)):
            _check_count(found[key], key, what)
        for key in ("image_size", "patch_size"):
            sizes = found.get(key, 1)
            if sizes is None and key == "patch_size" and isinstance(found.get("layers"), (list, tuple)):
                continue  # a ResNet, whose configs say null
            for side in sizes if isinstance(sizes, (list, tuple)) else [sizes]:
                _check_count(side, key, what)
        layers = found.get("layers", 1)
        for number in layers if isinstance(layers, (list, tuple)) else [layers]:
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST_LAYERS:
                raise WeightsError(
                    f"expected a config of {what} with 1..{_MOST_LAYERS} layers, got {number!r:.60}"
                )
    trunk = _vision(config).get("timm_model_name")
    if trunk and (not isinstance(trunk, str) or ":" in trunk or "/" in trunk):  # timm would ask the hub
        raise WeightsError(f"expected a config of {what} with a plain name of timm's, got {trunk!r:.60}")
    side, patch = (_sides(_vision(config).get(key)) for key in ("image_size", "patch_size"))
    if side and patch and (patch[0] > side[0] or patch[-1] > side[-1]):
        raise WeightsError(
            f"expected a config of {what} with a patch_size up to its image_size, got {patch} and {side}"
        )
    _check_count(config.get("embed_dim"), "embed_dim", what, _MOST_CHANNELS)
    if not isinstance(config.get("quick_gelu", False), (bool, type(None))):
        raise WeightsError(
            f"expected a config of {what} with quick_gelu true or false, got {config['quick_gelu']!r:.60}"
        )
    _check_values(config, what)


def _sides(value: object) -> tuple[int, ...]:
    """(height, width), or the side of a square; nothing where a config leaves the size to its classes."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) if isinstance(value, int) else ()


def _check_count(value: object, key: str, what: str, most: int = _LARGEST) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise WeightsError(f"expected a config of {what} with {key} in 1..{most}, got {value!r:.60}")


def _check_values(value: object, what: str) -> None:
    """Numbers of a damaged config could make open_clip allocate without end."""
    if isinstance(value, Mapping):
        for one in value.values():
            _check_values(one, what)
    elif isinstance(value, (list, tuple)):
        for one in value:
            _check_values(one, what)
    elif isinstance(value, (int, float)) and not abs(value) <= _LARGEST:
        raise WeightsError(f"expected a config of {what} with numbers up to {_LARGEST}, got {value!r:.60}")


def check_tower(config: Config, what: str, method: Method | None = None) -> Tower:
    """The image tower of a config without its memory, checked before anything of the texts is made.

    Raises:
        UnsupportedModelError: it has no tokens that ovseg reads, or nothing that ``method`` could change.
        WeightsError: the config cannot be built.
    """
    try:
        with torch.device("meta"):
            visual = _build_vision_tower(config["embed_dim"], _vision(config), bool(config.get("quick_gelu")))
    except Exception as error:  # open_clip and timm raise whatever the values lead to
        raise WeightsError(
            f"expected an image tower of {what}, its config cannot be built: {brief(error)}"
        ) from None
    if method is not None:
        check_method(visual, method)
    return tower_of(visual)


def _vision(config: Config) -> dict[str, object]:
    """A copy of the image tower's config, without the weights that timm would fetch for its part."""
    vision = config["vision_cfg"]
    assert isinstance(vision, Mapping)  # check_config has seen to it
    return {**deepcopy(dict(vision)), "timm_model_pretrained": False}


def build_clip(config: Config, what: str, *, offline: bool = True) -> Clip:
    """The untrained model of a config, in eval mode.

    Args:
        config: open_clip's, checked by ``check_config``.
        what: the model's name, for messages.
        offline: never ask the hub for the parts of a text tower.

    Raises:
        WeightsError: the config cannot be built, or a text tower's parts cannot be had.
    """
    values = deepcopy({**config, "vision_cfg": _vision(config)})
    text = values["text_cfg"]
    assert isinstance(text, dict)
    repository = text.get("hf_model_name")
    if repository:
        text["hf_model_name"] = str(_text_folder(str(repository), what, offline))
        text["hf_model_pretrained"] = False
    custom = bool(values.pop("custom_text", False)) or bool(repository)
    kind = (
        (open_clip.CoCa if "multimodal_cfg" in values else open_clip.CustomTextCLIP)
        if custom
        else open_clip.CLIP
    )
    try:
        return kind(**values).eval()
    except OvsegError:
        raise
    except Exception as error:
        raise WeightsError(f"expected the parts of {what}, open_clip says: {brief(error)}") from None


def build_tokenizer(config: Config, what: str, *, offline: bool, folder: Path | None = None) -> Tokenizer:
    """The tokenizer of a config.

    Args:
        config: open_clip's.
        what: the model's name, for messages.
        offline: never ask the hub.
        folder: of a model on disk, where its tokenizer is looked for first.

    Raises:
        WeightsError: the tokenizer cannot be had or cannot be built.
    """
    text = config["text_cfg"]
    assert isinstance(text, Mapping)
    options = text.get("tokenizer_kwargs") or {}
    if not isinstance(options, Mapping):
        raise WeightsError(f"expected tokenizer_kwargs of {what} by name, got {options!r:.60}")
    length = text.get("context_length", 77)
    repository = text.get("hf_tokenizer_name")
    place = folder
    if repository and (folder is None or not hub.has_tokenizer(folder)):
        place = _text_folder(str(repository), what, offline)
    try:
        if not repository:
            return SimpleTokenizer(context_length=length, **options)
        mode = text.get("tokenizer_mode")
        return HFTokenizer(str(place), context_length=length, tokenizer_mode=mode, **options)
    except Exception as error:
        raise WeightsError(f"expected the tokenizer of {what}: {brief(error)}") from None


def _text_folder(repository: str, what: str, offline: bool) -> Path:
    try:
        return store.text_parts(repository, offline=offline)
    except OvsegError as error:
        raise WeightsError(f"expected the text tower of {what}: {error}") from None
