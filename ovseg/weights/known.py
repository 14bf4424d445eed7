"""Weights that are known by name: family, licence, size and, where its authors publish one, checksum.

Names, addresses and checksums of CLIP's weights are open_clip's own and are not repeated here; a row only
says what open_clip does not: licence and size. Any other model and tag of open_clip works as well.
"""

from __future__ import annotations

from dataclasses import dataclass

SMALL, TINY = "small", "tiny"
EMBEDDED = (SMALL, TINY)
"""The embedded CLIPs; the embedded SAM is "tiny" too. The first is what is used where no model is named."""
DEFAULT_TAG = "openai"
HUB = "hf:"
"""Before a repository or folder of transformers' segmenters."""
CLIP_HUB = "hf-hub:"
"""Before a repository of the hub in open_clip's form."""
CLIP_FOLDER = "local-dir:"
"""Before a folder in open_clip's form."""


@dataclass(frozen=True)
class Known:
    """One known set of weights.

    Attributes:
        family: "clip" or "segmenter".
        name: the model's name in ``load_model`` or ``load_segmenter``.
        tag: open_clip's tag, or None where the name has one set of weights only.
        file: the file's name in the weights folder, as its authors name it; None where the name follows from
            the address, or where it is a repository.
        source: the repository whose README links the file; None where open_clip has the address.
        sha256: of the file; None where open_clip's address or the hub has it.
        licence: of the weights.
        megabytes: the size, rounded; None where it is not known here.
        note: what else to know.
    """

    family: str
    name: str
    tag: str | None = None
    file: str | None = None
    source: str | None = None
    sha256: str | None = None
    licence: str = "MIT"
    megabytes: int | None = None
    note: str = ""


def _clip(name: str, tag: str, megabytes: int, note: str = "") -> Known:
    return Known("clip", name, tag, megabytes=megabytes, note=note)


def _by_hand(name: str, file: str, source: str, sha256: str, megabytes: int) -> Known:
    return Known("segmenter", name, None, file, source, sha256, "Apache-2.0", megabytes)


def _repository(name: str) -> Known:
    return Known("segmenter", HUB + name, source=name, licence="see its card")


CLIP: tuple[Known, ...] = (
    _clip("RN50", "openai", 244, "paper"),
    _clip("RN101", "openai", 278, "paper"),
    _clip("ViT-B-32", "openai", 338, "paper"),
    _clip("ViT-B-16", "openai", 335, "paper, the field's default"),
    _clip("ViT-L-14", "openai", 890, "paper"),
    _clip("ViT-L-14-336", "openai", 891),
    _clip("ViT-B-32", "laion2b_s34b_b79k", 605),
    _clip("ViT-B-16", "laion2b_s34b_b88k", 599),
    _clip("ViT-L-14", "laion2b_s32b_b82k", 1711),
    _clip("ViT-B-16", "datacomp_xl_s13b_b90k", 599),
    _clip("ViT-L-14", "datacomp_xl_s13b_b90k", 1711),
)

_META = "github.com/facebookresearch/segment-anything"
# Neither Meta's package nor MobileSAM's names the address of its files anywhere but in a README, so they are
# not downloaded here. The digits in the names of SAM's files begin their MD5, not their SHA-256. The SHA-256
# are those of micro_sam's registry (github.com/computational-cell-analytics/micro-sam), sizes as commonly
# listed.
OFFICIAL: dict[str, Known] = {
    row.name: row
    for row in (
        _by_hand(
            "vit_b",
            "sam_vit_b_01ec64.pth",
            _META,
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            375,
        ),
        _by_hand(
            "vit_l",
            "sam_vit_l_0b3195.pth",
            _META,
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            1250,
        ),
        _by_hand(
            "vit_h",
            "sam_vit_h_4b8939.pth",
            _META,
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            2565,
        ),
        _by_hand(
            "mobile",
            "mobile_sam.pt",
            "github.com/ChaoningZhang/MobileSAM",
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            41,
        ),
    )
}
"""Segmenters whose official file is put into the weights folder by hand, by name."""

REPOSITORIES: tuple[Known, ...] = (
    _repository("facebook/sam-vit-base"),
    _repository("facebook/sam-vit-huge"),
    _repository("syscv-community/sam-hq-vit-base"),
    _repository("facebook/sam2.1-hiera-tiny"),
    _repository("yonigozlan/EdgeTAM-hf"),
)
"""Those that transformers' own docstrings name; any other repository of these families works as well."""

ASSETS: tuple[Known, ...] = (
    Known(
        "clip",
        SMALL,
        "embedded",
        "small_clip.safetensors",
        sha256="352450aeb0c6b75781ec258e471914db78ece5a9314664c812464a3af7ccfea5",
        licence="research data",
        megabytes=16,
    ),
    Known(
        "clip",
        TINY,
        "embedded",
        "tiny_clip.safetensors",
        sha256="11e1613c293303610e95c347a73ed6c23c257ad995fd550750878fb15883e760",
        licence="research data",
        megabytes=4,
    ),
    Known(
        "segmenter",
        TINY,
        "embedded",
        "tiny_sam.safetensors",
        sha256="02ce84ff2d43ba35fb0883f62382837a1171670a3eec00ef89ff21d7884b61e5",
        licence="research data",
        megabytes=3,
    ),
)
"""Files that are part of the installed package."""

KNOWN: tuple[Known, ...] = (*ASSETS, *CLIP, *OFFICIAL.values(), *REPOSITORIES)
