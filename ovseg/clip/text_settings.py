"""Classes and settings of modules and tokenizers as JSON can hold them, equal in every process."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Set

import numpy as np
import torch
from torch import Tensor, nn

CHUNK = 2**24
"""Bytes of a weight that are hashed at a time."""


def settings(thing: object, seen: dict[int, object]) -> object:
    """The class of a module or tokenizer and its plain attributes: numbers, texts, functions, configurations.

    ``seen`` holds what a configuration that many modules share came to.
    """
    inherited = set(vars(nn.Module())) - {"training"} if isinstance(thing, nn.Module) else set()
    listed = {
        name: _plain(value, seen)
        for name, value in getattr(thing, "__dict__", {}).items()
        if name not in inherited and not name.startswith("_") and not _is_content(thing, value)
    }
    return [_called(type(thing)), listed]


def _is_content(thing: object, value: object) -> bool:
    """Tables and caches of a tokenizer: large, and changing while it works. Its token ids are in the keys."""
    return not isinstance(thing, nn.Module) and isinstance(value, (Mapping, Set, list))


def _plain(value: object, seen: dict[int, object]) -> object:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Tensor):
        content = "" if value.is_meta else bytes_digest(value)
        return [str(value.dtype), list(value.shape), content]
    if isinstance(value, (list, tuple)):
        return [_plain(one, seen) for one in value]
    if isinstance(value, Set):
        return sorted((_plain(one, seen) for one in value), key=repr)
    if isinstance(value, Mapping):
        return {repr(key): _plain(one, seen) for key, one in value.items()}
    if isinstance(value, functools.partial):
        return [_plain(part, seen) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, (float, np.generic, torch.dtype)):
        return repr(value)
    describe: Callable[[], object] | None = getattr(value, "to_dict", None)  # configurations of transformers
    if describe is not None and not isinstance(value, type):
        if id(value) not in seen:
            seen[id(value)] = _plain(describe(), seen)
        return seen[id(value)]
    return _called(value if callable(value) and hasattr(value, "__qualname__") else type(value))


def _called(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


def bytes_digest(tensor: Tensor) -> str:
    found = hashlib.sha256()
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    for start in range(0, len(flat), CHUNK):
        found.update(flat[start : start + CHUNK])
    return found.hexdigest()
