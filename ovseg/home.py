"""Where ovseg keeps what it downloads and computes: the environment variable OVSEG_HOME, or the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def home() -> Path:
    """The folder; it need not exist yet."""
    chosen = os.environ.get("OVSEG_HOME")
    return Path(chosen).expanduser() if chosen else user_cache_path("ovseg", appauthor=False)
