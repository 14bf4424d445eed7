"""One image or several: which of the two an argument is, and several images read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import OvsegError, UsageError
from ovseg.files.images import ImageLike, load_image

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
