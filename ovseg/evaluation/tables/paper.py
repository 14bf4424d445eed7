"""The paper's values (Li et al., Pattern Recognition 162, 2025, 111409), read from paper.json, for comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_DATA: dict[str, Any] = json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8"))
SETS: tuple[str, ...] = tuple(_DATA["sets"])
"""The columns of Tables 1 and 2, each with mIoU and mSC."""
_MAPS: dict[str, list[float]] = _DATA["tables 1 and 2"]
""""BACKBONE METHOD" -> mIoU and mSC on each of ``SETS``, alternating."""
TABLE3: dict[str, dict[str, float]] = _DATA["table 3"]
"""PASCAL Context, ViT-B/16."""
TABLE4: dict[str, float] = _DATA["table 4"]
"""mSC on PASCAL Context with ViT-B/16."""
TABLE5: dict[str, dict[str, float]] = _DATA["table 5"]
"""Semantic mIoU with ViT-B/16, without post-processing."""
TABLE6: dict[str, float] = _DATA["table 6"]
"""mAP on NUS-WIDE by "BACKBONE|METHOD"; systems scored from a file have no backbone."""


def plain_backbone(name: str) -> str:
    """The paper's name of a backbone: without weights and open_clip's ending "-quickgelu".

    >>> plain_backbone("ViT-B-16-quickgelu"), plain_backbone("RN50-quickgelu=openai")
    ('ViT-B-16', 'RN50')
    """
    return name.partition("=")[0].removesuffix("-quickgelu")


def map_scores(backbone: str, system: str, kind: str) -> dict[str, float]:
    """mIoU and mSC of Tables 1 and 2, in percent; empty if the paper has none.

    >>> map_scores("ViT-B-16-quickgelu", "clip_surgery", "voc2012")
    {'mIoU': 55.78, 'mSC': 41.64}
    """
    row = _MAPS.get(f"{plain_backbone(backbone)} {system}")
    if row is None or kind not in SETS:
        return {}
    place = 2 * SETS.index(kind)
    return {"mIoU": row[place], "mSC": row[place + 1]}


def known_methods(backbone: str) -> Sequence[str]:
    """The methods of Table 2 for a backbone, in the paper's order; those of ViT-B/16 for any other.

    On a transformer the literal Grad-CAM is empty, because the patch tokens of the last block do not reach the
    class token. "gradcam_cls", which takes the gradient at the class token, is listed beside it.
    """
    if plain_backbone(backbone) in ("RN50", "RN101"):
        return ("clip", "gradcam", "gscorecam", "rclip", "eclip", "clip_surgery")
    after = ("plrp", "bimodal", "gscorecam", "rclip", "eclip", "clip_surgery")
    return ("clip", "gradcam", "gradcam_cls", *after)
