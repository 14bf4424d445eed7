"""What was computed of an image, kept by the image's content for the next call with the same pixels."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")
KEPT = 4
"""Images that are remembered; the least recently used goes first."""


class ContentCache(Generic[Value]):
    """The last used values, by the shape, dtype and SHA-256 of an image. May be shared by threads.

    Args:
        most: values that are kept.

    >>> cache = ContentCache()
    >>> image = np.zeros((2, 2, 3), np.uint8)
    >>> first = cache.get(image, lambda pixels: pixels + 1)
    >>> cache.get(image.copy(), lambda pixels: pixels + 1) is first
    True
    >>> first.flags.writeable
    False
    """

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, image: NDArray[np.uint8], make: Callable[[NDArray[np.uint8]], Value]) -> Value:
        """The value of an image: what ``make`` gave for the same pixels before, or gives now.

        Args:
            image: any array; its content is the key.
            make: gets a contiguous copy of ``image`` that nobody else holds, so that its value may keep it.

        Returns:
            The value. Arrays in it (itself, or in a tuple, list, mapping or dataclass) are read-only,
            because the next caller gets the same.
        """
        image = np.ascontiguousarray(image)
        key = f"{image.shape} {image.dtype} {hashlib.sha256(image).hexdigest()}"
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make(image.copy())  # outside the lock: two threads may do it twice, none waits for another's
        _make_read_only(value)
        with self._lock:
            self._values[key] = value
            while len(self._values) > self.most:
                self._values.popitem(last=False)
        return value


def _make_read_only(value: object) -> None:
    """Make the arrays in ``value`` read-only, also in tuples, lists, mappings and dataclasses."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, (tuple, list)):
        for one in value:
            _make_read_only(one)
    elif isinstance(value, Mapping):
        _make_read_only(tuple(value.values()))
    elif hasattr(value, "__dataclass_fields__"):
        _make_read_only(tuple(vars(value).values()))
