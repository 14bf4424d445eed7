"""Where ovseg keeps what it downloads and computes: the folder OVSEG_HOME, or one in the user's cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from platformdirs import user_cache_path

from ovseg.errors import UsageError, described


def home() -> Path:
    """The folder in which ovseg keeps weights and text features. It need not exist yet.

    The environment variable OVSEG_HOME names it, read at every call; empty or only spaces counts as unset,
    and a leading ``~`` is the user's home. Without it, the folder is in the user's cache.

    Raises:
        UsageError: OVSEG_HOME begins with the home of a user who does not exist.

    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, OVSEG_HOME="/data/ovseg"):
    ...     home().as_posix()
    '/data/ovseg'
    """
    chosen = os.environ.get("OVSEG_HOME", "").strip()
    if not chosen:
        return user_cache_path("ovseg", appauthor=False)
    try:
        return Path(chosen).expanduser()
    except RuntimeError:  # "~nobody": no such user, or no home known
        raise UsageError(
            f"expected OVSEG_HOME as a folder, got {described(chosen)}: no such user's home"
        ) from None


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content as 64 hexadecimal digits. Raises OSError where it cannot be read."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
