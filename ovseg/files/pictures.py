"""Pictures from files, bytes, arrays, tensors and PIL to (H, W, 3) uint8 RGB, or one clear line why not.

``load_image`` keeps no state and changes none of the process (Pillow's limits, warning filters), so threads
may share it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg.errors import ImageError, OvsegError, UsageError, one_line
from ovseg.files.formats import decode, picture_to_rgb, reading
from ovseg.files.paths import check_file, open_file, shown
from ovseg.files.values import check_pixels, pixel_limit, to_rgb

LAYOUTS = "(H, W), (H, W, 1), (H, W, 3), (H, W, 4) or (3, H, W)"


@runtime_checkable
class SupportsArray(Protocol):
    """What NumPy can turn into an array: tensors of PyTorch (on any device), JAX and others."""

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
            an array or tensor on any device, (H, W), (H, W, 1), (H, W, 3), (H, W, 4) or (3, H, W). A
            contiguous (H, W, 3) uint8 array is returned as it is, not copied.
        max_pixels: the largest number of pixels; None for the environment variable OVSEG_MAX_PIXELS, or
            178,956,970. Reading takes about 8 to 11 bytes a pixel, of 32-bit floats 16.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: a file is missing, no image, damaged, or too large, or its values' range cannot be told.
        UsageError: another type, an array of another layout or range, or an address on a network.

    >>> load_image(np.full((2, 4), 0.5)).shape
    (2, 4, 3)
    """
    limit = pixel_limit(max_pixels)
    if isinstance(source, np.ndarray):
        return array_to_rgb(source, limit)
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
    """One picture as an array or tensor to (H, W, 3) uint8 RGB; such an array is returned as it is.

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
        return to_rgb(colours, alpha)
    except ImageError as error:
        raise UsageError(f"{error} ({said})") from None


def _as_array(source: SupportsArray | NDArray[np.generic]) -> NDArray[np.generic]:
    """The values on the CPU. Tensors are known by their methods: this module does not import torch."""
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
"""Called with the position of an image that cannot be read and with what is wrong with it."""


def is_one(image: object) -> bool:
    """Whether an argument is one picture, and not an iterable of pictures.

    >>> is_one("a.jpg"), is_one(np.zeros((2, 2, 3), np.uint8)), is_one(["a.jpg"])
    (True, True, False)
    """
    if isinstance(image, (str, bytes, bytearray, memoryview, Mapping)) or not isinstance(image, Iterable):
        return True
    return any(hasattr(image, name) for name in ("__array__", "__array_interface__", "read"))


def as_images(image: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
    """An iterable of pictures, also for one picture."""
    return cast("Iterable[ImageLike]", [image] if is_one(image) else image)


def check_on_error(on_error: object) -> None:
    """Raise UsageError unless ``on_error`` is None or can be called."""
    if on_error is not None and not callable(on_error):
        raise UsageError(f"expected on_error as a function or None, got {type(on_error).__name__}")


def for_several(image: object, on_error: OnError | None) -> OnError | None:
    """``on_error`` where there are several pictures; the error of a single picture is always raised.

    Raises UsageError where it cannot be called.
    """
    check_on_error(on_error)
    return None if is_one(image) else on_error


def each(
    images: Iterable[ImageLike], work: Callable[[ImageLike], Result], on_error: OnError | None
) -> Iterator[Result]:
    """``work`` on one image after the other, each when its result is asked for.

    An image that cannot be used is told to ``on_error`` and left out; without it, its error is raised.
    """
    for index, image in enumerate(images):
        try:
            found = work(image)
        except OvsegError as error:
            if on_error is None:
                raise
            on_error(index, error)
            continue
        yield found


class Pictures:
    """Images as (H, W, 3) uint8 RGB arrays, each read when it is asked for.

    Attributes:
        error: what ended the iteration, kept so that the results of the images before can be handed out
            first. With ``on_error`` an image that cannot be read is told to it and left out, and nothing ends
            the iteration.
    """

    def __init__(self, images: Iterable[ImageLike], on_error: OnError | None = None) -> None:
        check_on_error(on_error)
        self.images, self.on_error = images, on_error
        self.error: OvsegError | None = None

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for index, image in enumerate(self.images):
            try:
                picture = load_image(image)
            except OvsegError as error:
                if self.on_error is None:
                    self.error = error
                    return
                self.on_error(index, error)
                continue
            yield picture
            del picture  # while the next one is read nobody needs it
