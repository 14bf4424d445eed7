"""Known models by name: weights with licence, size and checksum, and open_clip's tables. No torch.

Names, addresses and checksums of CLIP's weights are open_clip's own and are not repeated here; a row only says
what open_clip does not: licence and size. Any other model and tag of open_clip works as well.

open_clip's table of weights stands in its source file open_clip/pretrained.py as nested calls of ``dict`` and of
functions named after defaults (``_pcfg(url=…)``). The file is parsed, never executed, as importing open_clip
imports torch; only constants given by keyword are kept. A test compares the result with open_clip's own
functions, entry by entry. Where a later open_clip keeps its table in another form, it is imported and asked.
"""

from __future__ import annotations

import ast
import difflib
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ovseg.errors import UsageError, described
from ovseg.options.checks import check_text

SMALL, TINY = "small", "tiny"
EMBEDDED = (SMALL, TINY)
"""The embedded models, a CLIP and a segmenter of each name. The first are the defaults."""
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
        megabytes: the size, rounded; None where it is not known here.
        licence: of the weights.
        address: where the authors publish the file, whose name the weights folder keeps; None where open_clip
            has the address, and for repositories and embedded files.
        file: of an embedded model.
        sha256: of the file; None where open_clip's address or the hub has it.
    """

    family: str
    name: str
    tag: str | None = None
    megabytes: int | None = None
    licence: str = "MIT"
    address: str | None = None
    file: str | None = None
    sha256: str | None = None


def _sam(name: str, megabytes: int, address: str, sha256: str) -> Known:
    return Known("segmenter", name, None, megabytes, "Apache-2.0", address, sha256=sha256)


def _asset(family: str, name: str, megabytes: int, file: str, sha256: str) -> Known:
    return Known(family, name, "embedded", megabytes, "research data", file=file, sha256=sha256)


CLIP = (
    Known("clip", "RN50", "openai", 244),  # the first five are the paper's; ViT-B-16 is the field's default
    Known("clip", "RN101", "openai", 278),
    Known("clip", "ViT-B-32", "openai", 338),
    Known("clip", "ViT-B-16", "openai", 335),
    Known("clip", "ViT-L-14", "openai", 890),
    Known("clip", "ViT-L-14-336", "openai", 891),
    Known("clip", "ViT-B-32", "laion2b_s34b_b79k", 605),
    Known("clip", "ViT-B-16", "laion2b_s34b_b88k", 599),
    Known("clip", "ViT-L-14", "laion2b_s32b_b82k", 1711),
    Known("clip", "ViT-B-16", "datacomp_xl_s13b_b90k", 599),
    Known("clip", "ViT-L-14", "datacomp_xl_s13b_b90k", 1711),
)

# Addresses as in the READMEs of segment-anything and MobileSAM. The digits in the names of SAM's files begin
# their MD5, not their SHA-256. The SHA-256 are those of micro_sam's registry
# (github.com/computational-cell-analytics/micro-sam), sizes as commonly listed.
_META = "https://dl.fbaipublicfiles.com/segment_anything"
OFFICIAL: dict[str, Known] = {
    row.name: row
    for row in (
        _sam(
            "vit_b",
            375,
            f"{_META}/sam_vit_b_01ec64.pth",
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        ),
        _sam(
            "vit_l",
            1250,
            f"{_META}/sam_vit_l_0b3195.pth",
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        ),
        _sam(
            "vit_h",
            2565,
            f"{_META}/sam_vit_h_4b8939.pth",
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        ),
        _sam(
            "mobile",
            41,
            "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        ),
    )
}
"""Segmenters whose authors publish a file at an address, by name."""

REPOSITORIES = tuple(
    Known("segmenter", HUB + name, licence="see its card")
    for name in (
        "facebook/sam-vit-base",
        "facebook/sam-vit-huge",
        "syscv-community/sam-hq-vit-base",
        "facebook/sam2.1-hiera-tiny",
        "yonigozlan/EdgeTAM-hf",
    )
)
"""Those that transformers' own docstrings name; any other repository of these families works as well."""

