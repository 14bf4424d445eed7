"""SAM (Kirillov et al., 2023) behind the protocol: the released vit_b, vit_l and vit_h, and MobileSAM.

segment-anything's predictor holds one image; here the parts of a SAM are called without state, so that several
images and threads share one model. The package is imported where a released SAM is loaded: it imports
torchvision, which takes seconds.

MobileSAM (Zhang et al., 2023), "mobile", has 10 M parameters: SAM's decoder on TinyViT. Its own package is not
on PyPI. Its prompt encoder and mask decoder are SAM's, and its image encoder is timm's TinyViT-5M, except that
the last stage keeps its 1/16 of the input and a neck follows; so it is put together from those, and its authors'
checkpoint, mobile_sam.pt, is read by translating its names. tests/segmenters/test_mobile.py compares it with the
original's outputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ovseg.errors import ImageError
from ovseg.options import DeviceOptions
from ovseg.segmenters.base import Embedding, MaskSet, Segmenter
from ovseg.segmenters.prompts import CheckedPrompt
from ovseg.segmenters.sam_modules import MaskDecoder, PromptEncoder, Sam, SquareEncoder, make_neck
from ovseg.weights import checkpoints, store
from ovseg.weights.files import RANDOM, file_state

BATCH = 32
"""Prompts in one call of the mask decoder."""
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
MOBILE_SIDE = 1024
_MOBILE_WIDTH = 256  # channels between encoder and decoder


@dataclass(frozen=True)
class SquareFeatures:
    """Features of an image that was resized into a square.

    Attributes:
        image: the model's own: (1, C, h, w), or the arguments by name that transformers' models take for it.
        input_size: (height, width) of the image in the square, without padding.
    """

    image: Any
    input_size: tuple[int, int]


class SquareSegmenter(Segmenter[SquareFeatures]):
    """A segmenter whose model takes a square of ``side`` pixels and gives logits (low_side, low_side).

    The image is padded below and on the right; with ``pads=False`` it is stretched.
    """

    def __init__(self, name: str, device: str, side: int, low_side: int, pads: bool = True) -> None:
        super().__init__()
        self.name, self.device = name, torch.device(device)
        self.side, self.low_side, self.pads = side, low_side, pads

    def _prior(
        self, embedding: Embedding[SquareFeatures], values: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        share = self.low_side / self.side
        height, width = (max(1, round(length * share)) for length in embedding.features.input_size)
        logits = np.full((self.low_side, self.low_side), -10, np.float32)  # the padding is not the object
        logits[:height, :width] = cv2.resize((values - 0.5) * 20, (width, height))
        return logits

    def _input_size(self, image: NDArray[np.uint8]) -> tuple[int, int]:
        """(height, width) of an image in the square. Raises ImageError where a side would vanish."""
        if not self.pads:
            return self.side, self.side
        scale = self.side / max(image.shape[:2])
        height, width = (int(length * scale + 0.5) for length in image.shape[:2])
        if min(height, width) < 1:
            got = f"{image.shape[1]} x {image.shape[0]}"
            raise ImageError(f"expected sides within 1:{2 * self.side} for SAM, got {got} pixels")
        return height, width

    def _mask_input(self, mask: NDArray[np.float32]) -> Tensor:
        """(1, low_side, low_side) logits for the prompt encoder."""
        low, size = torch.from_numpy(mask.copy())[None], (self.low_side, self.low_side)
        return low if low.shape[1:] == size else F.interpolate(low[None], size, mode="bilinear")[0]

    @torch.no_grad()
    def _enlarge(
        self, input_size: tuple[int, int], logits: NDArray[np.float32], size: tuple[int, int]
    ) -> NDArray[np.bool_]:
        full = torch.from_numpy(logits)[None].to(self.device)
        if self.pads:
            full = F.interpolate(full, (self.side, self.side), mode="bilinear")
            full = full[..., : input_size[0], : input_size[1]]
        full = F.interpolate(full, size, mode="bilinear")[0]
        if full.is_cpu:  # there, NumPy compares ten times faster than torch does
            return np.asarray(full.numpy() > 0)
        return np.asarray((full > 0).cpu())


class SegmentAnything(SquareSegmenter):
    """One built SAM; ``name`` keys its embeddings, so give each set of weights its own.

    Args:
        sam: with its three parts; segment-anything's own ``Sam`` has the same.
        name: identifies segmenter and weights.
        device: where it computes.
    """

    def __init__(self, sam: Sam, name: str, device: str = "cpu") -> None:
        super().__init__(name, device, sam.image_encoder.img_size, sam.prompt_encoder.mask_input_size[0])
        self.sam = sam.to(device).eval()

    @torch.no_grad()
    def _encode(self, image: NDArray[np.uint8]) -> SquareFeatures:
        height, width = self._input_size(image)
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).to(self.device).permute(2, 0, 1)[None].float()
        mean, std = (torch.tensor(row, device=self.device).view(3, 1, 1) for row in (PIXEL_MEAN, PIXEL_STD))
        square = F.pad((pixels - mean) / std, (0, self.side - width, 0, self.side - height))
        return SquareFeatures(self.sam.image_encoder(square), (height, width))

    def _decode(self, embedding: Embedding[SquareFeatures], prompt: CheckedPrompt) -> MaskSet:
        return self._decode_many(embedding, [prompt])[0]

    def _decode_many(
        self, embedding: Embedding[SquareFeatures], prompts: Sequence[CheckedPrompt]
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
        self, embedding: Embedding[SquareFeatures], prompts: Sequence[CheckedPrompt]
    ) -> Iterator[MaskSet]:
        sparse, dense = self.sam.prompt_encoder(**self._stacked(embedding, prompts))
        logits, scores = self.sam.mask_decoder(
            image_embeddings=embedding.features.image,
            image_pe=self.sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        enlarge = partial(self._enlarge, embedding.features.input_size)
        return (
            MaskSet(one, score, embedding.size, enlarge)
            for one, score in zip(logits.float().cpu().numpy(), scores.float().cpu().numpy(), strict=True)
        )

    def _stacked(
        self, embedding: Embedding[SquareFeatures], prompts: Sequence[CheckedPrompt]
    ) -> dict[str, Any]:
        """The prompt encoder's arguments: prompts of one form in pixels of the square input."""
        size, input_size = embedding.size, embedding.features.input_size
        scale = np.array([input_size[1] / size[1], input_size[0] / size[0]])  # of (x, y)
        count, has_box, has_mask = prompts[0].form
        points = boxes = masks = None
        if count:
            xy = np.stack([prompt.points for prompt in prompts]) * scale  # (B, P, 2)
            labels = np.stack([prompt.labels for prompt in prompts])
            points = (
                torch.as_tensor(xy, dtype=torch.float, device=self.device),
                torch.as_tensor(labels, dtype=torch.int, device=self.device),
            )
        if has_box:
            corners = np.stack([prompt.box for prompt in prompts if prompt.box is not None])
            boxes = torch.as_tensor(corners * np.tile(scale, 2), dtype=torch.float, device=self.device)
        if has_mask:
            masks = torch.stack(
                [self._mask_input(prompt.mask) for prompt in prompts if prompt.mask is not None]
            ).to(self.device)
        return {"points": points, "boxes": boxes, "masks": masks}


