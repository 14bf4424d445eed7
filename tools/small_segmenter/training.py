"""The training of the embedded segmenter's decoder on CLIP's frozen trunk."""

from __future__ import annotations

import copy
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mask_losses import losses
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.pooled import PooledTrunk
from ovseg.segmenters.small_modules import (
    NeckFeatures,
    SmallSegmenterNet,
    TrunkFeatures,
    channels_of,
    trunk_features,
)
from small_segmenter.pictures import SHARES, UNKNOWN, Crop, Picture, draw_crop
from small_segmenter.prompts import Example, corrected, draw_example

WARM_UP = 100  # steps
AVERAGED = 0.995  # of the average of weights that is kept at every step
COARSE, OTHERS, LEAST = 0.3, 0.5, 0.1  # weights of losses beside the first mask's
AGAIN = 0.4  # of the steps go on with the last one's crops and a click on each error
SAVED = 180  # seconds between two checkpoints
SHOWN = 50  # steps between two lines of the log


@dataclass(frozen=True)
class Sizes:
    """What a step sees: crops of ``side`` pixels with ``prompts`` each."""

    side: int
    crops: int
    prompts: int


SIZES = ((0.66, Sizes(192, 6, 4)), (1.0, Sizes(256, 4, 3)))
"""Until which share of the training each is used."""


@dataclass
class Batch:
    """Crops, their features and their examples, in the order of the crops."""

    crops: list[Crop]
    features: TrunkFeatures
    examples: list[Example]


