"""Results to files: each written whole or not at all, so nothing finished is lost and nothing is half there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from ovseg.errors import OvsegError, UsageError


def make_folder(folder: Path) -> Path:
    """``folder``, made if missing. Raises UsageError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"wanted a folder for results, {folder}: {error.strerror}") from None
    return folder


def write_picture(path: Path, picture: np.ndarray) -> None:
    """(H, W, 3) uint8 RGB as JPEG where ``path`` ends so, as PNG otherwise."""
    form, options = ("JPEG", {"quality": 90}) if path.suffix in (".jpg", ".jpeg") else ("PNG", {})
    _write(path, lambda file: Image.fromarray(picture).save(file, form, **options))


def write_labels(path: Path, labels: np.ndarray, colours: np.ndarray) -> None:
    """(H, W) class indices as PNG: 8 bit with a palette, 16 bit grey beyond 255 classes."""
    picture = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        picture.putpalette(np.pad(colours[:256], ((0, 256 - len(colours[:256])), (0, 0))).tobytes())
    _write(path, lambda file: picture.save(file, "PNG"))


def write_mask(path: Path, mask: np.ndarray) -> None:
    """(H, W) bool as 8 bit PNG: 255 on the object, 0 beside it."""
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    _write(path, lambda file: picture.save(file, "PNG"))


def write_arrays(path: Path, **arrays: Any) -> None:
    """Named arrays as compressed NPZ."""
    _write(path, lambda file: np.savez_compressed(file, **arrays))


def write_json(path: Path, content: Any) -> None:
    """UTF-8; bytes of a file name that are no UTF-8 are escaped and read back as Python has them."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    _write(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def _write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            fill(file)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):  # what could not be made need not go: a name that is too long
            partial.unlink()
        raise OvsegError(f"wanted to write {path}: {error.strerror}") from None
