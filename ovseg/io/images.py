"""Image files and arrays to (H, W, 3) uint8 RGB, or one clear line why not."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ovseg.errors import ImageError, UsageError

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray"
SUFFIXES = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"])
MAX_PIXELS = 178_956_970
"""Larger files are refused as decompression bombs: Pillow's own figure for an error."""


def load_image(source: ImageLike) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a file, a PIL image or an (H, W, 3) uint8 RGB array.

    EXIF orientation is honoured; 16-bit values keep their upper 8 bits; CMYK and palettes are
    converted; transparency is laid on white. Raises ImageError for a file that is missing, not an
    image, truncated or larger than ``MAX_PIXELS``; UsageError for another type or array shape.
    """
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8 or 0 in source.shape:
            raise UsageError(f"wanted an (H, W, 3) uint8 RGB array, got {source.shape} {source.dtype}")
        return source
    if isinstance(source, Image.Image):
        return _reading("the PIL image", lambda: _decode(source, "the PIL image"))
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError(f"wanted a path, a PIL image or an (H, W, 3) array, got {type(source).__name__}")
    path = Path(source)
    if os.path.isdir(path):  # unlike Path's own, no error where a whole sentence stands for a path
        raise ImageError(f"wanted an image file, {path} is a folder")
    if not os.path.isfile(path):
        raise ImageError(f"wanted an image file, {path} does not exist")

    def read() -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's bomb warning: MAX_PIXELS decides below
            with Image.open(path) as image:
                return _decode(image, str(path))

    return _reading(str(path), read)


def _reading(name: str, read: Callable[[], np.ndarray]) -> np.ndarray:
    """What ``read`` gives; whatever Pillow raises becomes an ImageError in one line."""
    try:
        return read()
    except UnidentifiedImageError:
        raise ImageError(f"wanted an image file, {name} is not one") from None
    except Image.DecompressionBombError:
        raise ImageError(f"wanted at most {MAX_PIXELS:,} pixels, {name} has more") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's decoders raise
        raise ImageError(f"wanted a whole image, {name} cannot be decoded: {error}") from None


def _decode(image: Image.Image, name: str) -> np.ndarray:
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        raise ImageError(f"wanted at most {MAX_PIXELS:,} pixels, {name} has {size}")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return np.ascontiguousarray(image.convert("RGB"))


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """16-bit greys by their upper byte; floats and 32-bit integers that are 0..1, 0..255 or 0..65535."""
    values = np.asarray(image).astype(np.float64)
    top = 65535 if image.mode.startswith("I") else float(values.max(initial=0.0))
    full = next((full for full in (1.0, 255.0, 65535.0) if top <= full), top)
    return Image.fromarray(np.clip(values / full * 255, 0, 255).astype(np.uint8))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) to ``size`` (height, width): bicubic as CLIP does; area averaging where it shrinks."""
    if image.shape[:2] == tuple(size):
        return image
    shrinks = image.shape[0] * image.shape[1] > size[0] * size[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, (size[1], size[0]), interpolation=how)


def find_images(paths: Sequence[str | Path]) -> tuple[list[Path], list[str]]:
    """The image files that ``paths`` name, folders searched one level deep in sorted order.

    Returns files and, for folders without any image, one line each. A file named directly is
    taken whatever its suffix; whether it can be read shows when it is read.
    """
    files: list[Path] = []
    empty: list[str] = []
    for path in map(Path, paths):
        if not os.path.isdir(path):
            files.append(path)
            continue
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        files += inside
        if not inside:
            empty.append(f"wanted images ({', '.join(sorted(SUFFIXES))}), {path} holds none")
    return list(dict.fromkeys(files)), empty


def output_stems(files: Iterable[Path]) -> dict[Path, str]:
    """A name for each file's results: its stem, with its folder or suffix in front where two would collide."""
    files = list(files)
    stems: dict[Path, str] = {}
    taken: set[str] = set()
    for file in files:
        choices = [file.stem, f"{file.parent.name}_{file.stem}", f"{file.parent.name}_{file.name}"]
        choices += [f"{file.stem}_{number}" for number in range(2, len(files) + 2)]
        stems[file] = next(choice for choice in choices if choice not in taken)
        taken.add(stems[file])
    return stems