class Trainer:
    """Trains for a given time; a checkpoint holds all that another process needs to go on.

    Args:
        tower: CLIP's, frozen.
        sets: pictures of each set.
        minutes: of wall time, those of earlier processes included.
        rate: AdamW's, at its highest.
        file: of the checkpoint; read where it exists.
        seed: of the drawing.
    """

    def __init__(
        self,
        tower: PooledTrunk,
        sets: dict[str, list[Picture]],
        minutes: float,
        rate: float,
        file: Path,
        seed: int,
    ) -> None:
        self.tower, self.sets, self.seconds, self.rate, self.file = tower, sets, 60 * minutes, rate, file
        self.net = SmallSegmenterNet(channels_of(tower)).train()
        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.parameters = list(self.net.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.ndim >= 2], "weight_decay": 0.01},
                {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=rate,
            betas=(0.9, 0.98),
        )
        self.before, self.step = 0.0, 0
        if file.is_file():
            self._read()
        self.rng = np.random.default_rng(seed + self.step)
        self.started = time.monotonic()
        self.seen: dict[str, list[tuple[float, ...]]] = defaultdict(list)

    @property
    def progress(self) -> float:
        """Share of the time that is spent, 0..1."""
        return min(1.0, (self.before + time.monotonic() - self.started) / self.seconds)

    def run(self) -> None:
        """Train until the time is spent."""
        saved, last = time.monotonic(), None
        while (progress := self.progress) < 1:
            rate = (
                self.rate * min(1.0, (self.step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * progress))
            )
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            sizes = next(one for end, one in SIZES if progress <= end)
            again = last is not None and self.rng.random() < AGAIN
            batch = last if again and last is not None else self._draw(sizes)
            chances = self._learn(batch)
            last = None if again else self._corrected(batch, chances)
            self.step += 1
            if self.step % SHOWN == 0:
                self._show(rate)
            if time.monotonic() - saved > SAVED:
                saved = time.monotonic()
                self.save()
        self.save()

    def _draw(self, sizes: Sizes) -> Batch:
        crops, examples = [], []
        names = list(self.sets)
        odds = np.array([SHARES[name] for name in names])
        while len(crops) < sizes.crops:
            pictures = self.sets[str(self.rng.choice(names, p=odds / odds.sum()))]
            crop = draw_crop(pictures[self.rng.integers(len(pictures))], sizes.side, self.rng)
            found = list(self._examples(crop, sizes.prompts))
            if len(found) == sizes.prompts:
                crops.append(crop)
                examples += found
        pixels = np.stack([crop.image for crop in crops]).transpose(0, 3, 1, 2)
        with torch.no_grad():
            features = trunk_features(self.tower, torch.from_numpy(pixels).float() / 127.5 - 1)
        return Batch(crops, features, examples)

    def _examples(self, crop: Crop, count: int) -> Iterator[Example]:
        for _ in range(count):
            one = draw_example(crop, self.rng)
            if one is None:
                return
            yield one

    def _learn(self, batch: Batch) -> NDArray[np.float32]:
        """One step; the first mask's probabilities for each example, (N, S/2, S/2)."""
        prompts = torch.stack([one.maps() for one in batch.examples]).unflatten(0, (len(batch.crops), -1))
        neck: NeckFeatures = self.net.neck(batch.features)
        logits, coarse, scores = self.net.decoder(neck, prompts)
        target, known = _targets(batch)
        error, real = losses(logits, target, known)
        small = losses(coarse, *(F.avg_pool2d(u, 4) for u in (target * known, known)))[0]
        error = error + COARSE * small
        single = torch.tensor([len(one.points) == 1 and one.box is None and one.prior is None
                               for one in batch.examples])  # fmt: skip
        others = error[:, 1:]
        fitting = torch.where(single, others.amin(1) + LEAST * others.mean(1), others.mean(1))
        judged = (scores - real).square().mean()
        loss = error[:, 0].mean() + OTHERS * fitting.mean() + judged
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 2.0)
        self.optimizer.step()
        self._keep_average()
        picked = real.gather(1, scores.argmax(1, keepdim=True))[:, 0]
        for one, row, best, own, guess in zip(
            batch.examples, real.tolist(), picked.tolist(), error[:, 0].tolist(), scores.tolist(), strict=True
        ):
            self.seen[one.kind].append((row[0], max(row), best, own, abs(guess[0] - row[0])))
        return logits[:, 0].detach().sigmoid().numpy()

    def _corrected(self, batch: Batch, chances: NDArray[np.float32]) -> Batch:
        each = len(batch.examples) // len(batch.crops)
        side = len(batch.crops[0].labels)
        examples = []
        for index, (one, chance) in enumerate(zip(batch.examples, chances, strict=True)):
            full = F.interpolate(torch.from_numpy(chance)[None, None], (side, side), mode="bilinear")[0, 0]
            examples.append(corrected(one, full.numpy(), batch.crops[index // each].labels, self.rng))
        return Batch(batch.crops, batch.features, examples)

    @torch.no_grad()
    def _keep_average(self) -> None:
        keep = min(AVERAGED, (self.step + 1) / (self.step + 10))
        for mean, own in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(own, 1 - keep)

    def _show(self, rate: float) -> None:
        shown = []
        for kind, rows in sorted(self.seen.items()):
            first, best, picked, error, off = np.mean(rows, axis=0)
            shown.append(f"{kind} {first:.3f} {best:.3f} {picked:.3f} ({error:.2f}, {off:.2f}) n {len(rows)}")
        print(f"step {self.step}  {self.progress:.1%}  rate {rate:.1e}  " + "  ".join(shown), flush=True)
        self.seen.clear()

    def save(self) -> None:
        """Write the checkpoint; the new file takes the old one's place whole."""
        spent = self.before + time.monotonic() - self.started
        partial = self.file.with_suffix(".partial")
        torch.save(
            {
                "net": self.net.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "spent": spent,
                "step": self.step,
            },
            partial,
        )
        partial.replace(self.file)

    def _read(self) -> None:
        found: dict[str, Any] = torch.load(self.file)
        self.net.load_state_dict(found["net"])
        self.average.load_state_dict(found["average"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.before, self.step = found["spent"], found["step"]


def _targets(batch: Batch) -> tuple[Tensor, Tensor]:
    """What the masks should be and where it is known, (N, 1, S/2, S/2) in 0..1."""
    each = len(batch.examples) // len(batch.crops)
    target = torch.from_numpy(np.stack([one.target for one in batch.examples])).float()[:, None]
    labelled = torch.from_numpy(np.stack([crop.labels != UNKNOWN for crop in batch.crops])).float()
    known = F.avg_pool2d(labelled[:, None], 2).repeat_interleave(each, 0)
    return F.avg_pool2d(target, 2) / known.clamp_min(1e-6), (known > 0.4).float()
