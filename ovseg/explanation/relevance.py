"""Rules of layer-wise relevance propagation, from a layer's output back to its inputs.

They are those of the public code of Chefer et al. (hila-chefer/Transformer-Explainability, its "orig_LRP"),
written in closed form for many relevances at once. Relevances are (K, …), one for each text; activations
have no K.
"""

from __future__ import annotations

from torch import Tensor

SMALL = 1e-9


def share(relevance: Tensor, total: Tensor) -> Tensor:
    """relevance / total, 0 where the total is 0."""
    shifted = total + SMALL * total.sign()
    return (relevance / shifted.masked_fill(total == 0, 1)).masked_fill(total == 0, 0)


def through_linear(relevance: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Back through y = W x: positive inputs by positive weights, negative inputs by negative ones (α = 1).

    Each of the two sides hands the whole relevance of an output on to its inputs. The bias gets none.

    Args:
        relevance: (K, out).
        x: (in,), the layer's input.
        weight: (out, in).

    Returns:
        (K, in).
    """
    found = x.new_zeros(())
    for inputs, weights in ((x.relu(), weight.relu()), (-(-x).relu(), -(-weight).relu())):
        found = found + inputs * (share(relevance, weights @ inputs) @ weights)
    return found


def through_sum(relevance: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Back through a + b: each gets its part of the sum."""
    each = share(relevance, a + b)
    return a * each, b * each


def through_product(relevance: Tensor, attention: Tensor, values: Tensor) -> Tensor:
    """Back through o = A v to A: input times gradient, and half of it for each of the two operands.

    Args:
        relevance: (K, heads, d), of one query's output.
        attention: (heads, n), this query's row.
        values: (heads, n, d).

    Returns:
        (K, heads, n).
    """
    out = (attention[:, None] @ values)[:, 0]  # (heads, d)
    return attention * (share(relevance, out)[:, :, None] @ values.transpose(-1, -2))[:, :, 0] / 2
