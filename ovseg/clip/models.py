"""A name to a model, its tokenizer, its normalisation, and a record of its weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch

from ovseg.clip import embedded
from ovseg.clip.attention import Method
from ovseg.clip.plain import Clip as PlainClip
from ovseg.clip.text_tower import BytePairs, Tokenizer
from ovseg.clip.towers import tower_of
from ovseg.errors import UsageError, described
from ovseg.options import LoadOptions
from ovseg.options.checks import check_name_or_path, check_text
from ovseg.weights.device import check_device
from ovseg.weights.digest import RANDOM, WeightsRecord, state_digest
from ovseg.weights.known import EMBEDDED, SMALL

if TYPE_CHECKING:
    import open_clip

Clip: TypeAlias = "PlainClip | open_clip.CLIP | open_clip.CustomTextCLIP"
Triple = tuple[float, float, float]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SIZE = 512
"""The default short side in pixels of inputs for dense maps, except for the embedded models."""
MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
"""OpenAI's, of RGB in 0..1, for models that say no other."""
STD: Triple = (0.26862954, 0.26130258, 0.27577711)
_VERSION = 3
"""Part of every key of a text feature: raised when the same inputs give other features."""


@dataclass(frozen=True)
class LoadedClip:
    """A model in eval mode and what its inputs need. It does not change after loading.

    Attributes:
        clip: the embedded model or open_clip's, on the device that was asked for.
        tokenizer: for its texts.
        name: the name that it was loaded by.
        mean: of RGB in 0..1, for normalisation.
        std: likewise.
        size: default short side in pixels of the input for dense maps.
        weights: what was asked for, the file and its SHA-256, or that they are untrained.
        text: what features of texts depend on besides weights, templates and texts; None where nobody says,
            and features are not kept on disk.
        tuned: whether other weights were loaded over those of ``weights``.
    """

    clip: Clip
    tokenizer: Tokenizer
    name: str
    mean: Triple
    std: Triple
    size: int
    weights: WeightsRecord = field(default_factory=lambda: WeightsRecord(RANDOM))
    text: str | None = None
    tuned: bool = False

    @property
    def file(self) -> Path | None:
        """The weights on disk, None where they are untrained."""
        return self.weights.file

    @cached_property
    def text_key(self) -> str | None:
        """The part of a text feature's key on disk that all features of the model share; None as ``text``.

        The file is read once for it, or the weights in memory where no file holds them.
        """
        if self.text is None:
            return None
        weights = None if self.tuned else self.weights.sha256
        parts = f"{_VERSION} {weights or state_digest(self.clip)} {self.text}"
        return hashlib.sha256(parts.encode()).hexdigest()


def list_models() -> dict[str, tuple[str, ...]]:
    """Every model by name with the tags of its weights: the embedded ones and all that open_clip lists.

    Not every image tower of open_clip's has tokens that can be read: ``load_clip`` says so, by the config
    alone.

    Example:
        >>> list_models()["tiny"], "openai" in list_models()["ViT-B-16"]
        ((), True)
    """
    import open_clip

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
    """A model by name, its weights loaded whole, ready for ``encode_image``.

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
        from ovseg.clip.released import load_released  # with open_clip

        plain = name.replace("/", "-") if ":" not in name else name
        loaded = load_released(plain, given, options.offline, method)
    tower_of(loaded.clip.visual)  # raises where its tokens cannot be read
    loaded.clip.eval().requires_grad_(False).to(target)
    loaded.clip.visual.to(PRECISIONS[options.precision])
    return loaded


def _load_embedded(name: str, given: str | Path | None) -> LoadedClip:
    if given == RANDOM:
        clip, record = embedded.load(name, untrained=True), WeightsRecord(RANDOM)
    elif given is None:
        clip, record = embedded.load(name), WeightsRecord("embedded", embedded.asset_path(name))
    elif isinstance(given, str) and not looks_like_file(given):
        raise UsageError(
            f"expected no weights, a file or 'random' for the embedded model, got {described(given)}"
        )
    else:
        file = Path(given).expanduser()
        clip, record = embedded.load(name, file), WeightsRecord(str(given), file)
    mean = getattr(clip.visual, "image_mean", None) or MEAN
    std = getattr(clip.visual, "image_std", None) or STD
    text = f"embedded, tokens of open_clip {version('open_clip_torch')}"
    return LoadedClip(clip, BytePairs(), name, mean, std, embedded.SIZES[name], record, text)


def looks_like_file(weights: str) -> bool:
    """Whether weights given as a text are a file and no tag: by their shape, or because the file is there."""
    try:
        return "/" in weights or "\\" in weights or "." in weights or Path(weights).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # a name that no file system takes, or an unknown home
        return False