ASSETS = (
    _asset(
        "clip",
        SMALL,
        16,
        "small_clip.safetensors",
        "56e8c56969b76bdc3058420ef94510c1f8450eb5be3f1e9ccfe838535470fbf8",
    ),
    _asset(
        "clip",
        TINY,
        4,
        "tiny_clip.safetensors",
        "11e1613c293303610e95c347a73ed6c23c257ad995fd550750878fb15883e760",
    ),
    _asset(
        "segmenter",
        SMALL,
        1,
        "small_segmenter.safetensors",
        "33414a89aaca0a26609a1229dd8c59ba5aa91dad9f347a7046e7564d24c0b751",
    ),
    _asset(
        "segmenter",
        TINY,
        3,
        "tiny_sam.safetensors",
        "02ce84ff2d43ba35fb0883f62382837a1171670a3eec00ef89ff21d7884b61e5",
    ),
)
"""Files that are part of the installed package."""

KNOWN: tuple[Known, ...] = (*ASSETS, *CLIP, *OFFICIAL.values(), *REPOSITORIES)


# -------------------------------------------------------------------------------- open_clip's tables

Entry = dict[str, object]
"""What open_clip knows of one set of weights; here ``url``, ``hf_hub`` and, where given, ``quick_gelu``."""


def clean(model: str, tag: str = "") -> tuple[str, str]:
    """Model and tag as open_clip spells them.

    >>> clean("ViT-B/16", "LAION2B-s34b-b88k")
    ('ViT-B-16', 'laion2b_s34b_b88k')
    """
    return model.replace("/", "-"), tag.lower().replace("-", "_")


def check_model(name: object) -> str:
    """``name`` if ``load_model`` knows it; what "hf-hub:" and "local-dir:" lead to is not looked at.

    Raises:
        UsageError: neither an embedded model nor one of open_clip's has this name.

    Example:
        >>> check_model("ViT-B/16")
        'ViT-B/16'
    """
    name = check_text("model", name)
    names = {*EMBEDDED, *_configs()}
    if not name.startswith((CLIP_HUB, CLIP_FOLDER)) and clean(name)[0] not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f": did you mean {', '.join(near)}?" if near else ""
        raise UsageError(
            f"unknown model {described(name)}, expected 'small', 'tiny' or a name of open_clip's{hint}"
        )
    return name


def entry(model: str, tag: str) -> Entry:
    """The entry of one set of weights.

    Raises:
        UsageError: open_clip has no such model or no such tag for it.
    """
    model, tag = clean(check_model(model), tag)
    known = tags(model)
    if tag not in known:
        choices = f"a file or one of {', '.join(known)}" if known else "a file, as open_clip lists no weights"
        raise UsageError(f"unknown weights {described(tag)} for {model}: expected {choices}")
    return known[tag]


def tags(model: str) -> dict[str, Entry]:
    """The entries of a model by tag; empty where open_clip has no weights for this name."""
    model, _ = clean(model)
    table = _parsed()
    if table:
        return table.get(model, {})
    import open_clip  # another form of the table than the one that is read here

    named = open_clip.list_pretrained_tags_by_model(model)
    return {tag: dict(open_clip.get_pretrained_cfg(model, tag)) for tag in named}


def _configs() -> set[str]:
    """The models that open_clip can build: one file each, and those that were added in this process."""
    loaded = sys.modules.get("open_clip")
    added = loaded.list_models() if loaded is not None else []
    return {*added, *(file.stem for file in _open_clip_folder().glob("model_configs/*.json"))}


def _open_clip_folder() -> Path:
    """Where open_clip is installed."""
    spec = find_spec("open_clip")
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places or ["open_clip"])))


@cache
def _parsed() -> dict[str, dict[str, Entry]]:
    """{model: {tag: entry}} from the source file; empty where it has another form."""
    try:
        tree = ast.parse((_open_clip_folder() / "pretrained.py").read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return {}
    named: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            named[node.targets[0].id] = _value(node.value, named)
    models = named.get("_PRETRAINED")
    table = {
        model: {tag: one for tag, one in found.items() if isinstance(one, dict)}
        for model, found in (models.items() if isinstance(models, dict) else ())
        if isinstance(found, dict)
    }
    for model, rows in list(table.items()):  # open_clip derives these names in a loop at the end of its file
        if quick := {tag: one for tag, one in rows.items() if one.get("quick_gelu")}:
            table[f"{model}-quickgelu"] = quick
    return table


def _value(node: ast.expr, named: dict[str, object]) -> object:
    """A literal, a name given before, or a call's keywords as a dict; None for everything else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return named.get(node.id)
    if isinstance(node, ast.Call):
        return {item.arg: _value(item.value, named) for item in node.keywords if item.arg}
    if isinstance(node, ast.Dict):
        return {
            key.value: _value(value, named)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
        }
    return None
