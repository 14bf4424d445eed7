"""Load a segmenter by name; its module is imported only then.

``check_segmenter`` needs only the names, and imports neither torch nor OpenCV.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

from ovseg.errors import MissingPackageError, UsageError, described, extra
from ovseg.options import DeviceOptions
from ovseg.options.checks import check_name_or_path, check_text
from ovseg.options.models import SegmenterOptions
from ovseg.weights.known import HUB

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ovseg.options.models import DeviceChoices
    from ovseg.segmenters.base import Segmenter

GRABCUT = "grabcut"
FAMILIES = {
    "small": "small",
    "tiny": "tiny",
    GRABCUT: "grabcut",
    "vit_b": "sam",
    "vit_l": "sam",
    "vit_h": "sam",
    "mobile": "sam",
    HUB: "huggingface",
}
"""Names to modules of this folder; each has ``load(name, weights, options)``."""
DEFAULT = SegmenterOptions.segmenter


def list_segmenters() -> tuple[str, ...]:
    """The names of segmenters; "hf:" stands for any folder or repository of transformers' in that form.

    Example:
        >>> "grabcut" in list_segmenters()
        True
    """
    return tuple(FAMILIES)


def check_segmenter(name: object) -> str:
    """``name`` if a segmenter has it; the folder or repository of an "hf:" name is not checked.

    Raises:
        UsageError: there is no such segmenter.

    Example:
        >>> check_segmenter("hf:facebook/sam-vit-base")
        'hf:facebook/sam-vit-base'
    """
    name = check_text("segmenter", name)
    if name not in FAMILIES and not name.startswith(HUB):
        known = ", ".join(f"{one}…" if one == HUB else one for one in FAMILIES)
        raise UsageError(f"unknown segmenter {described(name)}: expected one of {known}")
    return name


def load_segmenter(
    name: str = DEFAULT,
    weights: str | PathLike[str] | None = None,
    *,
    options: DeviceOptions | None = None,
    **choices: Unpack[DeviceChoices],
) -> Segmenter:
    """A promptable segmenter by name.

    Args:
        name: "small", embedded; "tiny", the embedded SAM; "grabcut" (no weights); "vit_b", "vit_l" or "vit_h"
            for SAM; "mobile" for MobileSAM; "hf:FOLDER" or "hf:org/name" for SAM, SAM-HQ, SAM 2 or EdgeTAM of
            transformers.
        weights: None for the embedded weights of "small" and "tiny", for the official ones of SAM and
            MobileSAM, which are downloaded into the weights folder, and for those of a folder or repository of
            transformers'. A file for "small", "tiny", SAM and MobileSAM. "random" for untrained weights.
        options, choices: a ``DeviceOptions``, or its fields as keywords. GrabCut computes on the CPU.

    Raises:
        UsageError: an unknown name or device, or weights where there can be none.
        WeightsError: the weights are missing, damaged or of another model.
        MissingPackageError: transformers, which "hf:" needs, is not installed.

    Example:
        >>> load_segmenter("grabcut").name
        'grabcut'
    """
    loading = DeviceOptions.make(options, choices)
    family = FAMILIES[HUB if check_segmenter(name).startswith(HUB) else name]
    given = None if weights is None else str(check_name_or_path("weights", weights))
    if name != GRABCUT:
        from ovseg.weights.device import check_device  # imports torch, which GrabCut does not need

        check_device(loading.device)
    try:
        module = import_module(f"ovseg.segmenters.{family}")
    except ImportError as error:
        raise MissingPackageError(f"{name} needs a package ({error}): {extra('hf')}") from None
    loaded: Segmenter = module.load(name, given, loading)
    if given != "random":
        loaded.origin = partial(load_segmenter, name, given, options=loading)
    return loaded