# ----------------------------------------------------------------------------------------- MobileSAM


class TinyEncoder(SquareEncoder):
    """(B, 3, side, side) normalised pixels to (B, 256, side / 16, side / 16)."""

    def __init__(self, side: int = MOBILE_SIDE) -> None:
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
        self.neck = make_neck(320, _MOBILE_WIDTH)

    def forward(self, pixels: Tensor) -> Tensor:
        # The classifier head is in the checkpoint and stays unused.
        out: Tensor = self.neck(self.body.forward_features(pixels))
        return out


def build_mobile(side: int = MOBILE_SIDE) -> Sam:
    """An untrained MobileSAM for a square input of ``side`` pixels."""
    decoder = MaskDecoder(_MOBILE_WIDTH, heads=8, hidden=2048, iou_hidden=256)
    return Sam(TinyEncoder(side), PromptEncoder(_MOBILE_WIDTH, side, 16), decoder)


_NAMES = [
    (r"^image_encoder\.patch_embed\.seq\.0\.", "image_encoder.body.patch_embed.conv1."),
    (r"^image_encoder\.patch_embed\.seq\.2\.", "image_encoder.body.patch_embed.conv2."),
    (r"^image_encoder\.norm_head\.", "image_encoder.body.head.norm."),
    (r"^image_encoder\.head\.", "image_encoder.body.head.fc."),
    (r"^(image_encoder\.body\..+)\.c\.weight$", r"\1.conv.weight"),
]


def timm_name(name: str) -> str:
    """The name in ``build_mobile()`` of a tensor in the authors' checkpoint."""
    # There a stage ends with the reduction for the next one, in timm it begins with its own.
    found = re.match(r"image_encoder\.layers\.(\d+)\.(downsample|blocks)\.(.+)", name)
    if found:
        stage = int(found[1]) + (found[2] == "downsample")
        name = f"image_encoder.body.stages.{stage}.{found[2]}.{found[3]}"
    for pattern, new in _NAMES:
        name = re.sub(pattern, new, name)
    return name


# ------------------------------------------------------------------------------------------- loading


def load(name: str, weights: str | Path | None, options: DeviceOptions) -> SegmentAnything:
    """The released "vit_b", "vit_l" or "vit_h", or "mobile". See ``load_segmenter``.

    Args:
        name: one of these.
        weights: a file; None for the official one, "random" for untrained weights.
        options: where it computes, and whether the weights may be downloaded.

    Raises:
        WeightsError: the file is missing, damaged, holds more than tensors, or is of another architecture.
    """
    if name == "mobile":
        build: Callable[[], Sam] = build_mobile
    else:
        from segment_anything import sam_model_registry

        build = sam_model_registry[name]
    if weights == RANDOM:
        return SegmentAnything(build(), f"{name} random", options.device)
    if weights is None:
        file = store.pull(name, offline=options.offline)
    else:
        file = Path(weights).expanduser()
    state = checkpoints.read(file, f"weights of {name}").state
    if name == "mobile":
        state = {timm_name(key): value for key, value in state.items()}
    sam = build()
    checkpoints.fill(sam, state, name, file)
    return SegmentAnything(sam, f"{name} {file_state([file])}", options.device)
