"""Distil the text tower: texts in the ordinary tokenizer's tokens to the place of their meaning.

The target of a name is the same in every prompt, so that ensembles of prompts neither help nor harm. Two
losses: the cosine to the target, and the cross-entropy between the similarities of the texts of a batch
among each other in both spaces, which keeps the order of neighbours.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass

import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.plain import Clip
from ovseg.clip.text_tower import TextTower, text_tower
from small_clip.words import templates

TEMPERATURE = 15.0


@dataclass(frozen=True)
class Texts:
    """Texts of one kind with their targets.

    Attributes:
        texts: T of them.
        targets: (T, D) unit vectors.
        prompted: whether they are names, to be shown in prompts.
        share: of a batch.
    """

    texts: list[str]
    targets: Tensor
    prompted: bool
    share: float


def draw(kinds: list[Texts], size: int, rng: random.Random) -> tuple[list[str], Tensor]:
    """A batch: ``size`` texts in their prompts and the targets (size, D)."""
    prompts = templates()
    texts, targets = [], []
    for kind in kinds:
        for index in rng.choices(range(len(kind.texts)), k=round(size * kind.share)):
            text = kind.texts[index]
            if kind.prompted:  # half plain or nearly so, half in any prompt
                text = rng.choice(prompts[:4] if rng.random() < 0.5 else prompts).replace("{}", text)
            texts.append(text)
            targets.append(kind.targets[index])
    return texts, torch.stack(targets)


def encode(tower: TextTower, tokens: Tensor, chunk: int = 128) -> Tensor:
    """Unit features (B, D) of token ids (B, L), texts of like length together so that little is padding."""
    ends = tower.ends(tokens)
    order = ends.argsort()
    with torch.autocast("cpu", torch.bfloat16):
        found = [tower.encode(tokens[rows, : int(ends[rows].max())]) for rows in order.split(chunk)]
    return F.normalize(torch.cat(found).float()[order.argsort()], dim=-1)


def loss_of(found: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The loss and the mean cosine of unit vectors (B, D) and their targets."""
    cosine = (found * targets).sum(dim=-1).mean()
    given = (TEMPERATURE * found @ targets.T).log_softmax(dim=-1)
    wanted = (TEMPERATURE * targets @ targets.T).softmax(dim=-1)
    order = (wanted * (wanted.clamp_min(1e-9).log() - given)).sum(dim=-1).mean()
    return 4 * (1 - cosine) + order, cosine.detach()


def train_text(model: Clip, kinds: list[Texts], minutes: float, rate: float, size: int = 512) -> None:
    """Train ``model``'s text tower in place for ``minutes``."""
    tower, tokenizer, rng = text_tower(model), SimpleTokenizer(), random.Random(0)
    parts = [
        p for name, p in model.named_parameters() if not name.startswith("visual.") and name != "logit_scale"
    ]
    optimizer = torch.optim.AdamW(parts, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    begun, step, spent, mean = time.perf_counter(), 0, 0.0, 0.0
    while spent < 1:
        spent = (time.perf_counter() - begun) / (60 * minutes)
        warm = min(1.0, (step + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = rate * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1, spent))) / 2)
        texts, targets = draw(kinds, size, rng)
        loss, cosine = loss_of(encode(tower, tokenizer(texts)), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts, 1.0)
        optimizer.step()
        step, mean = step + 1, 0.98 * mean + 0.02 * float(cosine)
        if step % 50 == 0:
            print(
                f"text {step}: {spent:.0%}, loss {loss.item():.3f}, cosine {mean / (1 - 0.98**step):.4f}",
                flush=True,
            )
