"""A very small SAM in segment-anything's own classes, shipped with the package as one safetensors asset.

Half-precision weights, computed with in float32. Trained by tools/train_tiny_sam.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from ovseg.errors import WeightsError
from ovseg.segmenters.segment_anything import SegmentAnything
from ovseg.weights import checkpoints, store
from ovseg.weights.digest import RANDOM, file_digest
from ovseg.weights.files import brief
from ovseg.weights.known import TINY

_WHAT = "the embedded SAM"
_LARGEST = {"side": 4096, "patch": 256, "width": 4096, "depth": 64, "heads": 64, "channels": 4096}
CONFIG = set(_LARGEST)


class TinySam(SegmentAnything):
    """Trained with coarse maps besides clicks and boxes."""

    accepts_mask_prompt = True


def asset_path() -> Path:
    """Where the installed package keeps the embedded SAM."""
    return store.embedded("segmenter").path()


def build(config: Mapping[str, int]) -> Sam:
    """An untrained SAM of a config ``{"side", "patch", "width", "depth", "heads", "channels"}``.

    ``side`` of the square input and ``patch`` in pixels; ``width``, ``depth`` and ``heads`` of the
    image encoder, whose attention is global in every block; ``channels`` of embedding and decoder.
    """
    side, channels = config["side"], config["channels"]
    grid = side // config["patch"]
    encoder = ImageEncoderViT(
        img_size=side,
        patch_size=config["patch"],
        embed_dim=config["width"],
        depth=config["depth"],
        num_heads=config["heads"],
        out_chans=channels,
    )
    decoder = MaskDecoder(
        transformer_dim=channels,
        transformer=TwoWayTransformer(depth=2, embedding_dim=channels, num_heads=4, mlp_dim=4 * channels),
        iou_head_hidden_dim=2 * channels,
    )
    return Sam(encoder, PromptEncoder(channels, (grid, grid), (side, side), 16), decoder).eval()


def save(sam: Sam, config: Mapping[str, int], path: Path) -> None:
    """Write ``sam``, built from ``config``, to ``path``."""
    state = {key: value.detach().half().contiguous() for key, value in sam.state_dict().items()}
    save_file(state, path, metadata={"config": json.dumps(config)})


def load(
    name: str = TINY, weights: str | Path | None = None, device: str = "cpu", *, offline: bool = False
) -> TinySam:
    """The embedded SAM. See ``load_segmenter``.

    Args:
        name: "tiny".
        weights: another file that ``save`` wrote; None for the package's own; "random" for untrained weights.
        device: where it computes.
        offline: nothing is downloaded either way.

    Raises:
        WeightsError: the file is missing, damaged or another kind of file.
    """
    path = asset_path() if weights in (None, RANDOM) else Path(str(weights)).expanduser()
    checkpoint = checkpoints.read(path, f"weights of {_WHAT}")
    config = _checked(checkpoints.config_of(checkpoint, _WHAT), path)
    if weights == RANDOM:
        return TinySam(build(config), f"{name} random", device)
    try:
        with torch.device("meta"):  # shapes first: those of a damaged config may be larger than the memory
            wanted = build(config).state_dict()
    except Exception as error:  # SAM's classes raise whatever the numbers lead to
        raise WeightsError(f"expected weights of {_WHAT}, {path} does not fit: {brief(error)}") from None
    state = checkpoints.fitted(wanted, checkpoint.state, _WHAT, path)
    sam = build(config)
    sam.load_state_dict(state)
    return TinySam(sam, f"{name} {file_digest(path)[:12]}", device)


def _checked(config: dict[str, object], path: Path) -> dict[str, int]:
    """The numbers of a config. Raises WeightsError where one is missing or not a sensible integer."""
    if not set(config) >= CONFIG:
        raise WeightsError(
            f"expected a file with the shape of its model, {path} lacks {sorted(CONFIG - set(config))}"
        )
    found: dict[str, int] = {}
    for key in sorted(CONFIG):
        value = config[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST[key]:
            raise WeightsError(
                f"expected {key} of {_WHAT} in 1..{_LARGEST[key]}, {path} says {str(value)[:60]}"
            )
        found[key] = value
    side, patch, width, heads, channels = (
        found[key] for key in ("side", "patch", "width", "heads", "channels")
    )
    if side % patch or width % heads or channels % 16:
        raise WeightsError(
            f"expected weights of {_WHAT}, {path} does not fit: its side, width or channels are no multiples "
            f"of patch, heads or 16"
        )
    return found
