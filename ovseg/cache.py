"""What was computed of an image, kept by the image's content for the next call with the same pixels."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

import numpy as np

Value = TypeVar("Value")
KEPT = 4
"""Images that are remembered, the least recently used going first."""


class ContentCache(Generic[Value]):
    """The ``most`` last used values, by shape and SHA-256 of an image; may be shared by threads."""

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, image: np.ndarray, make: Callable[[np.ndarray], Value]) -> Value:
        """What ``make(image)`` gave for the same pixels before, or gives now; it gets them contiguous."""
        image = np.ascontiguousarray(image)
        key = f"{image.shape} {image.dtype} {hashlib.sha256(image).hexdigest()}"
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make(image)  # outside the lock: two threads may do it twice, none waits for another's image
        with self._lock:
            self._values[key] = value
            while len(self._values) > self.most:
                self._values.popitem(last=False)
        return value
