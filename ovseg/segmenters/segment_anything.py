"""SAM (Kirillov et al., 2023) through Meta's segment-anything package: vit_b, vit_l, vit_h.

The package's predictor holds one image; here its parts are called without state, so that several
images and threads share one model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch.nn import functional as F

from ovseg.errors import ImageError
from ovseg.segmenters.base import Embedding, MaskSet, Segmenter, above, framed
from ovseg.segmenters.prompts import CheckedPrompt
from ovseg.weights import checkpoints, store
from ovseg.weights.checkpoints import State
from ovseg.weights.digest import RANDOM

BATCH = 32
"""Prompts in one call of the mask decoder."""


@dataclass(frozen=True)
class _Features:
    image: torch.Tensor  # (1, C, h, w)
    input_size: tuple[int, int]  # (height, width) before padding to the square


class SegmentAnything(Segmenter[_Features]):
    """One built ``Sam``; ``name`` keys its embeddings, so give each set of weights its own."""

    def __init__(self, sam: Sam, name: str, device: str = "cpu") -> None:
        super().__init__()
        self.name = name
        self.sam = sam.to(device).eval()
        self._transform = ResizeLongestSide(sam.image_encoder.img_size)

    def _prior(self, embedding: Embedding[_Features], values: NDArray[np.float32]) -> NDArray[np.float32]:
        side = self.sam.prompt_encoder.mask_input_size[0]
        height, width = embedding.features.input_size
        share = side / self.sam.image_encoder.img_size
        return framed(values, (height * share, width * share), side)

    @torch.no_grad()
    def _encode(self, image: NDArray[np.uint8]) -> _Features:
        side = self.sam.image_encoder.img_size
        if min(image.shape[:2]) * 2 * side < max(image.shape[:2]):
            raise ImageError(
                f"expected sides within 1:{2 * side} for SAM, got {image.shape[1]} x {image.shape[0]} pixels"
            )
        resized = self._transform.apply_image(image)
        pixels = torch.from_numpy(np.array(resized)).to(self.sam.device).permute(2, 0, 1)[None].float()
        features = self.sam.image_encoder(self.sam.preprocess(pixels))
        return _Features(features, (resized.shape[0], resized.shape[1]))

    def _decode(self, embedding: Embedding[_Features], prompt: CheckedPrompt) -> MaskSet:
        return self._decode_many(embedding, [prompt])[0]

    def _decode_many(
        self, embedding: Embedding[_Features], prompts: Sequence[CheckedPrompt]
    ) -> list[MaskSet]:
        """Prompts of equal form in one call of the decoder, at most ``BATCH`` at once."""
        found: dict[int, MaskSet] = {}
        forms: dict[tuple[int, bool, bool], list[int]] = {}
        for index, prompt in enumerate(prompts):
            forms.setdefault(prompt.form, []).append(index)
        for alike in forms.values():
            for start in range(0, len(alike), BATCH):
                part = alike[start : start + BATCH]
                found |= zip(part, self._decode_alike(embedding, [prompts[k] for k in part]), strict=True)
        return [found[index] for index in range(len(prompts))]

    @torch.no_grad()
    def _decode_alike(
        self, embedding: Embedding[_Features], prompts: Sequence[CheckedPrompt]
    ) -> Iterator[MaskSet]:
        device, size = self.sam.device, embedding.size
        points = boxes = masks = None
        count, has_box, has_mask = prompts[0].form
        if count:
            xy = self._transform.apply_coords(np.stack([prompt.points for prompt in prompts]), size)
            labels = np.stack([prompt.labels for prompt in prompts])
            points = (
                torch.as_tensor(xy, dtype=torch.float, device=device),  # (B, P, 2)
                torch.as_tensor(labels, dtype=torch.int, device=device),
            )
        if has_box:
            given = [prompt.box for prompt in prompts if prompt.box is not None]
            corners = self._transform.apply_boxes(np.stack(given), size)
            boxes = torch.as_tensor(corners, dtype=torch.float, device=device).reshape(-1, 4)
        if has_mask:
            wanted = self.sam.prompt_encoder.mask_input_size
            masks = torch.stack([_mask_input(prompt.mask, wanted) for prompt in prompts]).to(device)
        sparse, dense = self.sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
        logits, scores = self.sam.mask_decoder(
            image_embeddings=embedding.features.image,
            image_pe=self.sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        enlarge = partial(self._enlarge, embedding.features.input_size)
        return (
            MaskSet(one, score, size, enlarge)
            for one, score in zip(logits.float().cpu().numpy(), scores.float().cpu().numpy(), strict=True)
        )

    @torch.no_grad()
    def _enlarge(
        self, input_size: tuple[int, int], logits: NDArray[np.float32], size: tuple[int, int]
    ) -> NDArray[np.bool_]:
        full = self.sam.postprocess_masks(
            torch.from_numpy(logits)[None].to(self.sam.device), input_size, size
        )
        return above(full[0], self.sam.mask_threshold)


def _mask_input(mask: NDArray[np.float32] | None, size: tuple[int, int]) -> torch.Tensor:
    """(1, h, w) logits at the size that the prompt encoder takes."""
    low = torch.from_numpy(np.array(mask, np.float32))[None]
    return low if low.shape[1:] == size else F.interpolate(low[None], size, mode="bilinear")[0]


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
    state = rename(checkpoints.read(file, f"weights of {name}").state)
    sam = build()
    checkpoints.fill(sam, state, name, file)
    return SegmentAnything(sam, f"{name} {file_state([file])}", device)


def file_state(files: Sequence[Path]) -> str:
    """Paths, sizes and times of files: what keys the embeddings of a segmenter that was read from them."""
    stats = [(file.resolve(), file.stat()) for file in files]
    return " ".join(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)
