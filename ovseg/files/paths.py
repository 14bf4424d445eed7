"""Paths and text files: checks, how messages show them, and ovseg's own folder."""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from ovseg.errors import ImageError, UsageError, described

KINDS = {
    stat.S_IFDIR: " is a folder",
    stat.S_IFIFO: " is a FIFO",
    stat.S_IFSOCK: " is a socket",
    stat.S_IFCHR: " is a device",
    stat.S_IFBLK: " is a device",
}
MAX_BYTES = 2**24
"""A larger text file is rejected: nobody writes such a list by hand."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


def expand(path: str | os.PathLike[str]) -> Path:
    """Expand a leading ``~`` to the home folder, unless a file of exactly that name exists.

    Raises UsageError for what is not a path, and for an empty text, which would mean the current folder.
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
    """The text of a path. Raises UsageError if it is not a path or its ``__fspath__`` fails."""
    try:
        return os.fsdecode(os.fspath(path))
    except Exception:  # a class of someone else's
        raise UsageError(f"expected the path of {what}, got {described(path)}") from None


def shown(path: str | os.PathLike[str]) -> str:
    """A path for messages: on one line, truncated if long."""
    text = as_text(path)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 1000 else f"{text[:1000]}…"


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading. Raises ImageError if that fails."""
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
    if problem := file_problem(path):
        raise ImageError(f"expected {what}, {shown(path)}{problem}")
    return path


def file_problem(path: Path) -> str:
    """Why a path is not a readable file, as the end of a message; empty for a regular file."""
    try:
        return KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "")
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        return " does not exist"
    except OSError as error:  # a whole sentence may stand for a path
        return " does not exist" if error.errno == errno.ENAMETOOLONG else f": {error.strerror}"


def read_text(path: Path, what: str) -> str:
    """The content of a text file that the user named.

    Args:
        path: a regular file in UTF-8, with or without a byte order mark, or in UTF-16 with one.
        what: the expected content, for messages: "a vocabulary".

    Raises:
        UsageError: there is no such file, it is a folder, a pipe or a device, it cannot be read, it is larger
            than ``MAX_BYTES``, or it holds something other than text in these encodings.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "names.txt"
    >>> _ = file.write_bytes("caf\\u00e9".encode("latin-1"))
    >>> read_text(file, "a vocabulary")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: expected a vocabulary in UTF-8, ...names.txt has the byte 0xe9 in line 1: ...
    """
    if problem := file_problem(path):  # asked before opening: a pipe would wait for a writer for ever
        raise UsageError(f"expected {what} as a text file, {shown(path)}{problem}")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"expected {what}, {path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UsageError(f"expected {what} of at most {MAX_BYTES >> 20} MB, {path} is larger")
    return _decode(content, path, what)


def _decode(content: bytes, path: Path, what: str) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if wide or _CONTROL.search(content.decode("latin-1")):
            text = "\0"
        else:
            line = content[: error.start].count(b"\n") + 1
            raise UsageError(
                f"expected {what} in UTF-8, {path} has the byte 0x{content[error.start]:02x} in line {line}: "
                "save it as UTF-8"
            ) from None
    if _CONTROL.search(text):
        raise UsageError(f"expected {what} as text in UTF-8, {path} holds a picture or other bytes")
    return text


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
        from platformdirs import user_cache_path

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
