"""The rules of relevance propagation: what goes in comes out."""

from __future__ import annotations

import pytest
import torch

from ovseg.explanation.plrp import share, through_linear, through_product, through_sum


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_linear_layer_hands_on_all_relevance_by_each_side():
    relevance, x, weight = random(4, 7), random(60, seed=1), random(7, 60, seed=2)
    found = through_linear(relevance, x, weight)
    positive = through_linear(relevance, x.relu(), weight)  # nothing but positive inputs: one side
    torch.testing.assert_close(positive.sum(dim=1), relevance.sum(dim=1))
    torch.testing.assert_close(found.sum(dim=1), 2 * relevance.sum(dim=1))


def test_a_linear_layer_of_positive_parts_shares_by_contribution():
    x, weight = torch.tensor([1.0, 3.0]), torch.tensor([[2.0, 1.0]])
    torch.testing.assert_close(through_linear(torch.tensor([[10.0]]), x, weight), torch.tensor([[4.0, 6.0]]))


def test_a_sum_keeps_relevance():
    relevance, a, b = random(4, 9), random(9, seed=1), random(9, seed=2)
    left, right = through_sum(relevance, a, b)
    torch.testing.assert_close(left + right, relevance)
    torch.testing.assert_close(left * b, right * a)


def test_a_product_hands_half_to_the_attention():
    """Σ_j A_j v_jd is the output, so the shares of a query add up to half of its relevance."""
    attention, values = random(2, 5, seed=1).softmax(dim=-1), random(2, 5, 3, seed=2)
    relevance = random(4, 2, 3)
    found = through_product(relevance, attention, values)
    assert found.shape == (4, 2, 5)
    torch.testing.assert_close(found.sum(dim=-1), relevance.sum(dim=-1) / 2)


@pytest.mark.parametrize("total", [0.0, -0.0])
def test_nothing_is_shared_where_the_total_is_0(total):
    assert share(torch.tensor([3.0]), torch.tensor([total])).tolist() == [0.0]
    zero = torch.zeros(3)
    assert not through_linear(torch.ones(1, 2), zero, torch.ones(2, 3)).any()
    assert through_sum(torch.ones(1, 3), zero, zero)[0].isfinite().all()
