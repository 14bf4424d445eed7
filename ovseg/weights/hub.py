"""Repositories of the Hugging Face hub in ovseg's own cache: looked up without the network, or fetched.

huggingface_hub resumes downloads itself and names a large file in its cache after its SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ovseg.errors import UsageError, WeightsError, described
from ovseg.files.paths import home
from ovseg.weights.download import Unreachable
from ovseg.weights.files import brief, read_json

SEGMENTER_FILES = ("config.json", "preprocessor_config.json", "processor_config.json", "model*.safetensors*")
TEXT_FILES = (
    "config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
)
"""What a text tower and its tokenizer are built from; weights come with the CLIP checkpoint."""
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")
CLIP_CONFIG = "open_clip_config.json"
CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
INDEX = "model.safetensors.index.json"


def check_repository(name: str) -> str:
    """``name`` if it can be a repository's. Raises UsageError."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith(".") or ".." in name:
        raise UsageError(f"expected a repository of the hub or an existing folder, got {described(name)}")
    return name


def cache() -> Path:
    """The folder that huggingface_hub keeps its files in for ovseg."""
    return home() / "weights" / "hub"


def cached(repository: str) -> Path:
    """The folder of one repository in the cache; it need not exist."""
    return cache() / f"models--{repository.replace('/', '--')}"


def snapshot(repository: str) -> Path | None:
    """The folder of the newest version that was fetched, or None.

    The cache is read here and not by huggingface_hub, which fetches a list of agents from the network before
    it looks into its cache, also when it is told to use local files only.
    """
    root = cached(repository)
    try:
        commit = (root / "refs" / "main").read_text(encoding="utf-8").strip()
        found = root / "snapshots" / commit
        return found if re.fullmatch(r"\w+", commit) and found.is_dir() else None
    except (OSError, ValueError):  # not there, or damaged: it is fetched again
        return None


def find_file(repository: str, choices: Sequence[str]) -> Path | None:
    """The first of ``choices`` that the cache has of a repository, or None; the network is not used."""
    found = snapshot(repository)
    files = [found / choice for choice in choices] if found else []
    return next((one for one in files if one.is_file()), None)


def fetch_file(repository: str, choices: Sequence[str]) -> Path:
    """The first of ``choices`` that a repository has, from the hub. Raises Unreachable."""
    from huggingface_hub import hf_hub_download

    problem: Exception = FileNotFoundError("no file")
    for choice in choices:
        try:
            return Path(hf_hub_download(repository, choice, cache_dir=cache()))
        except Exception as error:  # the hub's own, and those of the HTTP client, cut off midway
            problem = error
    raise Unreachable(f"not to be had from the Hugging Face hub ({brief(problem)})")


def fetch_folder(repository: str, patterns: Sequence[str]) -> Path:
    """The folder of a repository with the files of ``patterns``, from the hub. Raises Unreachable."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, cache_dir=cache(), allow_patterns=list(patterns)))
    except Exception as error:  # the hub's own, and those of the HTTP client, cut off midway
        raise Unreachable(f"not to be had from the Hugging Face hub ({brief(error)})") from None


def missing_part(found: Path) -> str | None:
    """A file that a folder of transformers' lacks: its config or a part of its weights as safetensors.

    Raises WeightsError where the index of a sharded model is damaged.
    """
    if not (found / "config.json").is_file():
        return "config.json"
    if not (found / INDEX).is_file():
        return None if (found / "model.safetensors").is_file() else "model.safetensors"
    return next((part for part in shards(found) if not (found / part).is_file()), None)


def shards(found: Path) -> list[str]:
    """The names of the files of a sharded model, from its index. Raises WeightsError for a damaged one."""
    index = found / INDEX
    parts = read_json(index, "the index of a sharded model").get("weight_map")
    if not isinstance(parts, dict) or not parts or not all(isinstance(part, str) for part in parts.values()):
        raise WeightsError(f"expected an index with a weight_map of file names, {index} has none")
    names = sorted(set(parts.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise WeightsError(f"expected names of safetensors files in {index}, got {described(name)}")
    return names


def weight_files(found: Path) -> list[Path]:
    """The safetensors files of a folder of transformers'. Raises WeightsError where one is missing."""
    if gap := missing_part(found):
        raise WeightsError(f"expected {gap} in {found}, found none")
    names = shards(found) if (found / INDEX).is_file() else ["model.safetensors"]
    return [found / name for name in names]


def has_tokenizer(found: Path) -> bool:
    """Whether a folder holds the vocabulary of a tokenizer."""
    return any(next(found.glob(pattern), None) for pattern in _TOKENIZERS)


def checksum(found: Path) -> str | None:
    """The SHA-256 by which the hub's cache names this file, or None where it has another name."""
    stored = found.resolve().name
    return stored if re.fullmatch(r"[0-9a-f]{64}", stored) else None
