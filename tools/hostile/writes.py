"""Which files this process writes, creates or removes outside a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
EVENTS = {
    "os.mkdir": 1,
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.link": 2,
    "os.truncate": 1,
}
"""Events of Python's audit hooks that change a folder, and how many of their arguments are paths."""
_folder: str | None = None
_outside: list[str] = []
_hooked = False


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """A list of the paths outside ``folder`` that are written to meanwhile, by any thread.

    Devices and Python's compiled modules are left out. What C code opens by itself is not seen.
    """
    global _folder, _hooked
    if not _hooked:  # a hook cannot be taken away
        sys.addaudithook(_hook)
        _hooked = True
    _outside.clear()
    _folder = str(folder)
    try:
        yield _outside
    finally:
        _folder = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _folder is None:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & WRITING:
            _note(path)
    elif event in EVENTS:
        for path in arguments[: EVENTS[event]]:
            _note(path)


def _note(path: object) -> None:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return
    text = os.path.abspath(os.fsdecode(path))
    if not text.startswith((f"{_folder}/", "/dev/", "/proc/")) and "__pycache__" not in text:
        _outside.append(text)
