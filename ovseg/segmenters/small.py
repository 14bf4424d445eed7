"""The embedded segmenter "small": a decoder on the trunk of the embedded CLIP "small".

Its file holds the decoder alone, 600,000 parameters; the trunk is read from CLIP's file. The picture is stretched
to a long side of ``SIDE`` pixels, masks have half of that. Trained by tools/train_small_segmenter.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip import embedded
from ovseg.clip.pooled import STRIDE, PooledTrunk
from ovseg.options import DeviceOptions
from ovseg.segmenters.base import Embedding, MaskSet, Segmenter
from ovseg.segmenters.prompts import CheckedPrompt
from ovseg.segmenters.small_modules import (
    CELL,
    NeckFeatures,
    SmallSegmenterNet,
    channels_of,
    prompt_maps,
    trunk_features,
)
from ovseg.weights import checkpoints, store
from ovseg.weights.files import RANDOM, file_digest
from ovseg.weights.known import SMALL

SIDE = 448
"""Long side of the input in pixels."""
BATCH = 8
"""Prompts in one call of the decoder."""
_WHAT = "the embedded segmenter"
_LEAST = 1e-3  # a map's values are kept this far from 0 and 1, whose log odds are infinite


class SmallSegmenter(Segmenter[NeckFeatures]):
    """The decoder and its trunk.

    Args:
        net: neck and decoder.
        tower: the image tower of the embedded CLIP "small".
        name: identifies the weights.
        device: where it computes.
    """

    accepts_mask_prompt = True
    accepts_rival = True

    def __init__(self, net: SmallSegmenterNet, tower: PooledTrunk, name: str, device: str = "cpu") -> None:
        super().__init__()
        self.name, self.device = name, torch.device(device)
        self.net, self.tower = net.to(device).eval(), tower.to(device).eval()

    @torch.no_grad()
    def _encode(self, image: NDArray[np.uint8]) -> NeckFeatures:
        height, width = input_size(image.shape[:2])
        shrinks = height * width < image.shape[0] * image.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(image, (width, height), interpolation=how)
        pixels = torch.from_numpy(resized).to(self.device).permute(2, 0, 1)[None].float() / 127.5 - 1
        found: NeckFeatures = self.net.neck(trunk_features(self.tower, pixels))
        return found

    def _decode(self, embedding: Embedding[NeckFeatures], prompt: CheckedPrompt) -> MaskSet:
        return self._decode_many(embedding, [prompt])[0]

    def _decode_many(
        self, embedding: Embedding[NeckFeatures], prompts: Sequence[CheckedPrompt]
    ) -> list[MaskSet]:
        """At most ``BATCH`` prompts in one call, of whatever form."""
        parts = (prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH))
        return [found for part in parts for found in self._decode_batch(embedding, part)]

    @torch.no_grad()
    def _decode_batch(
        self, embedding: Embedding[NeckFeatures], prompts: Sequence[CheckedPrompt]
    ) -> list[MaskSet]:
        maps = torch.stack([self._maps(embedding, prompt) for prompt in prompts])
        logits, _, scores = self.net.decoder(embedding.features, maps[None])
        return [
            MaskSet(one, score, embedding.size, partial(_enlarge, self.device))
            for one, score in zip(logits.cpu().numpy(), scores.cpu().numpy(), strict=True)
        ]

    def _maps(self, embedding: Embedding[NeckFeatures], prompt: CheckedPrompt) -> Tensor:
        """One prompt in pixels of the input, as the decoder takes it."""
        height, width = (2 * length for length in embedding.features.n2.shape[2:])
        scale = torch.tensor([width / embedding.size[1], height / embedding.size[0]], device=self.device)
        points, labels = (torch.from_numpy(u).to(self.device) for u in (prompt.points, prompt.labels))
        box = None if prompt.box is None else torch.from_numpy(prompt.box).to(self.device) * scale.repeat(2)
        prior, rival = (
            None if one is None else torch.from_numpy(one).to(self.device).sigmoid()
            for one in (prompt.mask, prompt.rival)
        )
        return prompt_maps(points * scale, labels, box, prior, rival, (height, width))

    def _prior(self, embedding: Embedding[NeckFeatures], values: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = (2 * length // CELL for length in embedding.features.n2.shape[2:])
        shrinks = values.shape[0] > height and values.shape[1] > width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        chance = cv2.resize(values, (width, height), interpolation=how).clip(_LEAST, 1 - _LEAST)
        return np.asarray(np.log(chance / (1 - chance)), np.float32)


def input_size(size: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) of the input for an image of ``size``, in whole strides.

    >>> input_size((480, 640))
    (336, 448)
    """
    scale = SIDE / max(size)
    height, width = (max(STRIDE, round(length * scale / STRIDE) * STRIDE) for length in size)
    return height, width


@torch.no_grad()
def _enlarge(device: torch.device, logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    full = F.interpolate(torch.from_numpy(logits)[None].to(device), size, mode="bilinear")[0]
    return np.asarray(full.cpu().numpy() > 0)


# ------------------------------------------------------------------------------------------- loading


def asset_path() -> Path:
    """The file in the installed package."""
    return store.embedded("segmenter", SMALL).path()


def save(net: SmallSegmenterNet, path: Path) -> None:
    """Write neck and decoder to ``path``, large matrices in 8 bits."""
    from safetensors.torch import save_file

    save_file(embedded.pack({key: value.detach() for key, value in net.state_dict().items()}), path)


def load(name: str, weights: str | Path | None, options: DeviceOptions) -> SmallSegmenter:
    """The embedded segmenter, or another file that ``save`` wrote. See ``load_segmenter``.

    Raises:
        WeightsError: the file is missing, damaged or another kind of file.
    """
    tower = embedded.load_trunk()
    net = SmallSegmenterNet(channels_of(tower))
    if weights == RANDOM:
        return SmallSegmenter(net, tower, f"{name} random", options.device)
    path = asset_path() if weights is None else Path(str(weights)).expanduser()
    state = checkpoints.read(path, f"weights of {_WHAT}").state
    checkpoints.fill(net, embedded.unpack(state, f"weights of {_WHAT} in {path}"), _WHAT, path)
    return SmallSegmenter(net, tower, f"{name} {file_digest(path)[:12]}", options.device)
