"""A very small SAM, shipped with the package as one safetensors file.

The file stores half precision; the model computes in float32. Trained by tools/train_tiny_sam.py.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ovseg.errors import UsageError, WeightsError
from ovseg.options import DeviceOptions
from ovseg.options.checks import check_integer
from ovseg.segmenters.sam import SegmentAnything
from ovseg.segmenters.sam_modules import (
    MaskDecoder,
    PromptEncoder,
    Sam,
    SquareEncoder,
    TwoLayers,
    make_neck,
)
from ovseg.weights import checkpoints, store
from ovseg.weights.files import RANDOM, file_digest
from ovseg.weights.known import TINY

_WHAT = "the embedded SAM"


@dataclass(frozen=True)
class Shape:
    """The numbers that a small SAM is built from, kept as JSON in its file.

    Attributes:
        side: of the square input in pixels.
        patch: side of a patch in pixels.
        width, depth, heads: of the image encoder, whose attention is global in every block.
        channels: of the embedding and the decoder.
    """

    side: int
    patch: int
    width: int
    depth: int
    heads: int
    channels: int


_LARGEST = Shape(side=4096, patch=256, width=4096, depth=64, heads=64, channels=4096)


# ------------------------------------------------- image encoder, after segment-anything (Meta, Apache-2.0)


class EncoderAttention(nn.Module):
    """Global self-attention of patches (B, h, w, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, width * 3)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Each (B * heads, N, C / heads); B is the number of images, N = h * w.
        q, k, v = qkv.reshape(3, batch * self.heads, height * width, -1).unbind(0)
        attention = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
        mixed = (attention @ v).view(batch, self.heads, height, width, -1).permute(0, 2, 3, 1, 4)
        out: Tensor = self.proj(mixed.reshape(batch, height, width, -1))
        return out


class EncoderBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = EncoderAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = TwoLayers(width, 4 * width, nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ImageEncoder(SquareEncoder):
    """A ViT with global attention in every block: pixels (B, 3, side, side) to (B, channels, h, w)."""

    def __init__(self, side: int, patch: int, width: int, depth: int, heads: int, channels: int) -> None:
        super().__init__(side)
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, width, patch, patch)))
        self.pos_embed = nn.Parameter(torch.zeros(1, side // patch, side // patch, width))
        self.blocks = nn.ModuleList(EncoderBlock(width, heads) for _ in range(depth))
        self.neck = make_neck(width, channels)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch_embed(pixels).permute(0, 2, 3, 1) + self.pos_embed  # (B, h, w, C)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out


# ----------------------------------------------------------------------------------------- segmenter


class TinySam(SegmentAnything):
    """Trained with coarse maps besides clicks and boxes."""

    accepts_mask_prompt = True


def asset_path() -> Path:
    """The file of the embedded SAM in the installed package."""
    return store.embedded("segmenter", TINY).path()


def build(shape: Shape) -> Sam:
    """An untrained SAM of a shape."""
    encoder = ImageEncoder(shape.side, shape.patch, shape.width, shape.depth, shape.heads, shape.channels)
    width = shape.channels
    decoder = MaskDecoder(width, heads=4, hidden=4 * width, iou_hidden=2 * width)
    return Sam(encoder, PromptEncoder(width, shape.side, shape.patch), decoder)


def save(sam: nn.Module, shape: Shape, path: Path) -> None:
    """Write ``sam``, built from ``shape``, to ``path``."""
    state = {key: value.detach().half().contiguous() for key, value in sam.state_dict().items()}
    save_file(state, path, metadata={"config": json.dumps(asdict(shape))})


def load(name: str, weights: str | Path | None, options: DeviceOptions) -> TinySam:
    """The embedded SAM, or another file that ``save`` wrote. See ``load_segmenter``.

    Raises:
        WeightsError: the file is missing, damaged or another kind of file.
    """
    path = asset_path() if weights in (None, RANDOM) else Path(str(weights)).expanduser()
    checkpoint = checkpoints.read(path, f"weights of {_WHAT}")
    shape = _shape_of(checkpoint)
    sam = build(shape)
    if weights == RANDOM:
        return TinySam(sam, f"{name} random", options.device)
    checkpoints.fill(sam, checkpoint.state, _WHAT, path)
    return TinySam(sam, f"{name} {file_digest(path)[:12]}", options.device)


def _shape_of(checkpoint: checkpoints.Checkpoint) -> Shape:
    """The shape in a file's config, compared with its tensors before memory is allocated for it."""
    config = checkpoints.config_of(checkpoint, _WHAT)
    problem = f"expected weights of {_WHAT}, {checkpoint.file} does not fit"
    try:
        largest = asdict(_LARGEST).items()
        shape = Shape(**{key: check_integer(key, config.get(key), 1, most) for key, most in largest})
    except UsageError as error:
        raise WeightsError(f"{problem}: {error}") from None
    if shape.side % shape.patch or shape.width % shape.heads or shape.channels % 16:
        raise WeightsError(f"{problem}: its side, width or channels are no multiples of patch, heads or 16")
    grid = shape.side // shape.patch
    for key, wanted in {
        "image_encoder.patch_embed.proj.weight": (shape.width, 3, shape.patch, shape.patch),
        "image_encoder.pos_embed": (1, grid, grid, shape.width),
        "prompt_encoder.no_mask_embed.weight": (1, shape.channels),
    }.items():
        found = checkpoint.state.get(key)
        if found is None or found.shape != wanted:
            got = "none" if found is None else tuple(found.shape)
            raise WeightsError(f"{problem}: expected {key} of {wanted}, got {got}")
    return shape
