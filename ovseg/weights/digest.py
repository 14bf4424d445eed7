"""What a model's weights are: a record of where they came from, digests of files and of tensors in memory."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ovseg.errors import WeightsError
from ovseg.files.paths import sha256_of

if TYPE_CHECKING:
    from torch import nn

RANDOM = "random"
"""The word for untrained weights, wherever weights are named."""
_digests: dict[tuple[str, int, int], str] = {}
_lock = Lock()


@dataclass(frozen=True)
class WeightsRecord:
    """Which weights a model was built with.

    A checkpoint that is loaded over them later is not in the record: see ``state_digest``.

    Attributes:
        given: what was asked for: a tag, a file's path, "random", or "embedded".
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
        """SHA-256 of the file in hexadecimal, computed when first asked for; None for untrained weights.

        Raises:
            WeightsError: the file has gone or cannot be read.
        """
        return None if self.file is None else file_digest(self.file)

    def describe(self) -> dict[str, str | None]:
        """The record as JSON can hold it, with the file's SHA-256."""
        return {
            "given": self.given,
            "file": None if self.file is None else str(self.file),
            "sha256": self.sha256,
        }


def file_digest(file: Path) -> str:
    """SHA-256 of a file in hexadecimal, computed once for a path, size and time of modification.

    Args:
        file: any regular file.

    Returns:
        64 hexadecimal digits.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        stat = os.stat(file)
        key = (os.path.realpath(file), stat.st_size, stat.st_mtime_ns)
        with _lock:
            known = _digests.get(key)
        if known is None:
            known = sha256_of(Path(file))  # outside the lock: two threads may compute it, neither waits
            with _lock:
                _digests[key] = known
    except OSError as error:
        raise WeightsError(f"expected to read {file}: {error.strerror or error}") from None
    return known


def state_digest(module: nn.Module) -> str:
    """SHA-256 of the tensors that are in ``module`` now: names, types, shapes and values.

    Two modules have the same digest if and only if their ``state_dict()`` are equal. It says what predicted,
    also where a checkpoint was loaded over the first weights. It depends on the precision: a tower converted
    to bf16 has another digest than in fp32. It does not depend on the device.

    Args:
        module: any module on any device.

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
