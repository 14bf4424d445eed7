"""MobileSAM (Zhang et al., 2023): SAM's decoder on TinyViT, 10 M parameters, "mobile".

Its own package is not on PyPI. Its prompt encoder and mask decoder are SAM's, and its image encoder is timm's
TinyViT-5M, except that the last stage keeps its 1/16 of the input and a neck follows; so it is put together
from those, and its authors' checkpoint, mobile_sam.pt, is read by translating its names. Checked against the
original's outputs in tests/segmenters/test_mobile.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ovseg.options import DeviceOptions
from ovseg.segmenters.sam import SegmentAnything, load_with
from ovseg.segmenters.sam_modules import MaskDecoder, PromptEncoder, Sam, SquareEncoder, make_neck
from ovseg.weights.checkpoints import State

SIDE = 1024
_WIDTH = 256  # channels between encoder and decoder


class TinyEncoder(SquareEncoder):
    """(B, 3, side, side) normalised pixels to (B, 256, side / 16, side / 16)."""

    def __init__(self, side: int = SIDE) -> None:
        from timm.models.tiny_vit import TinyVit  # only here: timm takes seconds to import

        super().__init__(side)
        self.body = TinyVit(
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        last: Any = self.body.stages[3]
        last.downsample.conv2.conv.stride = (1, 1)
        self.neck = make_neck(320, _WIDTH)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        # The classifier head is in the checkpoint and stays unused.
        out: torch.Tensor = self.neck(self.body.forward_features(pixels))
        return out


def build(side: int = SIDE) -> Sam:
    """An untrained MobileSAM for a square input of ``side`` pixels."""
    decoder = MaskDecoder(_WIDTH, heads=8, hidden=2048, iou_hidden=256)
    return Sam(TinyEncoder(side), PromptEncoder(_WIDTH, side, 16), decoder)


_NAMES = [
    (r"^image_encoder\.patch_embed\.seq\.0\.", "image_encoder.body.patch_embed.conv1."),
    (r"^image_encoder\.patch_embed\.seq\.2\.", "image_encoder.body.patch_embed.conv2."),
    (r"^image_encoder\.norm_head\.", "image_encoder.body.head.norm."),
    (r"^image_encoder\.head\.", "image_encoder.body.head.fc."),
    (r"^(image_encoder\.body\..+)\.c\.weight$", r"\1.conv.weight"),
]


def timm_name(name: str) -> str:
    """The name in ``build()`` of a tensor in the authors' checkpoint."""
    # There a stage ends with the reduction for the next one, in timm it begins with its own.
    found = re.match(r"image_encoder\.layers\.(\d+)\.(downsample|blocks)\.(.+)", name)
    if found:
        stage = int(found[1]) + (found[2] == "downsample")
        name = f"image_encoder.body.stages.{stage}.{found[2]}.{found[3]}"
    for pattern, new in _NAMES:
        name = re.sub(pattern, new, name)
    return name


def _renamed(state: State) -> State:
    return {timm_name(name): value for name, value in state.items()}


def load(name: str, weights: str | Path | None, options: DeviceOptions) -> SegmentAnything:
    """MobileSAM with its official or other weights. See ``load_segmenter``."""
    return load_with(build, name, weights, options, _renamed)
