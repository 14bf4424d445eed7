"""Check weight files before they are opened, identify weights by digests, and read JSON."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ovseg.errors import WeightsError
from ovseg.files.paths import file_problem, sha256_of, shown

if TYPE_CHECKING:
    from torch import nn

RANDOM = "random"
"""The value of ``weights`` for an untrained model."""
LARGEST_JSON = 64 << 20
"""Bytes; an index of a sharded model takes some hundred kilobytes."""
_TEXT = re.compile(r"[^\x00-\x08\x0e-\x1f]+")
_digests: dict[tuple[str, int, int], str] = {}
_lock = Lock()


def brief(error: BaseException, most: int = 160) -> str:
    """An error's message on one line, cut between words, or its type where it has none.

    >>> brief(ValueError("expected a number\\n  of at least 5"), most=20)
    'expected a number …'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    cut = textwrap.shorten(text, most, placeholder=" …")
    return cut if cut != "…" else text[: most - 1] + "…"  # a first word that is longer than all


def check_file(file: Path, what: str) -> None:
    """Raise WeightsError unless ``file`` is a readable regular file with content other than text.

    A FIFO or device is never opened, as that could block forever. Text is a pointer of Git LFS, or a web
    page that was saved in the file's place.
    """
    _check_kind(file, what)
    with file.open("rb") as stream:
        head = stream.read(512)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
    except UnicodeDecodeError:
        return
    if text.startswith("version https"):
        raise WeightsError(f"expected {what}, {shown(file)} is a pointer of Git LFS: run `git lfs pull`")
    if _TEXT.fullmatch(text):
        raise WeightsError(f"expected {what}, {shown(file)} is a text file: not loaded")


def _check_kind(file: Path, what: str) -> None:
    problem = file_problem(file)
    if not problem and file.stat().st_size == 0:
        problem = " is empty and cannot be read"
    if not problem and not os.access(file, os.R_OK):
        problem = " cannot be read: permission denied"
    if problem:
        raise WeightsError(f"expected {what}, {shown(file)}{problem}")


def read_json(file: Path, what: str) -> dict[str, object]:
    """The object of a JSON file. Raises WeightsError for a missing or damaged file or another value."""
    _check_kind(file, what)
    try:
        if file.stat().st_size > LARGEST_JSON:
            raise ValueError(f"larger than {LARGEST_JSON >> 20} MiB")
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"expected {what}, {shown(file)} is no JSON: {brief(error)}") from None
    if not isinstance(found, dict):
        raise WeightsError(
            f"expected {what}, {shown(file)} holds a JSON {type(found).__name__} and no object"
        )
    return found


# ------------------------------------------------------------------------------ what the weights are


@dataclass(frozen=True)
class WeightsRecord:
    """Which weights a model was built with.

    A checkpoint that is loaded over them later is not in the record: see ``state_digest``.

    Attributes:
        given: a tag, a file's path, "random", or "embedded".
        file: the file that the weights were read from; None for untrained weights.

    Example:
        >>> WeightsRecord("random").describe()
        {'given': 'random', 'file': None, 'sha256': None}
    """

    given: str
    file: Path | None = None

    @property
    def is_random(self) -> bool:
        """Whether the weights are untrained."""
        return self.file is None

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the file in hexadecimal, computed at first access; None for untrained weights.

        Raises:
            WeightsError: the file is missing or cannot be read.
        """
        return None if self.file is None else file_digest(self.file)

    def describe(self) -> dict[str, str | None]:
        """The record as JSON can hold it, with the file's SHA-256."""
        file = None if self.file is None else str(self.file)
        return {"given": self.given, "file": file, "sha256": self.sha256}


def file_digest(file: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits, computed once for a path, size and modification time.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        status = os.stat(file)
        key = (os.path.realpath(file), status.st_size, status.st_mtime_ns)
        with _lock:
            known = _digests.get(key)
        if known is None:
            known = sha256_of(file)  # outside the lock: two threads may compute it, neither waits
            with _lock:
                _digests[key] = known
    except OSError as error:
        raise WeightsError(f"expected to read {file}: {error.strerror or error}") from None
    return known


def file_state(files: Sequence[Path]) -> str:
    """Paths, sizes and modification times, which identify versions of files without reading them."""
    stats = [(file.resolve(), file.stat()) for file in files]
    return " ".join(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)


def state_digest(module: nn.Module) -> str:
    """SHA-256 of the tensors that are in ``module`` now: names, types, shapes and values.

    Two modules have the same digest if and only if their ``state_dict()`` are equal. Unlike the file's
    digest it covers a checkpoint loaded later. It depends on the precision, not on the device.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 2)
        >>> before = state_digest(layer)
        >>> with torch.no_grad():
        ...     _ = layer.bias.add_(1)
        >>> before == state_digest(layer)
        False
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        head = repr((name, str(values.dtype), tuple(values.shape)))  # unambiguous: quoted and with its commas
        digest.update(head.encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
