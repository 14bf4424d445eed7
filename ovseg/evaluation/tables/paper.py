"""The figures of the paper (Li et al., Pattern Recognition 162, 2025, 111409), to stand beside ours."""

from __future__ import annotations

from collections.abc import Sequence

SETS = ("imagenet_s50", "voc2012", "pascal_context", "coco2017")
"""The columns of Tables 1 and 2, each with mIoU and mSC."""

_TABLE1 = """
RN50 clip 28.18 -26.50 17.78 -27.88 16.98 -14.02 10.53 -19.17
RN50 clip_surgery 66.05 43.28 53.85 44.60 38.50 32.44 29.24 33.80
RN101 clip 28.17 -23.30 18.06 -23.48 17.52 -9.90 10.66 -17.31
RN101 clip_surgery 65.51 43.22 52.51 44.07 38.03 32.21 29.89 35.50
ViT-B-32 clip 28.05 -21.86 17.56 -24.06 16.37 -17.68 10.15 -21.02
ViT-B-32 clip_surgery 59.24 36.72 51.14 41.15 40.10 32.90 29.22 31.35
ViT-B-16 clip 27.87 -18.84 17.36 -19.86 15.76 -16.73 9.74 -23.37
ViT-B-16 clip_surgery 62.41 36.50 55.78 41.64 46.28 34.32 35.23 35.43
ViT-L-14 clip 27.89 -18.34 17.24 -24.42 15.62 -20.26 9.64 -27.51
ViT-L-14 clip_surgery 61.72 28.25 54.47 34.89 42.71 28.11 37.67 32.54
RN50 gradcam 34.39 1.30 22.93 1.76 19.85 0.76 13.11 1.89
RN50 gscorecam 62.21 33.80 48.53 33.69 34.68 23.27 12.98 13.32
RN50 rclip 54.45 26.50 41.17 27.88 28.48 14.02 21.87 19.17
RN50 eclip 62.49 30.49 50.04 31.14 36.28 21.77 27.27 23.43
ViT-B-16 gradcam 28.59 -11.05 17.90 -14.51 16.04 -14.68 9.89 -18.91
ViT-B-16 plrp 46.76 10.33 31.73 8.88 25.61 6.24 21.06 11.22
ViT-B-16 bimodal 43.37 6.77 30.64 6.76 24.31 3.95 18.33 7.99
ViT-B-16 gscorecam 24.75 7.47 11.33 1.59 13.26 0.35 13.59 4.45
ViT-B-16 rclip 48.00 16.14 37.36 18.51 33.25 18.21 26.12 22.41
ViT-B-16 eclip 58.59 26.32 48.46 28.83 30.34 14.43 24.67 18.95
"""
"""Tables 1 and 2: backbone, method, then mIoU and mSC on each of ``SETS``."""

_TABLE3 = """
original -16.73 15.76 47.09 7.70 5.11
architecture 31.15 43.47 47.09 27.52 38.76
feature -18.20 15.86 52.61 9.53 5.11
architecture and feature 34.32 46.28 52.61 29.3 40.71
"""
TABLE3_COLUMNS = ("mSC", "mIoU", "multi-label mAP", "semantic mIoU", "interactive mIoU")

TABLE4 = {
    "last block, attention and FFN": 29.13,
    "last blocks, one path, attention and FFN": -7.73,
    "last blocks, two paths, attention and FFN": 32.30,
    "last blocks, two paths, FFN": -4.28,
    "last blocks, two paths, attention": 34.32,
}
"""Table 4: mSC on PASCAL Context with ViT-B/16."""

TABLE5 = {
    "ViL-Seg": {"pascal_context": 16.3, "coco_stuff164k": 16.4},
    "OVSegmentor": {"pascal_context": 20.4},
    "ReCo": {"pascal_context": 22.3, "coco_stuff164k": 14.8, "cityscapes": 21.1},
    "GroupViT": {"pascal_context": 22.4, "coco_stuff164k": 13.3, "cityscapes": 12.4},
    "SegCLIP": {"pascal_context": 24.7},
    "ZeroSeg": {"pascal_context": 20.4, "coco_stuff164k": 20.2},
    "maskclip": {"pascal_context": 22.4, "coco_stuff164k": 15.3, "cityscapes": 22.7},
    "clip_surgery": {"pascal_context": 29.3, "coco_stuff164k": 21.9, "cityscapes": 31.4},
}
"""Table 5: semantic mIoU with ViT-B/16, without post-processing."""

TABLE6 = {
    ("ViT-B-16", "clip"): 35.58,
    ("ViT-B-16", "clip_surgery"): 47.19,
    ("RN50", "clip"): 32.75,
    ("RN50", "clip_surgery"): 39.99,
    ("", "DualModal"): 36.56,
    ("", "MKT"): 37.6,
    ("", "DualCoOp"): 43.6,
    ("", "TaI-DPT"): 46.99,
    ("", "TaI-DPT + surgery"): 48.55,
}
"""Table 6: mAP on NUS-WIDE by backbone and method; systems scored from a file have no backbone here."""


def _numbers(text: str, names: int) -> dict[tuple[str, ...], list[float]]:
    """Lines of words and numbers: the last ``names`` words of each are numbers, those before are the key."""
    rows = [line.split() for line in text.split("\n") if line]
    return {tuple(row[:-names]): [float(word) for word in row[-names:]] for row in rows}


_MAPS = _numbers(_TABLE1, 8)
TABLE3 = {
    " ".join(key): dict(zip(TABLE3_COLUMNS, values, strict=True))
    for key, values in _numbers(_TABLE3, 5).items()
}
"""Table 3: PASCAL Context, ViT-B/16."""


def plain_backbone(name: str) -> str:
    """The paper's backbones are OpenAI's, whose names in open_clip end in "-quickgelu".

    >>> plain_backbone("ViT-B-16-quickgelu"), plain_backbone("RN50-quickgelu=openai")
    ('ViT-B-16', 'RN50')
    """
    return name.partition("=")[0].removesuffix("-quickgelu")


def map_scores(backbone: str, system: str, kind: str) -> dict[str, float]:
    """mIoU and mSC of Tables 1 and 2, in percent; nothing where the paper has none.

    >>> map_scores("ViT-B-16-quickgelu", "clip_surgery", "voc2012")
    {'mIoU': 55.78, 'mSC': 41.64}
    """
    row = _MAPS.get((plain_backbone(backbone), system))
    if row is None or kind not in SETS:
        return {}
    place = 2 * SETS.index(kind)
    return {"mIoU": row[place], "mSC": row[place + 1]}


def known_methods(backbone: str) -> Sequence[str]:
    """The methods of Table 2 for a backbone, in the paper's order; those of ViT-B/16 for any other.

    On a transformer the literal Grad-CAM is empty, since the places of the last block do not reach the
    class token any more. "gradcam_cls" stands beside it, which takes the gradient at the class token.
    """
    if plain_backbone(backbone) in ("RN50", "RN101"):
        return ("clip", "gradcam", "gscorecam", "rclip", "eclip", "clip_surgery")
    table = (
        "clip",
        "gradcam",
        "gradcam_cls",
        "plrp",
        "bimodal",
        "gscorecam",
        "rclip",
        "eclip",
        "clip_surgery",
    )
    return table
