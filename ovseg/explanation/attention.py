"""Explanations that follow the attention of the blocks: rollout, Bi-Modal and LeGrad.

A_l is the attention of block l, (heads, P+N, P+N), ∇_l the gradient of the text's cosine with respect to it.
Each map is the class token's row of the result, without the class token's own column.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ovseg.clip.towers import BlockTower
from ovseg.explanation.registry import explanation
from ovseg.explanation.subject import Subject

_BIMODAL = "Chefer et al., ICCV 2021 (generic attention explainability)"
_LEGRAD = "Bousselham et al., arXiv 2404.03214"


@explanation("rollout", source="Abnar and Zuidema, ACL 2020", needs="class token", blocks=None)
def rollout(subject: Subject) -> Tensor:
    """The product over blocks of the row-normalised (mean over heads of A_l + I): the same for every text."""
    row = _class_row(subject)
    for attention in reversed(subject.trace.attention):
        joint = attention[0].detach().float().mean(dim=0)
        joint = joint + torch.eye(len(joint), device=joint.device)
        row = row @ (joint / joint.sum(dim=-1, keepdim=True))
    return subject.on_grid(row[:, 1:].expand(len(subject.text), -1))


@explanation("bimodal", source=_BIMODAL, needs="class token", blocks=1)
def bimodal(subject: Subject) -> Tensor:
    """R ← R + mean over heads of (∇ ⊙ A)⁺ · R for the last block alone, the public code's default."""
    return propagated(subject, 1)


@explanation("bimodal_all", source=_BIMODAL, needs="class token", blocks=None)
def bimodal_all(subject: Subject) -> Tensor:
    """R ← R + mean over heads of (∇ ⊙ A)⁺ · R over all blocks."""
    return propagated(subject, len(subject.trace.attention))


def propagated(subject: Subject, blocks: int) -> Tensor:
    """The class token's row of R over the last ``blocks`` blocks, R = I before them: (K, h, w).

    Only this row of R = (I + C_L) … (I + C_1) is needed, so it is multiplied from the left: vectors in place
    of matrices. ∇ is the gradient of the logit, the cosine times the model's logit scale, which matters over
    several blocks because of the sum with I.
    """
    scale = subject.model.logit_scale
    attention = subject.trace.attention[-blocks:]
    rows = []
    for gradients in subject.gradients(attention):
        row = _class_row(subject).expand(len(gradients[0]), 1, -1)  # (k, 1, 1+N)
        for gradient, share in zip(reversed(gradients), reversed(attention), strict=True):
            row = row + row @ (scale * gradient * share.detach().float()).relu().mean(dim=1)
        rows.append(row[:, 0, 1:])
    return subject.on_grid(torch.cat(rows))


@explanation("legrad", source=_LEGRAD, needs="class token", blocks=2, resize="bicubic_antialias")
def legrad(subject: Subject) -> Tensor:
    """LeGrad over the last two blocks, the public code's default."""
    return sensitivity(subject, 2)


@explanation("legrad_all", source=_LEGRAD, needs="class token", blocks=None, resize="bicubic_antialias")
def legrad_all(subject: Subject) -> Tensor:
    """LeGrad over all blocks."""
    return sensitivity(subject, len(subject.trace.attention))


def sensitivity(subject: Subject, blocks: int) -> Tensor:
    """Σ_l of the mean over heads and queries of (∂c_l/∂A_l)⁺: (K, h, w).

    c_l is the cosine of the text with the mean over all tokens of the block's output, projected to the joint
    space as the tower projects its class token.
    """
    trace, tower = subject.trace, subject.tower
    assert isinstance(tower, BlockTower)  # the registry has seen to it
    total: Tensor | None = None
    for index in range(-min(blocks, len(trace.attention)), 0):
        mean = trace.tokens[index].mean(dim=1, keepdim=True)
        feature = tower.pooled(mean)[0].float()
        found = [
            gradient.relu().mean(dim=(1, 2))[:, 1:]
            for (gradient,) in subject.gradients([trace.attention[index]], feature)
        ]
        part = torch.cat(found)
        total = part if total is None else total + part
    assert total is not None
    return subject.on_grid(total)


def _class_row(subject: Subject) -> Tensor:
    """The class token's row of the identity, (1, 1+N)."""
    count = 1 + subject.grid[0] * subject.grid[1]
    return torch.eye(1, count, device=subject.pixels.device)
