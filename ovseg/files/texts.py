"""Text files: UTF-8 or UTF-16 to ``str``, and one line for whatever else a file holds."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from ovseg.errors import UsageError

MAX_BYTES = 2**24
"""A larger file is not read: it is no list that somebody wrote."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


def read_text(path: Path, what: str) -> str:
    """The content of a text file that the user named.

    Args:
        path: a regular file in UTF-8, with or without a byte order mark, or in UTF-16 with one.
        what: what the file should hold, for messages: "a vocabulary".

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
    try:
        if not path.is_file():  # asked before opening: a pipe would wait for a writer for ever
            raise UsageError(f"expected {what} as a text file, {path} {_what_is(path)}")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"expected {what}, {path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UsageError(f"expected {what} of at most {MAX_BYTES >> 20} MB, {path} is larger")
    return _decode(content, path, what)


def _what_is(path: Path) -> str:
    if path.is_dir():
        return "is a folder"
    return "is a pipe, a socket or a device" if path.exists() else "does not exist"


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
