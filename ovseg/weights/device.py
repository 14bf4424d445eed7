"""Check a device: the name is known, this machine has it, and it computes."""

from __future__ import annotations

import platform
import warnings

import torch

from ovseg.errors import OvsegWarning, UsageError, described
from ovseg.options.checks import DEVICES

NO_BF16 = "this processor has no bf16 instructions: bf16 takes 1.6 to 2.5 times as long as fp32 here"


def check_device(device: str, precision: str = "fp32") -> torch.device:
    """The device of a name, tested with one addition.

    Args:
        device: "cpu", "cuda", "cuda:1" or another device of this machine.
        precision: "fp32", "bf16" or "fp16"; "fp16" needs another device than the CPU.

    Raises:
        UsageError: the device is unknown, this machine does not have it, or it cannot compute.

    Example:
        >>> check_device("cpu")
        device(type='cpu')
    """
    try:
        target = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise UsageError(f"unknown device {described(device)}: expected cpu, cuda, cuda:1 …") from None
    if target.type == "cpu":
        if precision == "fp16":
            raise UsageError("fp16 needs a GPU, got cpu: use fp32 or bf16")
        if precision == "bf16" and not has_bf16():
            warnings.warn(NO_BF16, OvsegWarning, stacklevel=2)
        return torch.device("cpu")
    if target.type not in DEVICES or not _computes(target):
        raise UsageError(f"expected device {device}, this machine offers {_offered()}")
    return target


def has_bf16() -> bool:
    """Whether the processor has bfloat16 instructions; True where that is unknown."""
    asked = [
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    return (
        platform.machine() not in ("x86_64", "AMD64") or None in asked or any(one() for one in asked if one)
    )


def _computes(target: torch.device) -> bool:
    try:
        return float((torch.ones(1, device=target) + 1).cpu()) == 2
    except Exception:  # builds without it raise AssertionError, ImportError, NotImplementedError and others
        return False


def _offered() -> str:
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return f"{', '.join(found)} only" if found == ["cpu"] else ", ".join(found)
