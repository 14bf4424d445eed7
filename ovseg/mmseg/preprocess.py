"""From the pipeline's arrays to what the encoder takes: RGB, normalised as in ovseg's own preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmseg.registry import MODELS

from ovseg.errors import UsageError
from ovseg.options.checks import check_flag


@MODELS.register_module()
class ClipPreProcessor(BaseDataPreprocessor):
    """uint8 images (3, H, W) to ``(x / 255 - mean) / std``, float32, each at its own size.

    Images are not padded to a common size, because padding would be seen by the attention: a batch is a list,
    and the segmentor groups it.

    Args:
        mean, std: of R, G, B in 0..1; None for those of the model that the segmentor loads.
        bgr_to_rgb: whether the images are BGR, as mmseg's pipelines give them.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        bgr_to_rgb: bool = True,
    ) -> None:
        super().__init__()
        check_flag("bgr_to_rgb", bgr_to_rgb)
        if (mean is None) != (std is None):
            raise UsageError("expected mean and std of three channels, or neither, got one of them")
        self.bgr_to_rgb = bgr_to_rgb
        if mean is not None and std is not None:
            self.set(mean, std)

    @property
    def is_set(self) -> bool:
        """Whether mean and std are known."""
        return hasattr(self, "mean")

    def set(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise with these values of R, G, B."""
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UsageError(f"expected mean and std of three channels, got {list(mean)} and {list(std)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None], False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None], False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Move "inputs" (images of any sizes) and "data_samples" to the model's device, and normalise."""
        data = self.cast_data(data)
        images = [image.flip(0) if self.bgr_to_rgb else image for image in data["inputs"]]
        inputs = [(image.float() / 255 - self.mean) / self.std for image in images]
        return {"inputs": inputs, "data_samples": data.get("data_samples")}
