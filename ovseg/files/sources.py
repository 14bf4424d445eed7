"""Paths and open files: which of them may hold a picture, and what to say of the others."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from ovseg.errors import ImageError, UsageError, described

KINDS = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a FIFO"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


def expand(path: str | os.PathLike[str]) -> Path:
    """A path whose leading ``~`` stands for the home folder, unless a file of that very name exists.

    Raises UsageError where it is no path, or an empty text, which would stand for the current folder.
    """
    text = as_text(path)
    if not text:
        raise UsageError("expected a path, got an empty text")
    plain = Path(text)
    if not text.startswith("~") or os.path.lexists(text):
        return plain
    try:
        return plain.expanduser()
    except RuntimeError:  # no such user
        return plain


def as_text(path: str | os.PathLike[str], what: str = "an image file") -> str:
    """The text of a path. Raises UsageError where it is no path, or its ``__fspath__`` fails."""
    try:
        return os.fsdecode(os.fspath(path))
    except Exception:  # a class of someone else's
        raise UsageError(f"expected the path of {what}, got {described(path)}") from None


def shown(path: str | os.PathLike[str]) -> str:
    """A path as messages show it: on one line, cut where it is long."""
    text = as_text(path)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 1000 else f"{text[:1000]}…"


def open_file(path: Path) -> BinaryIO:
    """Open a file to be read. Raises ImageError where that is not allowed."""
    try:
        return path.open("rb")
    except OSError as error:
        raise ImageError(f"expected a file that can be read, {shown(path)}: {error.strerror}") from None


def check_file(source: str | os.PathLike[str], what: str = "an image file") -> Path:
    """The path of a regular file, ``~`` expanded.

    Raises:
        UsageError: the path is empty, or an address on a network.
        ImageError: the path is no regular file, or cannot be looked at.

    >>> check_file("/dev/null")
    Traceback (most recent call last):
    ...
    ovseg.errors.ImageError: expected an image file, /dev/null is a device
    """
    text = as_text(source, what)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise UsageError(f"expected {what}, got the address {shown(text)}: download it first")
    if not text:
        raise UsageError(f"expected the path of {what}, got an empty text")
    path = expand(text)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise ImageError(f"expected {what}, {shown(path)} does not exist") from None
    except OSError as error:
        if error.errno in (36, 63):  # a whole sentence stands for a path: "File name too long"
            raise ImageError(f"expected {what}, {shown(path)} does not exist") from None
        raise ImageError(f"expected {what}, {shown(path)}: {error.strerror}") from None
    for is_kind, words in KINDS:
        if is_kind(mode):
            raise ImageError(f"expected {what}, {shown(path)} {words}")
    return path
