"""Write results to files atomically: a file is complete or absent.

Several processes may write to one folder, even to one file: the last one wins. Pictures carry a mark by which
a search for images recognises them as results.
"""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, PngImagePlugin

from ovseg.errors import OvsegError, UsageError, short_repr
from ovseg.files.paths import shown

MARK = b"ovseg:result"
"""A mark within the first 1,024 bytes of every picture written here."""
RESULT_ENDINGS = frozenset(["labels", "overlay", "explain", "compare", "tokens", "masks", "similarity"])
"""NAME.ENDING.png is a result of NAME, also where a file lost its mark."""
LONGEST_NAME = 255
LONGEST_JPEG_SIDE = 65_535
JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")


def make_folder(folder: Path) -> Path:
    """Make a folder and its parents if they are missing.

    Returns:
        The folder.

    Raises:
        UsageError: it cannot be made: a file is in its place, the disk is full or read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise UsageError(f"expected a folder for results, {_no_folder(folder)}") from None
        raise UsageError(f"expected a folder for results, {folder}: {_reason(error, folder)}") from None
    return folder


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold a file lock between processes of ovseg; it is also released when this one is killed.

    Args:
        path: the lock file, which is created and kept.
        wait: wait for the process that holds it; otherwise raise.

    Raises:
        UsageError: ``wait`` is False, and another process holds it.
        OvsegError: the file cannot be written.
    """
    from filelock import FileLock, Timeout  # takes 60 ms, which most commands need not

    lock = FileLock(path, timeout=-1 if wait else 0, thread_local=False)  # any thread may let it go
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"expected {shown(path.parent)} for this run alone, another run writes there"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):  # file systems without locks
            raise OvsegError(f"expected to write {shown(path)}: {_reason(error, path)}") from None
    try:
        yield
    finally:
        lock.release()


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture as JPEG if the path has such an ending, otherwise as PNG.

    Args:
        path: the file; one that exists is replaced.
        picture: (H, W, 3) RGB or (H, W) grey, uint8.

    Raises:
        UsageError: another shape or type.
        OvsegError: the file cannot be written, or JPEG cannot hold so large a picture.
    """
    if picture.dtype != np.uint8 or 0 in picture.shape or picture.shape[2:] not in ((), (3,)):
        raise UsageError(f"expected a picture (H, W, 3) or (H, W) uint8, got {picture.shape} {picture.dtype}")
    image = Image.fromarray(picture)
    if path.suffix.lower() not in JPEG:
        _write_png(path, image)
        return
    if max(image.size) > LONGEST_JPEG_SIDE:
        raise OvsegError(
            f"expected a JPEG of at most {LONGEST_JPEG_SIDE} pixels a side, got {image.size}: take PNG"
        )
    write_file(path, lambda file: image.save(file, "JPEG", quality=90, comment=MARK))


def write_labels(
    path: Path, labels: NDArray[np.uint8] | NDArray[np.uint16], colours: NDArray[np.uint8]
) -> None:
    """Write class indices as PNG: 8 bits with a palette, 16 bits grey.

    Args:
        path: the file; one that exists is replaced.
        labels: (H, W) uint8 or uint16.
        colours: (K, 3) uint8 RGB, the colour of each class; those beyond 256 are not needed.

    Raises:
        UsageError: labels of another shape or type.
        OvsegError: the file cannot be written.
    """
    if labels.dtype not in (np.uint8, np.uint16) or labels.ndim != 2 or 0 in labels.shape:
        raise UsageError(f"expected labels (H, W) of uint8 or uint16, got {labels.shape} {labels.dtype}")
    image = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        image.putpalette(np.pad(colours[:256], ((0, 256 - len(colours[:256])), (0, 0))).tobytes())
    _write_png(path, image)


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """Write a mask (H, W) bool as 8-bit PNG, 255 on the object and 0 elsewhere.

    Raises:
        UsageError: a mask of another shape or type.
        OvsegError: the file cannot be written.
    """
    if mask.dtype != np.bool_ or mask.ndim != 2 or 0 in mask.shape:
        raise UsageError(f"expected a mask (H, W) of bool, got {mask.shape} {mask.dtype}")
    _write_png(path, Image.fromarray(mask.astype(np.uint8) * 255))


def write_arrays(path: Path, **arrays: ArrayLike) -> None:
    """Write named arrays as compressed NPZ. Raises OvsegError where the file cannot be written."""
    save: Callable[..., None] = np.savez_compressed  # whose stubs take every name for the one option it has
    write_file(path, lambda file: save(file, **arrays))


def write_json(path: Path, content: object) -> None:
    """Write what JSON can hold as indented UTF-8.

    NaN and infinity, which JSON does not have, become null. Bytes of a file name that are no UTF-8 are
    escaped and read back as Python has them.

    Raises:
        UsageError: the content holds something that JSON does not have.
        OvsegError: the file cannot be written.
    """
    try:
        text = json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected content that JSON can hold: {error}") from None
    write_file(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically: to a hidden file in the same folder, which is then renamed.

    Args:
        path: the file; one that exists is replaced, anything else than a file is refused.
        fill: writes the content to an open file.

    Raises:
        UsageError: the path has no file name.
        OvsegError: the file cannot be written; what was there before is unchanged.
    """
    if not path.name:  # the current folder or the root
        raise UsageError(f"expected the path of a file to write, got {short_repr(str(path))}")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise OvsegError(f"expected a file name of at most {LONGEST_NAME} bytes, got {short_repr(path.name)}")
    partial = path.with_name(f".ovseg-{os.getpid()}-{secrets.token_hex(6)}")
    try:
        _check_target(path)
        with _create(partial) as file:
            fill(file)
        os.replace(partial, path)
    except (OSError, ValueError) as error:
        raise OvsegError(f"expected to write {path}: {_reason(error, path)}") from None
    finally:
        with suppress(OSError, ValueError):  # it was renamed, or its folder is missing
            partial.unlink()


def _create(partial: Path) -> BinaryIO:
    return partial.open("xb")


def _check_target(path: Path) -> None:
    """A rename would put a file in the place of a device such as /dev/null."""
    with suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise ValueError(
                "it exists and is a folder" if stat.S_ISDIR(mode) else "it exists and is no file"
            )


def _write_png(path: Path, image: Image.Image) -> None:
    note = PngImagePlugin.PngInfo()
    note.add_text("Software", MARK.decode())
    write_file(path, lambda file: image.save(file, "PNG", pnginfo=note))


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return _no_folder(path)
    return (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())


def _no_folder(path: Path) -> str:
    """A message that names the part of a path that is not a folder."""
    wrong = next(
        (part for part in [path, *path.parents] if os.path.lexists(part) and not part.is_dir()), path
    )
    return f"{wrong} is no folder"


def _finite(content: object) -> object:
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content
