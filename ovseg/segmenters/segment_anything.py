"""SAM (Kirillov et al., 2023) through Meta's segment-anything package: vit_b, vit_l, vit_h.

The package's predictor holds one image; here its parts are called without state, so that several
images and threads share one model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch.nn import functional as F

from ovseg.errors import ImageError, WeightsError
from ovseg.segmenters.base import Embedding, MaskSet, Prompt, Segmenter, framed
from ovseg.weights import checkpoints, store
from ovseg.weights.checkpoints import State
from ovseg.weights.digest import RANDOM
from ovseg.weights.known import OFFICIAL


@dataclass(frozen=True)
class _Features:
    image: torch.Tensor  # (1, C, h, w)
    input_size: tuple[int, int]  # (height, width) before padding to the square


class SegmentAnything(Segmenter):
    """One built ``Sam``; ``name`` keys its embeddings, so give each set of weights its own."""

    def __init__(self, sam: Sam, name: str, device: str = "cpu") -> None:
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


# ------------------------------------------------------------------------------------------- loading


def load(
    name: str, weights: str | Path | None = None, device: str = "cpu", *, offline: bool = False
) -> SegmentAnything:
    """SAM with its official or other weights. See ``load_segmenter``.

    Args:
        name: "vit_b", "vit_l" or "vit_h".
        weights: a file; None for the official file in the weights folder; "random" for untrained weights.
        device: where it computes.
        offline: nothing is downloaded either way.

    Raises:
        WeightsError: the file is missing, damaged, holds more than tensors, or is of another architecture.
    """
    return load_with(sam_model_registry[name], name, weights, device)


def load_with(
    build: Callable[[], Sam],
    name: str,
    weights: str | Path | None,
    device: str,
    rename: Callable[[State], State] = lambda state: state,
) -> SegmentAnything:
    """What ``build`` makes, filled with the tensors of a file under the names ``rename`` gives them."""
    if weights == RANDOM:
        return SegmentAnything(build(), f"{name} random", device)
    file = store.pull(name) if weights is None else Path(weights).expanduser()
    if weights is not None and not file.exists():
        raise WeightsError(
            f"wanted weights of {name}, {file} does not exist: its authors' file is {OFFICIAL[name].file}"
        )
    state = rename(checkpoints.read(file, f"weights of {name}").state)
    sam = build()
    checkpoints.fill(sam, state, name, file)
    return SegmentAnything(sam, f"{name} {file_state([file])}", device)


def file_state(files: Sequence[Path]) -> str:
    """Paths, sizes and times of files: what keys the embeddings of a segmenter that was read from them."""
    stats = [(file.resolve(), file.stat()) for file in files]
    return " ".join(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)
