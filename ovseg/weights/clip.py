"""Weight files: which are known, where they lie, how they come and whether they are whole.

Addresses and checksums are open_clip's own: OpenAI's addresses carry the file's sha256, files on
the Hugging Face hub are stored under theirs. Downloads go on where they stopped; a file whose
checksum is wrong is set aside as ``.bad``, never deleted.
"""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import open_clip
from filelock import FileLock

from ovseg.errors import UsageError, WeightsError
from ovseg.paths import home
from ovseg.paths import sha256_of as sha256_of

_CHUNK = 1 << 20
Progress = Callable[[int, int], None]  # bytes here, bytes in all (0 where unknown)


@dataclass(frozen=True)
class Weights:
    """One known set of weights: open_clip's ``model`` and ``tag``, licence, size in megabytes."""

    model: str
    tag: str
    licence: str
    megabytes: int
    note: str = ""


KNOWN: tuple[Weights, ...] = (
    Weights("RN50", "openai", "MIT", 244, "paper"),
    Weights("RN101", "openai", "MIT", 278, "paper"),
    Weights("ViT-B-32", "openai", "MIT", 338, "paper"),
    Weights("ViT-B-16", "openai", "MIT", 335, "paper, the field's default"),
    Weights("ViT-L-14", "openai", "MIT", 890, "paper"),
    Weights("ViT-L-14-336", "openai", "MIT", 891),
    Weights("ViT-B-32", "laion2b_s34b_b79k", "MIT", 605),
    Weights("ViT-B-16", "laion2b_s34b_b88k", "MIT", 599),
    Weights("ViT-L-14", "laion2b_s32b_b82k", "MIT", 1711),
    Weights("ViT-B-16", "datacomp_xl_s13b_b90k", "MIT", 599),
    Weights("ViT-L-14", "datacomp_xl_s13b_b90k", "MIT", 1711),
)


def config(model: str, tag: str) -> dict[str, object]:
    """open_clip's entry for these weights. Raises UsageError where it has none."""
    found = open_clip.get_pretrained_cfg(model, tag)
    if not found:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise UsageError(f"unknown weights {tag!r} for {model}: wanted a file or one of {tags}")
    return dict(found)


def published_sha256(model: str, tag: str) -> str | None:
    """The sha256 in the weights' own address, or None where none is published there."""
    match = re.search(r"/([0-9a-f]{64})/", str(config(model, tag).get("url", "")))
    return match.group(1) if match else None


def folder() -> Path:
    return home() / "weights"


def path(model: str, tag: str) -> Path:
    """Where the weights lie, or would: a file for an address, a link the hub's cache keeps otherwise."""
    entry = config(model, tag)
    if entry.get("url"):
        return folder() / f"{model}.{tag}{Path(str(entry['url'])).suffix}"
    return folder() / "hub" / str(entry.get("hf_hub", "")).strip("/").replace("/", "--")


def find(model: str, tag: str) -> Path | None:
    """The file if it is on disk already, without touching the network."""
    entry = config(model, tag)
    if entry.get("url"):
        file = path(model, tag)
        return file if file.is_file() else None
    return _from_hub(str(entry["hf_hub"]), local_only=True)


def pull(model: str, tag: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """The weights' file, downloaded if it is not there.

    Raises WeightsError where it is missing offline, cannot be fetched, or has the wrong checksum;
    UsageError for an unknown model or tag.
    """
    found = find(model, tag)
    if found:
        return found
    if offline:
        raise WeightsError(
            f"wanted {model}/{tag} in {folder()}, found none: run `ovseg models pull {model} {tag}`"
        )
    entry = config(model, tag)
    if not entry.get("url"):
        fetched = _from_hub(str(entry["hf_hub"]), local_only=False)
        assert fetched is not None  # it raises otherwise
        return fetched
    target = path(model, tag)
    _make_folder(target.parent)
    with FileLock(f"{target}.lock"):
        if not target.is_file():
            download(str(entry["url"]), target, published_sha256(model, tag), progress)
    return target


def download(url: str, target: Path, sha256: str | None, progress: Progress | None = None) -> None:
    """``url`` to ``target``, going on from ``target.partial`` if a download was cut off.

    Raises WeightsError for network errors, a full disk, or a wrong checksum.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        _fetch(url, partial, progress)
    except urllib.error.HTTPError as error:
        raise WeightsError(f"wanted {target.name}, the server answered {error.code} {error.reason}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise WeightsError(
            f"wanted {target.name}, no connection ({reason}); what came so far is kept"
        ) from None
    except OSError as error:
        raise WeightsError(f"wanted to write {partial}: {error.strerror or error}") from None
    if sha256:
        got = sha256_of(partial)
        if got != sha256:
            bad = target.with_name(target.name + ".bad")
            os.replace(partial, bad)
            raise WeightsError(f"wanted sha256 {sha256} for {target.name}, got {got}: kept as {bad.name}")
    os.replace(partial, target)


def _fetch(url: str, partial: Path, progress: Progress | None) -> None:
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing beyond what is here: it was whole already
            return
        raise
    with answer:
        resumed = answer.status == 206
        total = int(answer.headers.get("Content-Length") or 0) + (have if resumed else 0)
        done = have if resumed else 0
        with partial.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress:
                    progress(done, total)
        if total and done < total:
            raise ConnectionError(f"{done} of {total} bytes came")


def verify(model: str, tag: str) -> str:
    """One line on whether the file on disk is whole. Raises WeightsError if missing or not."""
    file = find(model, tag)
    if file is None:
        raise WeightsError(f"wanted {model}/{tag} in {folder()}, found none")
    # The hub's cache names a file after its sha256.
    wanted = published_sha256(model, tag) or (file.resolve().name if len(file.resolve().name) == 64 else None)
    got = sha256_of(file)
    if wanted is None:
        return f"{file}: no checksum is published, sha256 is {got}"
    if got != wanted:
        raise WeightsError(f"wanted sha256 {wanted} for {file}, got {got}; the file was left as it is")
    return f"{file}: sha256 {got}, as published"


def _make_folder(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(f"wanted to write {target}: {error.strerror}; set OVSEG_HOME elsewhere") from None


def _from_hub(identifier: str, local_only: bool) -> Path | None:
    from huggingface_hub import hf_hub_download

    repository, file = os.path.split(identifier)
    choices = [file] if file else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    problem: Exception | None = None
    for choice in choices:
        try:
            cache = folder() / "hub"
            return Path(hf_hub_download(repository, choice, cache_dir=cache, local_files_only=local_only))
        except Exception as error:  # the hub's own, and those of the HTTP client of the day, cut off midway
            problem = error
    if local_only:
        return None
    reason = " ".join(str(problem).split())[:120]
    raise WeightsError(f"wanted {repository} from the Hugging Face hub, not to be had ({reason})")
