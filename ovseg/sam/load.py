"""``load_sam(name)``: the segmenter of that name, its package imported only then."""

from __future__ import annotations

from pathlib import Path

from ovseg.errors import UsageError, WeightsError
from ovseg.sam.base import Segmenter

NAMES = ("grabcut", "vit_b", "vit_l", "vit_h")
DEFAULT = "grabcut"


def load_sam(name: str = DEFAULT, checkpoint: str | Path | None = None, device: str = "cpu") -> Segmenter:
    """A promptable segmenter: "grabcut" (no weights), or SAM as "vit_b", "vit_l", "vit_h".

    ``checkpoint``: the path of a local file (SAM only), or "random" for untrained weights.

    Raises UsageError for an unknown name or device, or a checkpoint for GrabCut; WeightsError where
    the checkpoint is missing or does not fit.
    """
    if name not in NAMES:
        raise UsageError(f"unknown segmenter {name!r}: wanted one of {', '.join(NAMES)}")
    if name == "grabcut":
        if checkpoint is not None:
            raise UsageError(f"grabcut has no weights: wanted no checkpoint, got {checkpoint}")
        from ovseg.sam.grabcut import GrabCut

        return GrabCut()
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # unknown, or not in this build or machine
        raise UsageError(
            f"wanted a usable device, got {device!r}: {str(error).splitlines()[0][:120]}"
        ) from None
    try:
        from ovseg.sam import segment_anything
    except ImportError as error:
        raise WeightsError(f"wanted the package segment-anything for {name}, {error}") from None
    return segment_anything.load(name, checkpoint, device)
