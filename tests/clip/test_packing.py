"""Weights in 8 bits: how far they may be from what was stored, and files that do not fit."""

from __future__ import annotations

import pytest
import torch

from ovseg.clip.packing import pack, unpack
from ovseg.errors import WeightsError


def state():
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": torch.randn(300, 200, generator=generator) * torch.logspace(-3, 3, 300)[:, None],
        "kernel": torch.randn(260, 200, 1, 1, generator=generator),
        "small": torch.randn(30, 20, generator=generator),
        "vector": torch.randn(300, generator=generator),
        "count": torch.tensor(7),
    }


def test_a_weight_is_off_by_at_most_half_a_step_of_its_row():
    given, packed = state(), pack(state())
    assert packed["matrix"].dtype == packed["kernel"].dtype == torch.int8
    found = unpack(packed, "a file")
    assert set(found) == set(given)
    for key in ("matrix", "kernel"):
        steps = given[key].flatten(1).abs().amax(dim=1) / 127
        error = (found[key] - given[key]).flatten(1).abs().amax(dim=1)
        assert (error <= 0.51 * steps).all()
    torch.testing.assert_close(found["small"].float(), given["small"], atol=0, rtol=1e-3)
    assert torch.equal(found["vector"], given["vector"]) and torch.equal(found["count"], given["count"])


def test_a_row_of_zeros_stays_zero():
    matrix = torch.randn(300, 200)
    matrix[3] = 0
    assert not unpack(pack({"m": matrix}), "a file")["m"][3].any()


@pytest.mark.parametrize(
    "change",
    [
        {"other.scale": torch.ones(300)},
        {"matrix.scale": torch.ones(299)},
        {"matrix.scale": torch.ones(300, 1)},
        {"matrix": torch.ones(300, 200)},
        {"matrix": torch.ones(300, dtype=torch.int8)},
    ],
    ids=["no matrix", "another length", "another shape", "no 8 bits", "a vector"],
)
def test_scales_that_belong_to_nothing_are_refused(change):
    with pytest.raises(WeightsError, match="no matrix of 8 bits has it"):
        unpack({**pack(state()), **change}, "a file")
