"""``load_segmenter(name)``: the segmenter of that name, its package imported only then."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

from ovseg.errors import MissingPackageError, UsageError, described, extra
from ovseg.options import DeviceOptions
from ovseg.options.checks import check_name_or_path, check_text
from ovseg.segmenters.base import Segmenter
from ovseg.weights.known import HUB

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ovseg.options.models import DeviceChoices


@dataclass(frozen=True)
class _Family:
    """``module`` of this folder has ``load(name, weights, device, *, offline)``; ``install`` is what to
    install with pip where its import fails."""

    module: str
    install: str
    torch: bool = True


_SAM = _Family("segment_anything", "pip install segment-anything")
FAMILIES = {
    "tiny": _Family("tiny", "pip install segment-anything"),
    "grabcut": _Family("grabcut", "pip install opencv-python", torch=False),
    "vit_b": _SAM,
    "vit_l": _SAM,
    "vit_h": _SAM,
    "mobile": _Family("mobile", "pip install segment-anything timm"),
    HUB: _Family("huggingface", extra("hf")),
}
NAMES = tuple(FAMILIES)
DEFAULT = "tiny"


def list_segmenters() -> tuple[str, ...]:
    """The names of segmenters; "hf:" stands for any folder or repository of transformers' in that form.

    Example:
        >>> "grabcut" in list_segmenters()
        True
    """
    return NAMES


def load_segmenter(
    name: str = DEFAULT,
    weights: str | PathLike[str] | None = None,
    *,
    options: DeviceOptions | None = None,
    **choices: Unpack[DeviceChoices],
) -> Segmenter:
    """A promptable segmenter by name.

    Args:
        name: "grabcut" (no weights); "tiny", the embedded SAM; "vit_b", "vit_l" or "vit_h" for SAM; "mobile"
            for MobileSAM; "hf:FOLDER" or "hf:org/name" for SAM, SAM-HQ, SAM 2 or EdgeTAM of transformers.
        weights: None for the embedded weights of "tiny", for the official file in the weights folder under
            its authors' name, and for those in a folder or repository of transformers'. A file for "tiny",
            SAM and MobileSAM. "random" for untrained weights.
        options, choices: a ``DeviceOptions``, or its fields as keywords. GrabCut computes on the CPU.

    Raises:
        UsageError: an unknown name or device, or weights where there can be none.
        WeightsError: the weights are missing, damaged or of another model, or the package for this name is
            not installed.

    Example:
        >>> load_segmenter("grabcut").name
        'grabcut'
    """
    loading = DeviceOptions.make(options, choices)
    check_text("segmenter", name)
    family = FAMILIES.get(HUB if name.startswith(HUB) else name)
    if family is None:
        known = ", ".join(f"{one}…" if one == HUB else one for one in NAMES)
        raise UsageError(f"unknown segmenter {described(name)}: expected one of {known}")
    if family.torch:
        from ovseg.weights.device import check_device  # torch comes only with a segmenter that needs it

        check_device(loading.device)
    try:
        module = import_module(f"ovseg.segmenters.{family.module}")
    except ImportError as error:
        raise MissingPackageError(
            f"the segmenter {name} needs a package ({error}): {family.install}"
        ) from None
    given = None if weights is None else str(check_name_or_path("weights", weights))
    loaded: Segmenter = module.load(name, given, loading.device, offline=loading.offline)
    if given != "random":
        loaded.origin = partial(load_segmenter, name, given, options=loading)
    return loaded
