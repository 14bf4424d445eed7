"""The one store of weights: find, pull, verify and path for every family, by name. Imports no torch.

A name is a model's name as in ``load_model`` and ``load_segmenter``; models of open_clip need a tag beside
it. ``find`` and ``path`` never touch the network, ``pull`` only where something is missing and ``offline`` is
False.
"""

from __future__ import annotations

from pathlib import Path

from ovseg.errors import UsageError, WeightsError, described
from ovseg.weights import hub
from ovseg.weights.download import Progress
from ovseg.weights.known import (
    ASSETS,
    CLIP_FOLDER,
    CLIP_HUB,
    EMBEDDED,
    HUB,
    OFFICIAL,
    TINY,
)
from ovseg.weights.sources import (
    Asset,
    ByHand,
    Folder,
    HubClip,
    HubFolder,
    Source,
    compare,
    folder,
    open_clip_source,
)

__all__ = ["Progress", "embedded", "find", "folder", "path", "pull", "source", "text_parts", "verify"]


def source(name: str, tag: str | None = None) -> Source:
    """Where the weights of a name come from.

    Args:
        name: a model's name, e.g. "ViT-B-16", "vit_b", "hf:org/name", "hf-hub:org/name" or
            "local-dir:FOLDER". "small" and "tiny" are the embedded CLIPs; the embedded SAM is
            ``embedded("segmenter")``.
        tag: open_clip's tag; None for names that have one set of weights.

    Raises:
        UsageError: the name or the tag is unknown, or a tag is given where there is none.
    """
    special = _special(name)
    if special is None:
        if tag is None:
            raise UsageError(f"expected a tag of open_clip's with {name}, got none")
        return open_clip_source(name, tag)
    if tag is not None:
        raise UsageError(f"expected no tag for {name}, which has one set of weights, got {described(tag)}")
    return special


def needs_tag(name: str) -> bool:
    """Whether a name is one of open_clip's, which has several sets of weights."""
    return _special(name) is None


def _special(name: str) -> Source | None:
    if name in EMBEDDED:
        return embedded("clip", name)
    if name in OFFICIAL:
        return ByHand(OFFICIAL[name])
    for prefix in (HUB, CLIP_HUB, CLIP_FOLDER):
        if name.startswith(prefix):
            return _prefixed(name, prefix, name.removeprefix(prefix))
    return None


def _prefixed(name: str, prefix: str, rest: str) -> Source:
    given = Path(rest).expanduser()
    if prefix == CLIP_FOLDER or (prefix == HUB and rest and _is_folder(given)):
        if not rest:
            raise UsageError(f"expected a folder after {prefix}, got nothing")
        return Folder(name, given)
    try:
        repository = hub.check_repository(rest)
    except UsageError:
        raise UsageError(
            f"expected {prefix} and a repository of the hub or an existing folder, got {described(name)}"
        ) from None
    return HubFolder(name, repository) if prefix == HUB else HubClip(name, repository)


def _is_folder(given: Path) -> bool:
    try:
        return given.is_dir()
    except (OSError, ValueError):  # a name that no file system takes
        return False


def embedded(family: str, name: str = TINY) -> Source:
    """The embedded model of a family, "clip" or "segmenter", by its name."""
    return Asset(next(row for row in ASSETS if (row.family, row.name) == (family, name)))


def text_parts(repository: str, *, offline: bool) -> Path:
    """The folder with the config and the tokenizer of a text tower of the hub.

    Raises:
        WeightsError: it is not in the cache and ``offline`` is True, or it cannot be had.
    """
    return pull_from(HubFolder(repository, hub.check_repository(repository), text=True), offline=offline)


def path(name: str, tag: str | None = None) -> Path:
    """Where the weights lie, or would: a file, a folder, or the hub's cache of a repository.

    Raises:
        UsageError: the name or the tag is unknown.

    Example:
        >>> path("RN50", "openai").name
        'RN50.openai.pt'
    """
    return source(name, tag).path()


def find(name: str, tag: str | None = None) -> Path | None:
    """The weights if they are on disk, without the network; None where they are not.

    Raises:
        UsageError: the name or the tag is unknown.
    """
    return source(name, tag).find()


def pull(
    name: str, tag: str | None = None, *, offline: bool = False, progress: Progress | None = None
) -> Path:
    """The weights, downloaded where they are missing and have an address.

    Args:
        name: as in ``source``.
        tag: as in ``source``.
        offline: never touch the network.
        progress: called with the bytes that are here and the bytes in all while a file of an address comes.

    Returns:
        The file, or the folder of a repository.

    Raises:
        UsageError: the name or the tag is unknown.
        WeightsError: they are missing and ``offline`` is True, cannot be had, or have the wrong checksum.
    """
    return pull_from(source(name, tag), offline=offline, progress=progress)


def pull_from(origin: Source, *, offline: bool, progress: Progress | None = None) -> Path:
    """``pull`` of a source that is known already."""
    found = origin.find()
    if found is None:
        if offline and not isinstance(origin, (ByHand, Asset, Folder)):
            raise WeightsError(f"expected {origin.name} in {folder()}, found none: {origin.how()}")
        return origin.fetch(progress)
    if isinstance(origin, ByHand):
        compare(found, origin.row.sha256)
    return found


def verify(name: str, tag: str | None = None) -> str:
    """One line for each file on whether it is as published.

    Raises:
        UsageError: the name or the tag is unknown.
        WeightsError: nothing is on disk, or a file differs from its checksum.
    """
    return verify_from(source(name, tag))


def verify_from(origin: Source) -> str:
    """``verify`` of a source that is known already."""
    found = origin.find()
    if found is None:
        raise WeightsError(f"expected {origin.name} in {folder()}, found none: {origin.how()}")
    lines = [compare(file, wanted) for file, wanted in origin.checksums(found)]
    if not lines:
        raise WeightsError(f"expected files with weights in {found}, found none")
    return "\n".join(lines)
