"""Grad-ECLIP (Zhao et al., ICML 2024): values of the last block, weighted by channel and by place.

The last block is computed with a single head in place of many. Its attention output at the class token is o
before the output projection; v are the values, q and k queries and keys behind the output projection:

    map_i = relu(λ_i Σ_c (∂c/∂o)_c v_ic),  λ = min-max over places of cosine(q of the class token, k_i)
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.towers import BlockTower
from ovseg.clip.towers.base import merge_heads
from ovseg.explanation.registry import explanation
from ovseg.explanation.subject import Subject


@explanation("grad_eclip", source="Zhao et al., ICML 2024", needs="class token", blocks=1)
def grad_eclip(subject: Subject) -> Tensor:
    """Grad-ECLIP with the loosened weights λ of places."""
    tower, trace = subject.tower, subject.trace
    assert isinstance(tower, BlockTower)  # the registry has seen to it
    block, heads = tower.blocks[-1], trace.heads[-1]
    before = trace.tokens[-2][:, :1].detach()
    q, k, v = (merge_heads(u.detach()) for u in heads[:3])  # (1, 1+N, C)
    out = F.scaled_dot_product_attention(q[:, None, :1], k[:, None], v[:, None])  # (1, 1, 1, C): one head

    def rest(out: Tensor) -> Tensor:
        x = before + tower.project_attention(block, out)
        return tower.pooled(x + tower.feed_forward(block, x))

    channels = subject.tail_gradients(out, rest)[:, 0, 0]  # (K, C)
    found = channels @ v[0, 1:].float().T  # (K, N)
    return subject.on_grid((_place_weights(tower, subject) * found).relu())


def _place_weights(tower: BlockTower, subject: Subject) -> Tensor:
    """λ, (N,) in 0..1."""
    block, heads = tower.blocks[-1], subject.trace.heads[-1]
    query = tower.project_attention(block, heads.q[:, :, :1].detach())[0, 0].float()
    keys = tower.project_attention(block, heads.k[:, :, 1:].detach())[0].float()
    cosine = F.normalize(keys, dim=-1) @ F.normalize(query, dim=-1)
    low, high = cosine.min(), cosine.max()
    return (cosine - low) / (high - low).clamp_min(1e-12)
