"""Weights in 8 bits, for an asset that must be small: whole numbers with one scale for each output row.

Only large matrices are stored so. Small ones, such as the kernels of a network's first layers, cost little
and suffer most: they are stored in 16 bits. Vectors (biases, norms, running statistics) keep their type. The
largest value of a row is 127 steps, so the rounding error of a weight is at most 1/254 of that value.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ovseg.errors import WeightsError

STEPS = 127
_SCALE = ".scale"
_LARGE = 50_000  # values


def pack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with its large floating-point tensors in 8 bits, each beside its "KEY.scale" (rows,)."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if value.ndim < 2 or value.numel() < _LARGE or not value.is_floating_point():
            half = value.ndim >= 2 and value.is_floating_point()
            found[key] = (value.half() if half else value).contiguous()
            continue
        rows = value.float().flatten(1)
        scale = (rows.abs().amax(dim=1) / STEPS).clamp_min(torch.finfo(torch.float32).tiny)
        found[key] = (rows / scale[:, None]).round().to(torch.int8).reshape(value.shape).contiguous()
        found[key + _SCALE] = scale
    return found


def unpack(state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """What ``pack`` was given, rounded, in float32.

    Args:
        state: of a file.
        what: the file in words, for messages.

    Raises:
        WeightsError: a scale does not belong to a tensor of 8 bits with as many rows.
    """
    found = {key: value for key, value in state.items() if not key.endswith(_SCALE)}
    for key, scale in state.items():
        if not key.endswith(_SCALE):
            continue
        owner = key.removesuffix(_SCALE)
        value = found.get(owner)
        if value is None or value.dtype != torch.int8 or value.ndim < 2 or scale.shape != value.shape[:1]:
            raise WeightsError(f"expected {what}, its {key[:80]} does not fit: no matrix of 8 bits has it")
        found[owner] = value.float() * scale.float().reshape(-1, *[1] * (value.ndim - 1))
    return found
