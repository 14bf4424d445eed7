"""Where ovseg keeps what it downloads and computes: the environment variable OVSEG_HOME, or the user's cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from platformdirs import user_cache_path


def home() -> Path:
    """The folder; it need not exist yet."""
    chosen = os.environ.get("OVSEG_HOME")
    return Path(chosen).expanduser() if chosen else user_cache_path("ovseg", appauthor=False)


def sha256_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
