"""Load a model by name, with its tokenizer, its normalisation and a record of its weights."""

from __future__ import annotations

from importlib.metadata import version
from os import PathLike
from pathlib import Path

import torch

from ovseg.clip import embedded
from ovseg.clip.attention import Method
from ovseg.clip.loaded import MEAN, STD, LoadedClip, looks_like_file
from ovseg.clip.text_tower import BytePairs
from ovseg.clip.towers import tower_of
from ovseg.errors import UsageError, described
from ovseg.options import LoadOptions
from ovseg.options.checks import check_name_or_path, check_text
from ovseg.weights.device import check_device
from ovseg.weights.files import RANDOM, WeightsRecord
from ovseg.weights.known import EMBEDDED, SMALL

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def list_models() -> dict[str, tuple[str, ...]]:
    """Every model by name with the tags of its weights: the embedded ones and all that open_clip lists.

    ovseg cannot read the tokens of every image tower: ``load_clip`` then raises, from the config alone.

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
    """Load a model by name, ready for ``encode_image``.

    Args:
        name: "small" or "tiny" (embedded), a name of open_clip's, "hf-hub:org/name" or "local-dir:FOLDER".
        weights: a tag of open_clip's, a file, or "random" for untrained weights. None for the embedded ones,
            "hf-hub:" and "local-dir:", which have weights of their own; any other model needs one.
        device: "cpu", "cuda", "cuda:1" …
        precision: "fp32", "bf16" or "fp16", of the image tower; the text tower stays in fp32.
        offline: never touch the network.
        method: that it is loaded for; if the image tower does not support it, nothing is downloaded.

    Raises:
        UsageError: an argument is wrong, or the name or tag is unknown.
        UnsupportedModelError: ovseg cannot read the image tower's tokens, or ``method`` has nothing to change
            in it. Known from the config, before anything is downloaded.
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
