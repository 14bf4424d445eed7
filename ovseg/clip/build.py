"""Build a model from open_clip's config: config and image tower are checked first.

open_clip's ``create_model`` and ``get_tokenizer`` ask the hub for some text towers, and write to the log of
the whole process; here their parts are called directly, with folders in place of the hub's names.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, _build_vision_tower
from open_clip.tokenizer import HFTokenizer
from torch import nn
from torch.overrides import TorchFunctionMode

from ovseg.clip.attention import Method
from ovseg.clip.config import Config, check_config, part
from ovseg.clip.text_tower import BytePairs, Tokenizer
from ovseg.clip.towers import Tower, check_method, tower_of
from ovseg.errors import OvsegError, WeightsError
from ovseg.weights import network, store
from ovseg.weights.files import brief, file_digest

PARTS = {
    "vision_cfg": set(inspect.signature(CLIPVisionCfg).parameters),
    "text_cfg": set(inspect.signature(CLIPTextCfg).parameters),
}
"""Keys that open_clip accepts."""


class _Unfilled(TorchFunctionMode):
    """Skips the initialisation of weights: on the meta device, torch spends up to a second on drawing none."""

    _FILLING = (
        "add_",
        "clamp_",
        "copy_",
        "erfinv_",
        "fill_",
        "mul_",
        "normal_",
        "trunc_normal_",
        "uniform_",
        "zero_",
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and getattr(func, "__name__", "") in self._FILLING:
            return args[0]
        return func(*args, **(kwargs or {}))


def unfilled_tower(config: Config) -> nn.Module:
    """The image tower of a config on the meta device, shapes without memory."""
    with torch.device("meta"), _Unfilled():
        return _build_vision_tower(
            config["embed_dim"], _vision(config), bool(config.get("quick_gelu"))
        ).eval()


def check_tower(config: Config, what: str, method: Method | None = None) -> Tower:
    """Build a config's image tower on the meta device and check it, before any part of the text tower.

    Raises:
        UnsupportedModelError: ovseg cannot read its tokens, or ``method`` has nothing to change in it.
        WeightsError: the config is not one of open_clip's, or cannot be built.
    """
    check_config(config, what, PARTS)
    try:
        visual = unfilled_tower(config)
    except Exception as error:  # open_clip and timm raise whatever the values lead to
        raise WeightsError(
            f"expected an image tower of {what}, its config cannot be built: {brief(error)}"
        ) from None
    if method is not None:
        check_method(visual, method)
    return tower_of(visual)


def _vision(config: Config) -> dict[str, object]:
    """A copy of the image tower's config that keeps timm from fetching weights."""
    return {**deepcopy(dict(part(config, "vision_cfg"))), "timm_model_pretrained": False}


def build_clip(
    config: Config, what: str, *, offline: bool = True
) -> open_clip.CLIP | open_clip.CustomTextCLIP:
    """The untrained model of a config, in eval mode.

    Args:
        config: open_clip's, checked by ``check_tower``.
        what: the model's name, for messages.
        offline: never ask the hub for the parts of a text tower.

    Raises:
        WeightsError: the config cannot be built, or a text tower's files cannot be fetched.
    """
    values = deepcopy({**config, "vision_cfg": _vision(config)})
    text = values["text_cfg"]
    assert isinstance(text, dict)
    repository = text.get("hf_model_name")
    if repository:
        text["hf_model_name"] = str(text_folder(repository, what, offline))
        text["hf_model_pretrained"] = False
    kind = open_clip.CLIP
    if values.pop("custom_text", False) or repository:
        kind = open_clip.CoCa if "multimodal_cfg" in values else open_clip.CustomTextCLIP
    try:
        return kind(**values).eval()
    except Exception as error:
        raise WeightsError(f"expected the parts of {what}, open_clip says: {brief(error)}") from None


def text_folder(repository: object, what: str, offline: bool) -> Path:
    """The folder with config and tokenizer of a text tower of the hub. Raises WeightsError."""
    try:
        return store.text_parts(str(repository), offline=offline)
    except OvsegError as error:
        raise WeightsError(f"expected the text tower of {what}: {error}") from None


def build_tokenizer(config: Config, what: str, *, offline: bool, folder: Path | None = None) -> Tokenizer:
    """The tokenizer of a config.

    Args:
        config: open_clip's.
        what: the model's name, for messages.
        offline: never ask the hub.
        folder: of a model on disk, searched for a tokenizer first.

    Raises:
        WeightsError: the tokenizer cannot be fetched or built.
    """
    text = part(config, "text_cfg")
    options, length = text.get("tokenizer_kwargs") or {}, text.get("context_length", 77)
    if not isinstance(options, Mapping):
        raise WeightsError(f"expected tokenizer_kwargs of {what} by name, got {options!r:.60}")
    assert isinstance(length, int)  # checked by check_config
    repository = text.get("hf_tokenizer_name")
    place = folder
    if repository and (folder is None or not network.has_tokenizer(folder)):
        place = text_folder(repository, what, offline)
    try:
        if not repository:
            made = BytePairs(length, **options)
            if options:
                made.own  # noqa: B018 - wrong options raise now, not at the first text
            return made
        mode = text.get("tokenizer_mode")
        return HFTokenizer(str(place), context_length=length, tokenizer_mode=mode, **options)
    except Exception as error:
        raise WeightsError(f"expected the tokenizer of {what}: {brief(error)}") from None


def text_identity(config: Config, clip: nn.Module, tokenizer: Tokenizer) -> str:
    """What text features depend on besides weights, templates and texts; equal in every process.

    It holds the config, the hub's files of text tower and tokenizer, and the versions of their packages.
    """
    packages, files = ["open_clip_torch"], {}
    if isinstance(tokenizer, HFTokenizer):
        packages += ["transformers", "tokenizers"]
        folder = Path(tokenizer.tokenizer.name_or_path)
        found = {file for pattern in network.TEXT_FILES for file in folder.glob(pattern)}
        files = {file.name: file_digest(file) for file in found}
    tower = getattr(getattr(clip, "text", None), "config", None)  # of transformers
    settings = {key: value for key, value in config.items() if key != "vision_cfg"}
    versions = {name: version(name) for name in packages}
    return json.dumps([settings, None if tower is None else tower.to_dict(), files, versions], sort_keys=True)
