"""Pictures in every form, good, odd and damaged, and where they may come from."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from random import Random

import numpy as np
import tifffile
import torch
from PIL import Image

from hostile.place import Place
from hostile.values import anything

DTYPES = ("uint8", "uint8", "uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "uint64",
    "float16",
    "float32", "float64", ">f4", ">u2", "bool", "complex64", "U1", "O", "M8[s]", "longdouble")  # fmt: skip
SHAPES = ((20, 30, 3), (20, 30, 3), (20, 30), (3, 20, 30), (20, 30, 1), (20, 30, 4), (20, 30, 2), (20,
    30, 5), (1, 1, 3),
    (1, 300, 3), (300, 1, 3), (0, 5, 3), (5, 0, 3), (0,), (), (3,), (2, 20, 30, 3), (4, 20, 30), (3, 3, 3),
    (1, 20, 30), (2, 2), (1, 1))  # fmt: skip
MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B", "LA",
    "PA", "La", "RGBa",
    "RGBX")  # fmt: skip
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "TGA", "ICO", "JPEG2000", "PCX", "SGI")
SOURCES = ("", " ", "nowhere.png", "picture.png", "photo.jpg", "cut.png", "empty.jpg", "text.jpg",
    "folder.jpg", "pipe.jpg",
    "gone-link.png", "many", ".", "/", "/dev/null", "/proc/self/mem", "a\0b", "n" * 5000, "~/x.png",
    "~nobody/x.png",
    "http" + "://example.org/a.png", "s3://a/b.png", "file:///picture.png", "\udce9.png",
    "names.txt")  # fmt: skip


def array(rng: Random) -> np.ndarray:
    """An array of any layout, type and range of values."""
    shape, dtype = rng.choice(SHAPES), rng.choice(DTYPES)
    made = np.random.default_rng(rng.randrange(2**32)).random(shape)
    scale = rng.choice((1, 1, 2, 255, 256, 1000, 65535, 1e9, -1, 3e38))
    if dtype in ("U1", "O", "M8[s]"):
        return np.zeros(shape, dtype)
    with np.errstate(all="ignore"):
        made = (np.asarray(made) * scale).astype(dtype)
    if made.dtype.kind == "f" and made.size and rng.random() < 0.3:
        made = np.array(made)
        made.flat[:: rng.choice((1, 7))] = rng.choice((np.nan, np.inf, -np.inf, -9999))
    if made.ndim > 1 and rng.random() < 0.2:
        made = rng.choice(
            (made[::-1], made[:, ::2], np.asfortranarray(made), np.ma.array(made), made.swapaxes(0, 1))
        )
    return made


def tensor(rng: Random) -> object:
    made = array(rng)
    try:
        found = torch.from_numpy(np.ascontiguousarray(made))
    except (TypeError, ValueError):  # a type or byte order that torch does not have
        return made
    if rng.random() < 0.2 and found.is_floating_point():
        return found.requires_grad_()
    if found.is_floating_point() and found.ndim and rng.random() < 0.2:
        return rng.choice((found.to("meta"), found.to_sparse(), found[None], found.half(), found.bfloat16()))
    return found


def content(rng: Random) -> bytes:
    """The content of an image file, half of the time damaged."""
    made = _tiff(rng) if rng.random() < 0.3 else _pillow(rng)
    return damaged(rng, made) if rng.random() < 0.5 else made


def damaged(rng: Random, made: bytes) -> bytes:
    """Cut, empty, overwritten in a few places, repeated, or with numbers that are too large."""
    what = rng.randrange(7)
    if what == 0:
        return made[: rng.randrange(len(made) + 1)]
    if what == 1:
        return rng.choice(
            (b"", b"\0" * 100, b"<html>404</html>", b"\x89PNG\r\n\x1a\n", b"II*\0", b"\xff\xd8\xff")
        )
    if what == 2:
        return made + made[:50]
    if what == 3:
        at = rng.randrange(max(1, min(len(made), 60)))
        return made[:at] + struct.pack(">I", rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 70000))) + made[at + 4 :]
    changed = bytearray(made)
    for _ in range(rng.choice((1, 1, 5, 40))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def picture(place: Place, rng: Random) -> object:
    """Whatever a caller might give as one picture."""
    what = rng.randrange(8)
    if what == 0:
        return anything(rng)
    if what == 1:
        return rng.choice(SOURCES)
    if what == 2:
        return array(rng)
    if what == 3:
        return tensor(rng)
    if what == 4:
        return rng.choice((bytes, bytearray, memoryview, io.BytesIO))(content(rng))
    if what == 5:
        return _closed(Image.new(rng.choice(MODES), rng.choice(((4, 3), (1, 1), (30, 20)))), rng)
    if what == 6:
        return file(place, rng)
    return place.image


def file(place: Place, rng: Random) -> Path:
    path = place.folder / "given" / f"p{rng.choice(('.png', '.jpg', '.tif', '.webp', '', '.gif', '.txt'))}"
    path.write_bytes(content(rng))
    return path


def _closed(made: Image.Image, rng: Random) -> Image.Image:
    if rng.random() < 0.1:
        made.close()
    return made


def _pillow(rng: Random) -> bytes:
    out = io.BytesIO()
    size = rng.choice(((30, 20), (1, 1), (1, 90), (64, 64)))
    more = {}
    if rng.random() < 0.3:
        more["transparency"] = rng.choice((0, 7))
    if rng.random() < 0.3:
        exif = Image.Exif()
        exif[0x112] = rng.choice((1, 3, 6, 8, 9, 0))
        more["exif"] = exif
    if rng.random() < 0.1:
        more["icc_profile"] = b"no profile"
    try:
        Image.new(rng.choice(MODES), size).save(out, rng.choice(FORMATS), **more)
    except Exception:  # a mode that the format does not have
        out = io.BytesIO()
        Image.new("RGB", size).save(out, "PNG")
    return out.getvalue()


def _tiff(rng: Random) -> bytes:
    out = io.BytesIO()
    more = {
        "compression": rng.choice((None, None, "zlib", "lzma", "packbits")),
        "bigtiff": rng.random() < 0.2,
    }
    if rng.random() < 0.5:
        more["photometric"] = rng.choice(("rgb", "minisblack", "miniswhite", "separated"))
    if rng.random() < 0.3:
        more["extratags"] = [(42113, 2, 0, rng.choice(("0", "nan", "-9999", "x", "")), True)]
    if rng.random() < 0.3:
        more["tile"] = (16, 16)
    try:
        tifffile.imwrite(out, array(rng), **more)
    except Exception:  # an array or options that tifffile does not write
        out = io.BytesIO()
        tifffile.imwrite(out, np.zeros((20, 30, 3), np.float32), photometric="rgb")
    return out.getvalue()
