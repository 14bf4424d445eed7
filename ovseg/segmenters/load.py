"""``load_segmenter(name)``: the segmenter of that name, its package imported only then."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ovseg.errors import UsageError, WeightsError
from ovseg.segmenters.base import Segmenter
from ovseg.weights.segmenters import HUB


@dataclass(frozen=True)
class _Family:
    """``module`` of this folder has ``load(name, checkpoint, device, offline)``; ``install`` is what pip
    wants where its import fails."""

    module: str
    install: str
    torch: bool = True


_SAM = _Family("segment_anything", "segment-anything")
FAMILIES = {
    "tiny": _Family("tiny", "segment-anything"),
    "grabcut": _Family("grabcut", "opencv-python", torch=False),
    "vit_b": _SAM,
    "vit_l": _SAM,
    "vit_h": _SAM,
    "mobile": _Family("mobile", "segment-anything timm"),
    HUB: _Family("huggingface", "ovseg[hf]"),
}
NAMES = tuple(FAMILIES)
DEFAULT = "grabcut"


def load_segmenter(
    name: str = DEFAULT,
    weights: str | Path | None = None,
    device: str = "cpu",
    *,
    offline: bool = False,
) -> Segmenter:
    """A promptable segmenter by name.

    "tiny": the embedded SAM. "grabcut": no weights. "vit_b", "vit_l", "vit_h": SAM; "mobile": MobileSAM; their weights from
    ``weights``, the path of a local file, or from the weights folder under their authors' name.
    "hf:FOLDER" or "hf:REPOSITORY": SAM, SAM-HQ, SAM 2 or EdgeTAM of transformers, from disk or, unless
    ``offline``, from the Hugging Face hub. ``weights="random"`` gives untrained weights.

    Raises UsageError for an unknown name or device, or a checkpoint where none can be; WeightsError
    where the weights are missing or do not fit, or the package for them is not installed.
    """
    family = FAMILIES.get(HUB if name.startswith(HUB) else name)
    if family is None:
        known = ", ".join(f"{one}…" if one == HUB else one for one in NAMES)
        raise UsageError(f"unknown segmenter {name!r}: wanted one of {known}")
    if family.torch:
        _check_device(device)
    try:
        module = import_module(f"ovseg.segmenters.{family.module}")
    except ImportError as error:
        raise WeightsError(f"wanted a package for {name} ({error}): pip install {family.install}") from None
    loaded: Segmenter = module.load(name, weights, device, offline=offline)
    return loaded


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # unknown, or not in this build or machine
        raise UsageError(
            f"wanted a usable device, got {device!r}: {str(error).splitlines()[0][:120]}"
        ) from None
