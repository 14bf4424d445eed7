"""Files that others wrote: looked at before they are opened, and JSON read with one kind of error."""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
from pathlib import Path

from ovseg.errors import WeightsError
from ovseg.files.paths import shown

_LFS = "version https"
_TEXT = re.compile(r"[^\x00-\x08\x0e-\x1f]+")
LARGEST_JSON = 64 << 20
"""Bytes; an index of a sharded model takes some hundred kilobytes."""


def check_file(file: Path, what: str) -> None:
    """Raise WeightsError unless ``file`` is a regular file with content that may be read.

    A FIFO or a device is told by its kind and never opened, as opening it could wait forever.
    """
    try:
        status = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"expected {what}, {shown(file)} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise WeightsError(f"expected {what}, {shown(file)} cannot be read: {_reason(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        raise WeightsError(f"expected {what}, {shown(file)} is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise WeightsError(f"expected {what}, {shown(file)} is a pipe, socket or device and no regular file")
    if status.st_size == 0:
        raise WeightsError(f"expected {what}, {shown(file)} is empty and cannot be read")
    if not os.access(file, os.R_OK):
        raise WeightsError(f"expected {what}, {shown(file)} cannot be read: permission denied")


def check_no_text(file: Path, what: str) -> None:
    """Raise WeightsError for a text file, such as the pointer that Git LFS leaves in a file's place."""
    with file.open("rb") as stream:
        head = stream.read(512)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
    except UnicodeDecodeError:
        return
    if not _TEXT.fullmatch(text):
        return
    if text.startswith(_LFS):
        raise WeightsError(f"expected {what}, {shown(file)} is a pointer of Git LFS: run `git lfs pull`")
    raise WeightsError(f"expected {what}, {shown(file)} is a text file: not loaded")


def read_json(file: Path, what: str) -> dict[str, object]:
    """The object of a JSON file. Raises WeightsError for a missing or damaged file or another value."""
    check_file(file, what)
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


def brief(error: BaseException) -> str:
    """The first 160 characters of an error's message on one line, or its type where it has none."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or brief(error)
