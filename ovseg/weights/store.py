"""Resolve a model's name to the source of its weights, which finds, pulls and verifies. Imports no torch.

A name is a model's name as in ``load_model`` and ``load_segmenter``; models of open_clip need a tag beside it.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from ovseg.errors import UsageError, described
from ovseg.files.paths import home
from ovseg.weights import known, network
from ovseg.weights.known import ASSETS, CLIP_FOLDER, CLIP_HUB, EMBEDDED, HUB, KNOWN, OFFICIAL
from ovseg.weights.sources import (
    Address,
    ClipRepository,
    Local,
    SegmenterRepository,
    Source,
    TextRepository,
)


def folder() -> Path:
    """The folder of weights that are not in the hub's cache."""
    return home() / "weights"


def source(name: str, tag: str | None = None) -> Source:
    """Where the weights of a name come from.

    Args:
        name: a model's name, e.g. "ViT-B-16", "vit_b", "hf:org/name", "hf-hub:org/name" or
            "local-dir:FOLDER". "small" and "tiny" are the embedded CLIPs; ``embedded`` has the
            embedded segmenters.
        tag: open_clip's tag; None for names that have one set of weights.

    Raises:
        UsageError: the name or the tag is unknown, or a tag is given where there is none.

    Example:
        >>> source("RN50", "openai").path().name
        'RN50.openai.pt'
    """
    if needs_tag(name):
        if tag is None:
            raise UsageError(f"expected a tag of open_clip's with {name}, got none")
        return _open_clip(name, tag)
    if tag is not None:
        raise UsageError(f"expected no tag for {name}, which has one set of weights, got {described(tag)}")
    if name in EMBEDDED:
        return embedded("clip", name)
    if name in OFFICIAL:
        row = OFFICIAL[name]
        url = str(row.address)
        return Address(name, folder() / url.rpartition("/")[2], url, row.sha256, row.megabytes)
    prefix, _, rest = name.partition(":")
    return _prefixed(name, f"{prefix}:", rest)


def needs_tag(name: str) -> bool:
    """Whether a name is one of open_clip's, which has several sets of weights."""
    return not (name in EMBEDDED or name in OFFICIAL or name.startswith((HUB, CLIP_HUB, CLIP_FOLDER)))


def embedded(family: str, name: str) -> Local:
    """The embedded model of a family, "clip" or "segmenter", by its name."""
    row = next(row for row in ASSETS if (row.family, row.name) == (family, name))
    place = Path(str(resources.files("ovseg.weights") / "assets" / str(row.file)))
    return Local(name, place, "reinstall ovseg", row.sha256)


def text_parts(repository: str, *, offline: bool) -> Path:
    """The folder with the config and the tokenizer of a text tower of the hub.

    Raises:
        UsageError: the repository cannot have this name.
        WeightsError: it is not in the cache and ``offline`` is True, or it cannot be fetched.
    """
    return TextRepository(network.check_repository(repository)).pull(offline=offline)


def pull(name: str, tag: str | None = None, *, offline: bool = False) -> Path:
    """The weights of a name, downloaded if they are missing.

    Raises:
        UsageError: the name or the tag is unknown.
        WeightsError: as ``Source.pull``.
    """
    return source(name, tag).pull(offline=offline)


def _open_clip(name: str, tag: str) -> Source:
    found = known.entry(name, tag)
    name, tag = known.clean(name, tag)
    title = f"{name} {tag}"
    url, identifier = str(found.get("url") or ""), str(found.get("hf_hub") or "")
    if url:
        file = folder() / f"{name}.{tag}{Path(url).suffix}"
        sizes = {(row.name, row.tag): row.megabytes for row in KNOWN}
        return Address(title, file, url, _checksum_in(url), sizes.get((name, tag)))
    if not identifier:
        raise UsageError(f"expected weights with an address, open_clip has none for {title}")
    repository, _, file_name = identifier.rpartition("/")
    return ClipRepository(title, repository, (file_name,) if file_name else network.CLIP_WEIGHTS)


def _checksum_in(url: str) -> str | None:
    """OpenAI's addresses hold the whole checksum, open_clip's own end with its first eight digits."""
    found = re.search(r"/([0-9a-f]{64})/", url) or re.search(r"-([0-9a-f]{8})\.pt$", url)
    return found.group(1) if found else None


def _prefixed(name: str, prefix: str, rest: str) -> Source:
    if prefix == CLIP_FOLDER and not rest:
        raise UsageError(f"expected a folder after {prefix}, got nothing")
    given = Path(rest).expanduser()
    if prefix == CLIP_FOLDER or (prefix == HUB and rest and _is_folder(given)):
        return Local(name, given, "name a folder with a model")
    try:
        network.check_repository(rest)
    except UsageError:
        raise UsageError(
            f"expected {prefix} and a repository of the hub or an existing folder, got {described(name)}"
        ) from None
    if prefix == HUB:
        return SegmenterRepository(name, rest)
    return ClipRepository(name, rest, with_config=True)


def _is_folder(given: Path) -> bool:
    try:
        return given.is_dir()
    except (OSError, ValueError):  # a name that no file system takes
        return False
