"""SAM (Kirillov et al., 2023) through Meta's segment-anything package: vit_b, vit_l, vit_h.

The package's predictor holds one image; here its parts are called without state, so that several
images and threads share one model.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything import sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide
from torch.nn import functional as F

from ovseg.errors import ImageError, WeightsError
from ovseg.segmenters.base import Embedding, MaskSet, Prompt, Segmenter, framed
from ovseg.weights import segmenters as weights

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class _Features:
    image: torch.Tensor  # (1, C, h, w)
    input_size: tuple[int, int]  # (height, width) before padding to the square


class SegmentAnything(Segmenter):
    """One built ``Sam``; ``name`` keys its embeddings, so give each set of weights its own."""

    def __init__(self, sam: Any, name: str, device: str = "cpu") -> None:
        super().__init__()
        self.name = name
        self.sam = sam.to(device).eval()
        self._transform = ResizeLongestSide(sam.image_encoder.img_size)

    def prior(self, embedding: Embedding, values: np.ndarray) -> np.ndarray:
        side = self.sam.prompt_encoder.mask_input_size[0]
        height, width = embedding.features.input_size
        share = side / self.sam.image_encoder.img_size
        return framed(values, (height * share, width * share), side)

    @torch.no_grad()
    def _encode(self, image: np.ndarray) -> _Features:
        side = self.sam.image_encoder.img_size
        if min(image.shape[:2]) * 2 * side < max(image.shape[:2]):
            raise ImageError(
                f"wanted sides within 1:{2 * side} for SAM, got {image.shape[1]} x {image.shape[0]} pixels"
            )
        resized = self._transform.apply_image(image)
        pixels = torch.from_numpy(np.array(resized)).to(self.sam.device).permute(2, 0, 1)[None].float()
        features = self.sam.image_encoder(self.sam.preprocess(pixels))
        return _Features(features, (resized.shape[0], resized.shape[1]))

    @torch.no_grad()
    def _decode(self, embedding: Embedding, prompt: Prompt) -> MaskSet:
        device, size = self.sam.device, embedding.size
        points = box = mask = None
        if len(prompt.points):
            xy = self._transform.apply_coords(prompt.points, size)
            points = (
                torch.as_tensor(xy, dtype=torch.float, device=device)[None],
                torch.as_tensor(prompt.labels, dtype=torch.int, device=device)[None],
            )
        if prompt.box is not None:
            corners = self._transform.apply_boxes(prompt.box[None], size)
            box = torch.as_tensor(corners, dtype=torch.float, device=device)
        if prompt.mask is not None:
            low = torch.as_tensor(prompt.mask, dtype=torch.float, device=device)[None, None]
            wanted = self.sam.prompt_encoder.mask_input_size
            mask = low if low.shape[2:] == wanted else F.interpolate(low, wanted, mode="bilinear")
        sparse, dense = self.sam.prompt_encoder(points=points, boxes=box, masks=mask)
        logits, scores = self.sam.mask_decoder(
            image_embeddings=embedding.features.image,
            image_pe=self.sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        full = self.sam.postprocess_masks(logits, embedding.features.input_size, size)
        masks = (full[0] > self.sam.mask_threshold).cpu().numpy()
        return MaskSet(masks, scores[0].float().cpu().numpy(), logits[0].float().cpu().numpy())


def load(name: str, checkpoint: str | Path | None, device: str = "cpu", **_: Any) -> SegmentAnything:
    """vit_b, vit_l or vit_h with the weights in ``weights``, the official file in the weights folder
    for None, or untrained ones for "random".

    Raises WeightsError where the file is missing, damaged, holds more than tensors, or is of
    another architecture.
    """
    return load_with(sam_model_registry[name], name, checkpoint, device)


def load_with(
    build: Callable[[], Any],
    name: str,
    checkpoint: str | Path | None,
    device: str,
    rename: Callable[[State], State] = lambda state: state,
) -> SegmentAnything:
    """What ``build`` makes, filled with the checkpoint's tensors under the names ``rename`` gives them."""
    if checkpoint == "random":
        return SegmentAnything(build(), f"{name} random", device)
    file = weights.pull(name) if checkpoint is None else Path(checkpoint)
    if not file.is_file():
        raise WeightsError(
            f"wanted a checkpoint for {name}, {file} does not exist: "
            f"its authors' is {weights.OFFICIAL[name].file}"
        )
    state = rename(read_checkpoint(file))
    sam = build()
    fill(sam, state, name, file)
    stat = file.stat()
    return SegmentAnything(sam, f"{name} {file.resolve()} {stat.st_size} {stat.st_mtime_ns}", device)


def read_checkpoint(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .pth file, read without running any code in it."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0][:120] if "Weights only" not in str(error) else "code in it"
        raise WeightsError(
            f"wanted tensors only, {file} holds something else ({reason}): not loaded"
        ) from None
    except Exception as error:  # on damage torch.load raises whatever its unpickler stumbles over
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise WeightsError(f"wanted a whole checkpoint, {file} cannot be read: {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"wanted a dictionary of tensors, {file} holds something else")
    return state


def fill(sam: Any, state: dict[str, torch.Tensor], name: str, file: Path) -> None:
    """``state`` into ``sam``, every tensor and none left over: an SAM-HQ file in SAM is an error."""
    try:
        sam.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        problem = lines[1] if len(lines) > 1 else lines[0]
        raise WeightsError(f"wanted weights of {name}, {file} does not fit: {problem[:160]}") from None
