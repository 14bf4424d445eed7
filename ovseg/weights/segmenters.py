"""Weights of segmenters: official files that are put in place by hand, and repositories of the hub.

Neither Meta's package nor MobileSAM's names the address of its files anywhere but in a README, so
they are not downloaded here: a file lying in the weights folder under its authors' name is found
and compared with its published sha256. Repositories of the Hugging Face hub ("hf:NAME") are fetched.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ovseg.errors import UsageError, WeightsError
from ovseg.paths import home, sha256_of

HUB = "hf:"
_FILES = ("config.json", "preprocessor_config.json", "processor_config.json", "model*.safetensors*")


@dataclass(frozen=True)
class Official:
    """One file as its authors name it; ``source``: the repository whose README links it."""

    name: str
    file: str
    sha256: str
    megabytes: int
    source: str
    licence: str = "Apache-2.0"


# The digits in the names of SAM's files begin their MD5, not their sha256. The sha256 are those of
# micro_sam's registry (github.com/computational-cell-analytics/micro-sam), sizes as commonly listed.
OFFICIAL = {
    row.name: row
    for row in (
        Official(
            "vit_b",
            "sam_vit_b_01ec64.pth",
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            375,
            "github.com/facebookresearch/segment-anything",
        ),
        Official(
            "vit_l",
            "sam_vit_l_0b3195.pth",
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            1250,
            "github.com/facebookresearch/segment-anything",
        ),
        Official(
            "vit_h",
            "sam_vit_h_4b8939.pth",
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            2565,
            "github.com/facebookresearch/segment-anything",
        ),
        Official(
            "mobile",
            "mobile_sam.pt",
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            41,
            "github.com/ChaoningZhang/MobileSAM",
        ),
    )
}

REPOSITORIES = (
    "facebook/sam-vit-base",
    "facebook/sam-vit-huge",
    "syscv-community/sam-hq-vit-base",
    "facebook/sam2.1-hiera-tiny",
    "yonigozlan/EdgeTAM-hf",
)
"""Those that transformers' own docstrings name; any other of these families works as well."""


def knows(name: str) -> bool:
    return name in OFFICIAL or name.startswith(HUB)


def folder() -> Path:
    return home() / "weights"


def path(name: str) -> Path:
    """Where the weights lie, or would: a file, or the hub's cache of a repository."""
    if name in OFFICIAL:
        return folder() / OFFICIAL[name].file
    return folder() / "hub" / f"models--{repository(name).replace('/', '--')}"


def find(name: str) -> Path | None:
    """The file, or the folder of a repository, if it is on disk, without touching the network."""
    if name in OFFICIAL:
        file = path(name)
        return file if file.is_file() else None
    return _snapshot(repository(name), local_only=True)


def pull(name: str, *, offline: bool = False) -> Path:
    """A repository's folder, fetched if it is not there; a file only if it is there, and whole.

    Raises WeightsError where it is not and cannot be had.
    """
    found = find(name)
    if name in OFFICIAL:
        if found is None:
            raise WeightsError(f"wanted {path(name)}, found none: {how_to_get(name)}")
        verify(name)
        return found
    if found:
        return found
    if offline:
        raise WeightsError(f"wanted {name} in {folder()}, found none: run `ovseg models pull {name}`")
    fetched = _snapshot(repository(name), local_only=False)
    assert fetched is not None  # it raises otherwise
    return fetched


def how_to_get(name: str) -> str:
    row = OFFICIAL[name]
    return f"put {row.file} ({row.megabytes} MB) there, linked in the README of {row.source}"


def verify(name: str) -> str:
    """One line on whether what is on disk is whole. Raises WeightsError if missing or not."""
    found = find(name)
    if found is None:
        raise WeightsError(f"wanted {name} in {folder()}, found none")
    if name in OFFICIAL:
        return _same(found, OFFICIAL[name].sha256)
    lines = []
    for file in sorted(found.glob("*.safetensors")):
        stored = file.resolve().name  # the hub's cache names a large file after its sha256
        lines.append(_same(file, stored if len(stored) == 64 else None))
    return "\n".join(lines)


def _same(file: Path, wanted: str | None) -> str:
    got = sha256_of(file)
    if wanted is None:
        return f"{file}: no checksum is known, sha256 is {got}"
    if got != wanted:
        raise WeightsError(f"wanted sha256 {wanted} for {file}, got {got}; the file was left as it is")
    return f"{file}: sha256 {got}, as published"


# ------------------------------------------------------------------------------------------- the hub


def repository(name: str) -> str:
    """ "hf:facebook/sam-vit-base" -> "facebook/sam-vit-base"; raises UsageError for what is none."""
    found = name.removeprefix(HUB)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", found) or found.startswith("."):
        raise UsageError(f"wanted hf: and a repository of the hub or an existing folder, got {name!r}")
    return found


def local_folder(name: str) -> Path | None:
    """The folder that an "hf:…" name means, or None where it names a repository."""
    given = Path(name.removeprefix(HUB)).expanduser()
    return given if name.removeprefix(HUB) and given.is_dir() else None


def _snapshot(identifier: str, local_only: bool) -> Path | None:
    from huggingface_hub import snapshot_download

    cache = folder() / "hub"
    try:
        found = Path(
            snapshot_download(
                identifier, cache_dir=cache, local_files_only=local_only, allow_patterns=list(_FILES)
            )
        )
    except Exception as error:  # the hub's own, and those of the HTTP client of the day, cut off midway
        if local_only:
            return None
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(
            f"wanted {identifier} from the Hugging Face hub, not in {cache} and not to be had ({reason})"
        ) from None
    if missing(found):
        if local_only:
            return None
        raise WeightsError(f"wanted {identifier} of the hub with {missing(found)}, it has none")
    return found


def missing(found: Path) -> str | None:
    """What a folder of a model lacks: its config or its weights as safetensors, every part of them."""
    if not (found / "config.json").is_file():
        return "config.json"
    index = found / "model.safetensors.index.json"
    if not index.is_file():
        return None if (found / "model.safetensors").is_file() else "model.safetensors"
    parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return next((part for part in sorted(parts) if not os.path.isfile(found / part)), None)
