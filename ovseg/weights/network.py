"""What comes over the network: a file from an address, a repository of the Hugging Face hub.

A file is resumed where it stopped, compared with its checksum, and whole or not there at all. Repositories lie
in ovseg's own cache and are looked up there without the network. huggingface_hub resumes downloads itself and
names a large file in its cache after its SHA-256.
"""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from ovseg.errors import UsageError, WeightsError, described
from ovseg.files.paths import home, sha256_of
from ovseg.weights.files import brief, read_json

CHUNK = 1 << 20
TIMEOUT = 30
"""Seconds without a byte until a connection counts as broken."""
Progress = Callable[[int, int], None]
"""Called with the bytes on disk and the total, 0 where that is unknown."""
_NETWORK = (http.client.HTTPException, OSError, ValueError)  # urllib's own are among the OSErrors
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


class Unreachable(WeightsError):
    """A file could not be fetched. The message is the reason only, to be part of another message."""


def download(url: str, target: Path, sha256: str | None, progress: Progress | None = None) -> None:
    """Fetch ``url`` to ``target``; resumes an interrupted download from ``target.partial``.

    Processes that want the same file wait for each other. A file with the wrong checksum is kept as
    ``target.bad``; the next call starts over.

    Args:
        url: the address.
        target: the file to write; its folder is created.
        sha256: the checksum or its first digits; None where none is published.
        progress: called after each chunk.

    Raises:
        Unreachable: the network or the server failed.
        WeightsError: the disk failed or the checksum differs.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_file():
                _fetch(url, partial, progress)
                _check(partial, target, sha256)
                os.replace(partial, target)
    except OSError as error:  # the network's have become Unreachable
        reason = error.strerror or error
        raise WeightsError(
            f"expected to write {partial}: {reason}; OVSEG_HOME names another folder"
        ) from None


def _check(partial: Path, target: Path, sha256: str | None) -> None:
    got = sha256_of(partial) if sha256 else ""
    if sha256 and not got.startswith(sha256):
        bad = target.with_name(target.name + ".bad")
        os.replace(partial, bad)
        raise WeightsError(
            f"expected sha256 {sha256} for {target.name}, got {got}: kept as {bad.name}, "
            "the next pull starts over"
        )


def _fetch(url: str, partial: Path, progress: Progress | None) -> None:
    answer, done = _open(url, partial.stat().st_size if partial.is_file() else 0)
    if answer is None:  # the file is complete: the checksum decides
        return
    with answer, partial.open("ab" if done else "wb") as file:
        size = str(answer.headers.get("Content-Length", ""))
        total = done + int(size) if size.isdigit() else 0
        for chunk in _chunks(answer, done):
            file.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, total if total >= done else 0)
    if done < total:
        raise _unreachable(ConnectionError(f"{done} of {total} bytes came"), done)


def _open(url: str, have: int) -> tuple[http.client.HTTPResponse | None, int]:
    """The server's response, and how many leading bytes it skips: ``have`` or 0.

    The response is None where the server says that the file has ``have`` bytes.
    """
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:
            raise Unreachable(f"the server answered {error.code} {error.reason}") from None
        size = str(error.headers.get("Content-Range", "")).rpartition("/")[2]
        longer = size.isdigit() and int(size) != have  # what is here is not the file's beginning
        return _open(url, 0) if longer else (None, have)
    except _NETWORK as error:
        raise _unreachable(error, have) from None
    if not have or answer.status != 206:
        return answer, 0
    start = str(answer.headers.get("Content-Range", f"bytes {have}-")).removeprefix("bytes ")
    if start.partition("-")[0].strip() == str(have):
        return answer, have
    answer.close()  # not the requested part
    return _open(url, 0)


def _chunks(answer: http.client.HTTPResponse, done: int) -> Iterator[bytes]:
    """Yield the response's bytes. Raises Unreachable when the connection breaks, after what had come."""
    while True:
        try:
            chunk = answer.read(CHUNK)
        except http.client.IncompleteRead as error:
            yield error.partial
            raise _unreachable(error, done + len(error.partial)) from None
        except _NETWORK as error:
            raise _unreachable(error, done) from None
        if not chunk:
            return
        done += len(chunk)
        yield chunk


def _unreachable(error: BaseException, have: int) -> Unreachable:
    inner = getattr(error, "reason", None)  # URLError keeps what happened there
    reason = brief(inner if isinstance(inner, Exception) else error)
    kept = f"; the {have} bytes that came are kept, and the next pull goes on from there" if have else ""
    return Unreachable(f"no connection ({reason}){kept}")


# ----------------------------------------------------------------------------- the Hugging Face hub


def check_repository(name: str) -> str:
    """``name`` if it is a valid name of a repository. Raises UsageError."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith(".") or ".." in name:
        raise UsageError(f"expected a repository of the hub or an existing folder, got {described(name)}")
    return name


def cache() -> Path:
    """The folder that huggingface_hub keeps its files in for ovseg."""
    return home() / "weights" / "hub"


def cached(repository: str) -> Path:
    """The folder of a repository in the cache, which may not exist."""
    return cache() / f"models--{repository.replace('/', '--')}"


def snapshot(repository: str) -> Path | None:
    """The folder of the version fetched last, or None.

    huggingface_hub does not read it: even for local files only, it first fetches a list of agents from the
    network.
    """
    root = cached(repository)
    try:
        commit = (root / "refs" / "main").read_text(encoding="utf-8").strip()
        found = root / "snapshots" / commit
        return found if re.fullmatch(r"\w+", commit) and found.is_dir() else None
    except (OSError, ValueError):  # missing or damaged: it is fetched again
        return None


def find_file(repository: str, choices: Sequence[str]) -> Path | None:
    """The first of ``choices`` that the cache holds of a repository, or None."""
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
    """The name of a missing file of a transformers folder, config or safetensors; None if it is complete.

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
