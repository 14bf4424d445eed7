"""pLRP: partial layer-wise relevance propagation (Voita et al., ACL 2019; Chefer et al., CVPR 2021).

The relevance of a text's score is propagated back to the attention of the last block, clamped at 0 and averaged
over the heads; the map is the class token's row. Norms and activation functions pass relevance on unchanged. Only
the class token carries relevance in that block, so only its row is computed, and no gradient is needed.

The rules are those of the public code of Chefer et al. (hila-chefer/Transformer-Explainability, "orig_LRP"), in
closed form for K relevances at once. Relevances are (K, …), one for each text; activations have no K.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.plain import is_exactly
from ovseg.clip.towers import BlockTower, OpenClipViT
from ovseg.clip.towers.base import merge_heads
from ovseg.errors import UnsupportedModelError
from ovseg.explanation.registry import explanation
from ovseg.explanation.subject import Subject

SMALL = 1e-9


class _Parts(NamedTuple):
    """The layers between the last block's attention and the image's feature."""

    projection: Tensor  # (C, C), of the attention's output
    norm: nn.Module  # before the feed-forward network
    first: nn.Linear
    activation: nn.Module
    second: nn.Linear
    last_norm: nn.Module
    head: list[tuple[Tensor, Tensor | None]]  # weights (out, in) and biases at the tower's end


@explanation("plrp", source="Voita et al., ACL 2019; Chefer et al., CVPR 2021", needs="class token", blocks=1)
@torch.no_grad()
def plrp(subject: Subject) -> Tensor:
    """The relevance of the last block's attention by the original rules of LRP."""
    relevance = attention_relevance(subject, text_relevance(subject))  # (K, heads, 1+N)
    return subject.on_grid(relevance.clamp_min(0).mean(dim=1)[:, 1:])


def text_relevance(subject: Subject) -> Tensor:
    """The relevance (K, D) of the image's feature for relevance 1 of each text; texts act as a linear layer."""
    scores = torch.eye(len(subject.text), device=subject.text.device)
    return through_linear(scores, subject.feature.detach(), subject.text)


def attention_relevance(subject: Subject, relevance: Tensor) -> Tensor:
    """The relevance of the class token's row of the last block's attention, signed.

    Args:
        subject: the image; its texts are not used.
        relevance: (K, D) of the image's feature.

    Returns:
        (K, heads, 1+N).
    """
    tower, trace = subject.tower, subject.trace
    assert isinstance(tower, BlockTower)  # the registry has seen to it
    parts = _parts(tower)
    before, added = trace.tokens[-2][0, 0].float(), trace.attention_out[-1][0, 0].float()
    fed, after = trace.ffn_out[-1][0, 0].float(), trace.tokens[-1][0, 0].float()
    middle = before + added

    x, inputs = _alone(parts.last_norm, after), []
    for weight, bias in parts.head:
        inputs.append(x)
        x = F.linear(x, weight.float(), None if bias is None else bias.float())
    for (weight, _), x in zip(reversed(parts.head), reversed(inputs), strict=True):
        relevance = through_linear(relevance, x, weight.float())

    kept, fed_back = through_sum(relevance, middle, fed)
    normed = _alone(parts.norm, middle)
    hidden = _alone(parts.activation, _alone(parts.first, normed))
    fed_back = through_linear(fed_back, hidden, parts.second.weight.float())
    fed_back = through_linear(fed_back, normed, parts.first.weight.float())
    _, attended = through_sum(kept + fed_back, before, added)

    attention, values = trace.attention[-1][0, :, 0].float(), trace.heads[-1].v[0].float()
    out = merge_heads((attention[:, None] @ values)[None])[0, 0]  # (C,)
    attended = through_linear(attended, out, parts.projection.float())
    return through_product(attended.unflatten(-1, values.shape[::2]), attention, values)


def _alone(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer to a single vector in the layer's own precision; returns float32."""
    weight = next(layer.parameters(), x)
    return layer(x.to(weight.dtype)[None])[0].float()


def _parts(tower: BlockTower) -> _Parts:
    """The layers of a tower. Raises UnsupportedModelError if the rules do not cover them."""
    block: Any = tower.blocks[-1]
    head: list[tuple[Tensor, Tensor | None]]
    if isinstance(tower, OpenClipViT):
        mlp: Any = block.mlp
        head = [] if tower.visual.proj is None else [(tower.visual.proj.T, None)]
        weight = block.attn.out_proj.weight
        return _Parts(weight, block.ln_2, mlp.c_fc, mlp.gelu, mlp.c_proj, tower.visual.ln_post, head)
    plain = is_exactly(block, "timm.models.vision_transformer.Block")
    if plain and is_exactly(block.mlp, "timm.layers.mlp.Mlp"):
        timm: Any = tower
        trunk, attention, mlp = timm.trunk, block.attn, block.mlp
        ends = (trunk.fc_norm, trunk.head, *timm.visual.head.children())
        layers = [part for part in ends if not isinstance(part, (nn.Identity, nn.Dropout))]
        norms = (mlp.norm, getattr(attention, "norm", nn.Identity()))
        linear = all(isinstance(part, nn.Linear) for part in layers)
        if linear and all(isinstance(norm, nn.Identity) for norm in norms):
            head = [(part.weight, part.bias) for part in layers]
            return _Parts(attention.proj.weight, block.norm2, mlp.fc1, mlp.act, mlp.fc2, trunk.norm, head)
    raise UnsupportedModelError(
        "expected a ViT of attention, two linear layers a block and linear layers at its end for the "
        f"explanation 'plrp', got {tower.family} of {type(block).__name__}"
    )


# ----------------------------------------------------------------------------------------- the rules


def share(relevance: Tensor, total: Tensor) -> Tensor:
    """relevance / total, 0 where the total is 0."""
    shifted = total + SMALL * total.sign()
    return (relevance / shifted.masked_fill(total == 0, 1)).masked_fill(total == 0, 0)


def through_linear(relevance: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Back through y = W x: positive inputs with positive weights, negative with negative ones (α = 1).

    Each of the two parts distributes the whole relevance of an output over its inputs. The bias gets none.

    Args:
        relevance: (K, out).
        x: (in,), the input.
        weight: (out, in).

    Returns:
        (K, in).
    """
    found = x.new_zeros(())
    for inputs, weights in ((x.relu(), weight.relu()), (-(-x).relu(), -(-weight).relu())):
        found = found + inputs * (share(relevance, weights @ inputs) @ weights)
    return found


def through_sum(relevance: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Back through a + b: relevance is distributed in proportion to a and b."""
    each = share(relevance, a + b)
    return a * each, b * each


def through_product(relevance: Tensor, attention: Tensor, values: Tensor) -> Tensor:
    """Back through o = A v to A: input times gradient, halved because A and v share the relevance.

    Args:
        relevance: (K, heads, d), of one query's output.
        attention: (heads, n), the query's row.
        values: (heads, n, d).

    Returns:
        (K, heads, n).
    """
    out = (attention[:, None] @ values)[:, 0]  # (heads, d)
    return attention * (share(relevance, out)[:, :, None] @ values.transpose(-1, -2))[:, :, 0] / 2
