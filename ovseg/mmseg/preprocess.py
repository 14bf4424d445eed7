"""From the pipeline's arrays to what the encoder takes: RGB, normalised as in ovseg's own preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmseg.registry import MODELS

from ovseg.checks import check_flag
from ovseg.errors import UsageError


@MODELS.register_module()
class ClipPreProcessor(BaseDataPreprocessor):
    """uint8 images (3, H, W) to ``(x / 255 - mean) / std``, float32, each at its own size.

    ``mean`` and ``std`` of R, G, B in 0..1. Images are not padded to a common size, because padding
    would be seen by the attention: a batch is a list, and the segmentor groups it.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], bgr_to_rgb: bool = True) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UsageError(f"wanted mean and std of three channels, got {list(mean)} and {list(std)}")
        check_flag("bgr_to_rgb", bgr_to_rgb)
        self.bgr_to_rgb = bgr_to_rgb
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None], False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None], False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Move "inputs" (images of any sizes) and "data_samples" to the model's device, and normalise."""
        data = self.cast_data(data)
        images = [image.flip(0) if self.bgr_to_rgb else image for image in data["inputs"]]
        inputs = [(image.float() / 255 - self.mean) / self.std for image in images]
        return {"inputs": inputs, "data_samples": data.get("data_samples")}
