"""The picture that a request names: a data URI, or a file below one folder. Nothing else is ever opened."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, ImageError, described
from ovseg.io.images import load_image

LOCAL = "/data/local-files/"
"""The path under which Label Studio names files of its own disk, as ``?d=`` and a relative path."""


def read_picture(value: object, root: Path | None = None) -> NDArray[np.uint8]:
    """The picture that a task names.

    Args:
        value: a data URI with base64, or ``/data/local-files/?d=`` and a path relative to ``root``.
        root: the folder below which files may be read; None to read none.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: the value names no picture that may be read.
        ImageError: it cannot be read.

    >>> read_picture("http://elsewhere/a.png")
    Traceback (most recent call last):
    ...
    ovseg.errors.DataError: wanted a data URI or a local file of Label Studio, got 'http://elsewhere/a.png'
    """
    if isinstance(value, str) and value.startswith("data:"):
        head, _, body = value.partition(",")
        if not head.endswith(";base64"):
            raise DataError(f"wanted a data URI with base64, got {described(head)}")
        try:
            return load_image(io.BytesIO(base64.b64decode(body, validate=True)))
        except (binascii.Error, ValueError) as error:
            if isinstance(error, ImageError):
                raise
            raise DataError("wanted a data URI with base64, got other characters") from None
    if isinstance(value, str) and value.startswith(LOCAL):
        named = parse_qs(urlsplit(value).query).get("d", [""])[0]
        return load_image(below(root, unquote(named)))
    raise DataError(f"wanted a data URI or a local file of Label Studio, got {described(value)}")


def below(root: Path | None, name: str) -> Path:
    """The file ``name`` below ``root``, wherever links lead.

    Raises:
        DataError: there is no root, or the file is not a regular file below it.
    """
    if root is None:
        raise DataError("wanted a data URI, got a local file: the server was started without a folder")
    try:
        base = root.resolve()
        path = (base / name).resolve()
        inside = path.is_relative_to(base) and path.is_file()
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise DataError(f"wanted a file below the server's folder, got {described(name)}")
    return path
