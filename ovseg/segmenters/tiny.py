"""A very small SAM in segment-anything's own classes, shipped with the package as one safetensors asset.

Half-precision weights, computed with in float32. Trained by tools/train_tiny_sam.py.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from ovseg.errors import WeightsError
from ovseg.paths import sha256_of
from ovseg.segmenters.segment_anything import SegmentAnything, fill

CONFIG = {"side", "patch", "width", "depth", "heads", "channels"}


class TinySam(SegmentAnything):
    """Trained with coarse maps besides clicks and boxes."""

    accepts_mask_prompt = True


def asset_path() -> Path:
    """Where the installed package keeps the embedded SAM."""
    return Path(str(resources.files("ovseg") / "assets" / "tiny_sam.safetensors"))


def build(config: dict[str, Any]) -> Sam:
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


def save(sam: Sam, config: dict[str, Any], path: Path) -> None:
    """Write ``sam``, built from ``config``, to ``path``."""
    state = {key: value.detach().half().contiguous() for key, value in sam.state_dict().items()}
    save_file(state, path, metadata={"config": json.dumps(config)})


def load(
    name: str = "tiny", checkpoint: str | Path | None = None, device: str = "cpu", *, offline: bool = False
) -> TinySam:
    """The embedded SAM, or from ``weights`` another file that ``save`` wrote.

    Raises WeightsError where the file is missing or is none of its kind.
    """
    path = Path(checkpoint) if checkpoint is not None else asset_path()
    if not path.is_file():
        raise WeightsError(f"wanted an embedded SAM's weights, {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {}).get("config", "null"))
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"wanted a whole safetensors file, {path} cannot be read: {error}") from None
    if not isinstance(config, dict) or not set(config) >= CONFIG:
        raise WeightsError(f"wanted a file with the shape of its model, {path} has none: {config}")
    sam = build(config)
    fill(sam, state, name, path)
    return TinySam(sam, f"{name} {sha256_of(path)[:12]}", device)
