"""A cache of values computed from pictures, keyed by the pixels."""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")
KEPT = 4
"""Values that a cache keeps; the least recently used is evicted."""
_DIGESTS: dict[int, str] = {}
"""The digests of frozen arrays that are alive, by their ``id``."""


def is_frozen(image: NDArray[np.uint8]) -> bool:
    """Whether an array is immutable: read-only, contiguous, and the owner of its memory."""
    return not image.flags.writeable and image.base is None and image.flags.c_contiguous


def frozen(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An immutable array: the array itself if it is frozen already, else a read-only copy.

    >>> image = np.zeros((2, 2, 3), np.uint8)
    >>> kept = frozen(image)
    >>> kept is image, frozen(kept) is kept
    (False, True)
    """
    if not is_frozen(image):
        image = np.array(image, order="C")
        image.flags.writeable = False
    return image


class ContentCache(Generic[Value]):
    """The most recently used values, keyed by a picture's shape, dtype and SHA-256. Thread-safe.

    Args:
        most: how many values are kept.
        most_bytes: how many bytes the arrays and tensors in them may take; None for any number.

    >>> cache = ContentCache()
    >>> image = np.zeros((2, 2, 3), np.uint8)
    >>> first = cache.get(image, lambda pixels: pixels + 1)
    >>> cache.get(image.copy(), lambda pixels: pixels + 1) is first
    True
    >>> first.flags.writeable
    False
    """

    def __init__(self, most: int = KEPT, most_bytes: int | None = None) -> None:
        self.most, self.most_bytes = most, most_bytes
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, image: NDArray[np.uint8]) -> bool:
        """Whether a value for the same pixels is cached."""
        return _digest(image) in self._values

    def get(self, image: NDArray[np.uint8], make: Callable[[NDArray[np.uint8]], Value]) -> Value:
        """The cached value for the same pixels, or the result of ``make``.

        Args:
            image: any array; its content is the key.
            make: called with ``frozen(image)``, which its value may keep and pass to other caches without
                another copy or hash.

        Returns:
            The value. Arrays in it (itself, or in a tuple, list, mapping or dataclass) are read-only,
            because the next caller gets the same.
        """
        key = _digest(image)
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        kept = frozen(image)
        _remember(kept, key)
        value = make(kept)  # outside the lock: two threads may do it twice, none waits for another's
        _make_read_only(value)
        with self._lock:
            self._values[key] = value
            while self._values and self._is_full():
                self._values.popitem(last=False)
        return value

    def _is_full(self) -> bool:
        if self.most_bytes is not None and count_bytes(list(self._values.values())) > self.most_bytes:
            return True
        return len(self._values) > self.most


def _digest(image: NDArray[np.uint8]) -> str:
    """Shape, dtype and SHA-256 of the content, computed once for a frozen array."""
    if is_frozen(image) and id(image) in _DIGESTS:
        return _DIGESTS[id(image)]
    digest = f"{image.shape} {image.dtype} {hashlib.sha256(np.ascontiguousarray(image)).hexdigest()}"
    if is_frozen(image):
        _remember(image, digest)
    return digest


def _remember(image: NDArray[np.uint8], digest: str) -> None:
    if id(image) not in _DIGESTS:  # an id is free for another array only after its array's finalizer ran
        weakref.finalize(image, _DIGESTS.pop, id(image), None).atexit = False
    _DIGESTS[id(image)] = digest


def count_bytes(value: object) -> int:
    """The bytes of the arrays and tensors in ``value``, also in tuples, lists, mappings and dataclasses.

    >>> count_bytes({"a": [np.zeros(3, np.uint8), np.zeros(2)]})
    19
    """
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, (tuple, list)):
        return sum(map(count_bytes, value))
    if isinstance(value, Mapping):
        return count_bytes(tuple(value.values()))
    return count_bytes(tuple(vars(value).values())) if hasattr(value, "__dataclass_fields__") else 0


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
