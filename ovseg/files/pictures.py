"""Pictures from files, bytes, arrays, tensors and PIL to (H, W, 3) uint8 RGB, or a one-line error.

``load_image`` keeps no state and changes none of the process (Pillow's limits, warning filters), so threads
may share it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg.errors import ImageError, OvsegError, UsageError, described, one_line
from ovseg.files.cache import is_frozen
from ovseg.files.formats import decode, picture_to_rgb, reading
from ovseg.files.paths import check_file, open_file, shown
from ovseg.files.values import check_pixels, pixel_limit, to_rgb

LAYOUTS = "(H, W), (H, W, 1), (H, W, 3), (H, W, 4) or (3, H, W)"


@runtime_checkable
class SupportsArray(Protocol):
    """Anything NumPy converts to an array: tensors of PyTorch (on any device), JAX and others."""

    def __array__(self) -> NDArray[np.generic]: ...


ImageLike: TypeAlias = (
    str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.generic] | SupportsArray
)
"""What ``load_image`` takes: a path, a file's content or an open file, a PIL image, an array or tensor."""


def load_image(source: ImageLike, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Load one picture as RGB.

    EXIF orientation is honoured: the result is upright. Transparent pixels and pixels without a value (NaN,
    infinite, nodata) are white, ``GROUND``. Palettes, CMYK and LAB are converted; of animations and of TIFFs
    with several pages the first is taken. Values beyond 8 bits follow the rule of ``ovseg.files.values.to_rgb``:
    16 bits keep their upper byte, floats may be in 0..1, -1..1, 0..255 or 0..65535.

    Args:
        source: a path; the bytes of an image file, or a file opened in binary mode; a PIL image of any mode;
            an array or tensor on any device, (H, W), (H, W, 1), (H, W, 3), (H, W, 4) or (3, H, W).
        max_pixels: the largest number of pixels; None for the environment variable OVSEG_MAX_PIXELS, or
            178,956,970. Reading takes about 8 to 11 bytes a pixel, of 32-bit floats 16.

    Returns:
        (H, W, 3) uint8 RGB, read-only; ``array.copy()`` can be drawn on. A contiguous (H, W, 3) uint8 array is not
        copied: what is returned is a view of it, and changes when it is changed.

    Raises:
        ImageError: a file is missing, no image, damaged, or too large, or its values' range cannot be told.
        UsageError: another type, an array of another layout or range, or an address on a network.

    >>> load_image(np.full((2, 4), 0.5)).shape
    (2, 4, 3)
    """
    picture = _read(source, pixel_limit(max_pixels))
    picture.flags.writeable = False
    return picture


def _read(source: ImageLike, limit: int) -> NDArray[np.uint8]:
    if isinstance(source, Image.Image):
        with reading("the PIL image"):
            return picture_to_rgb(source, "the PIL image", limit)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode(BytesIO(bytes(source)), "the data", limit)
    if isinstance(source, (str, os.PathLike)):
        path = check_file(source)
        with open_file(path) as stream:
            return decode(stream, shown(path), limit)
    if isinstance(source, SupportsArray):
        return array_to_rgb(source, limit)
    if hasattr(source, "read"):
        return decode(BytesIO(_content(source)), "the open file", limit)
    raise UsageError(
        f"expected a picture as a path, bytes, an open file, a PIL image or an array {LAYOUTS}, "
        f"got {type(source).__name__}"
    )


def _content(file: BinaryIO) -> bytes:
    with suppress(OSError, ValueError, AttributeError):  # a pipe is read from where it is
        file.seek(0)
    try:
        content = file.read()
    except Exception as error:
        raise UsageError(
            f"expected an open file to read a picture from, got an error: {one_line(error)}"
        ) from None
    if not isinstance(content, bytes):
        raise UsageError(f"expected a file opened in binary mode, got {type(content).__name__} from it")
    return content


def array_to_rgb(source: SupportsArray | NDArray[np.generic], limit: int) -> NDArray[np.uint8]:
    """Convert an array or tensor to (H, W, 3) uint8 RGB; an array that is so already is not copied.

    Args:
        source: (H, W) or (H, W, 1) grey, (H, W, 3) RGB, (H, W, 4) RGBA laid on white, or (3, H, W) RGB where
            the last axis is not 1, 3 or 4 long; values by the rule of ``ovseg.files.values.to_rgb``, all finite.
        limit: the largest number of pixels.

    Raises:
        UsageError: another shape, type or range, or values that are not finite.

    >>> array_to_rgb(np.array([[0.0, 1.0]]), 100).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    values = _as_array(source)
    said = f"got {values.shape} {values.dtype}"
    if values.dtype.kind not in "biuf":
        raise UsageError(f"expected an array of numbers {LAYOUTS}, {said}")
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or 0 in values.shape:
        raise UsageError(f"expected one picture as an array {LAYOUTS} with pixels, {said}")
    if values.shape[2] not in (1, 3, 4):
        if values.shape[0] != 3:
            raise UsageError(f"expected one picture as an array {LAYOUTS}, {said}")
        values = np.moveaxis(values, 0, -1)
    check_pixels(values.shape[0], values.shape[1], limit, "the array")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UsageError(f"expected finite values, {said} with NaN or infinity")
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    colours, alpha = (values[..., :3], values[..., 3]) if values.shape[2] == 4 else (values, None)
    try:
        picture = to_rgb(colours, alpha)
    except ImageError as error:
        raise UsageError(f"{error} ({said})") from None
    # What shares the caller's memory is a view of it, so that read-only it is only here.
    return picture.view() if np.may_share_memory(picture, values) and not is_frozen(picture) else picture


def _as_array(source: SupportsArray | NDArray[np.generic]) -> NDArray[np.generic]:
    """The values on the CPU. Tensors are recognised by their methods, since this module does not import torch."""
    if isinstance(source, np.ma.MaskedArray):
        raise UsageError("expected an array without a mask: fill it first, array.filled(255)")
    if isinstance(source, np.ndarray):
        return np.asarray(source)  # the array itself; of a subclass such as matrix, its plain view
    kind = type(source).__name__
    try:
        detach = getattr(source, "detach", None)
        if detach is None:
            return np.asarray(source)
        tensor = detach().cpu()
        return np.asarray(tensor.float().numpy() if "bfloat16" in str(tensor.dtype) else tensor.numpy())
    except Exception as error:  # a tensor without values (device "meta"), sparse, or quantised
        raise UsageError(
            f"expected a picture, got a {kind} that is no array: {one_line(error)[:200]}"
        ) from None


Result = TypeVar("Result")
OnError: TypeAlias = "Callable[[int, OvsegError], None]"
"""Called with the position of an unreadable image and its error."""


def check_several(images: object, on_error: object) -> None:
    """Raise UsageError unless ``images`` is an iterable of pictures and ``on_error`` is callable.

    >>> check_several("a.jpg", None)
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: expected several images, in a list or another iterable, got one: 'a.jpg'
    """
    one = ("__array__", "__array_interface__", "read")
    if isinstance(images, (str, bytes, bytearray, memoryview, Mapping)) or any(
        hasattr(images, name) for name in one
    ):
        raise UsageError(
            f"expected several images, in a list or another iterable, got one: {described(images)}"
        )
    if not isinstance(images, Iterable):
        raise UsageError(f"expected several images, in a list or another iterable, got {described(images)}")
    if on_error is not None and not callable(on_error):
        raise UsageError(f"expected on_error as a function or None, got {type(on_error).__name__}")


def each(
    images: Iterable[ImageLike], work: Callable[[ImageLike], Result], on_error: OnError | None
) -> Iterator[Result]:
    """``work`` on one image after the other, each when its result is asked for.

    Args:
        images: several pictures.
        work: a function of one of them.
        on_error: called where an image cannot be used, which is left out; None: the error is raised.

    Raises:
        UsageError: at once, for other ``images`` or ``on_error``.
    """
    check_several(images, on_error)
    return _each(images, work, on_error)


def _each(
    images: Iterable[ImageLike], work: Callable[[ImageLike], Result], on_error: OnError | None
) -> Iterator[Result]:
    for index, image in enumerate(images):
        try:
            yield work(image)  # and nothing here holds the result while the next one is made
        except OvsegError as error:
            if on_error is None:
                raise
            on_error(index, error)


GROUP = 8
"""Images that go through CLIP together where no batch size is given."""
GROUP_PIXELS = 24_000_000
"""Fewer go together once they have about this many pixels, to bound memory."""
Item = TypeVar("Item")


def grouped(images: Iterable[Item], pixels: Callable[[Item], int], count: int) -> Iterator[list[Item]]:
    """Images in lists that may be held together, each handed out as soon as it is full.

    Args:
        images: read as they are needed.
        pixels: how many pixels one of them has.
        count: images in a list, fewer where they have ``GROUP_PIXELS``.

    >>> list(grouped([3, 2, GROUP_PIXELS, 1], int, 2))
    [[3, 2], [24000000], [1]]
    """
    group: list[Item] = []
    total = 0
    for image in images:
        group.append(image)
        total += pixels(image)
        if len(group) >= count or total >= GROUP_PIXELS:
            yield group
            group, total = [], 0
    if group:
        yield group


class Pictures:
    """Images as (H, W, 3) uint8 RGB arrays, read lazily.

    Attributes:
        error: what ended the iteration, kept so that the results of the images before can be handed out
            first. With ``on_error`` an image that cannot be read is told to it and left out.
    """

    def __init__(self, images: Iterable[ImageLike], on_error: OnError | None = None) -> None:
        self._pictures = each(images, load_image, on_error)
        self.error: OvsegError | None = None

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        try:
            yield from self._pictures
        except OvsegError as error:
            self.error = error
