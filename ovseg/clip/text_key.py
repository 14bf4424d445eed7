"""What text features depend on, as digests: weights, configuration and tokenizer.

Each digest is the SHA-256 of JSON, so that no two different inputs are written down alike: parts joined by a
separator would be, where a part holds the separator.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

VERSION = 2
"""Part of every key: raised when the same inputs give other features, so that older entries are not read."""
CHUNK = 2**24
"""Bytes of a weight that are hashed at a time."""
State: TypeAlias = "tuple[tuple[str, int, int], ...]"
_DIGESTS: weakref.WeakKeyDictionary[nn.Module, tuple[State, str]] = weakref.WeakKeyDictionary()


class Tokenizer(Protocol):
    """What every tokenizer of open_clip offers, those of the hub too: prompts to rows of token ids."""

    context_length: int

    def __call__(self, texts: list[str], context_length: int | None = None) -> Tensor:
        """Token ids (P, L) of P prompts, int64: cut and padded to L = ``context_length``."""
        ...


def digest(value: object) -> str:
    """SHA-256 of a value that JSON can hold, as 64 hexadecimal digits.

    >>> digest(["a\\0", "b"]) == digest(["a", "\\0b"])
    False
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def fingerprint(clip: nn.Module, tokenizer: Tokenizer) -> str:
    """Everything that text features depend on besides templates and names, as 64 hexadecimal digits.

    That is every weight of the text tower, every module's class and settings (activation, heads, widths,
    number of layers, pooling), the tokenizer's class and settings, and the version of the packages whose
    code they are. Of the image tower nothing counts.
    """
    kinds = {type(module) for _, module in _text_modules(clip)} | {type(tokenizer)}
    packages = sorted({kind.__module__.split(".")[0] for kind in kinds} - {"torch"})
    versions = {name: str(getattr(sys.modules.get(name), "__version__", "")) for name in packages}
    parts = [VERSION, versions, _configuration(clip), _settings(tokenizer, {}), weight_digest(clip)]
    return digest(parts)


def feature_key(head: str, name: str, tokens: Sequence[int]) -> str:
    """The cache key of one name's feature.

    Args:
        head: the digest of what all names of a call share, see ``head_key``.
        name: the name itself.
        tokens: its token ids, which hold whatever the tokenizer does and its settings do not tell.
    """
    return digest([head, name, list(tokens)])


def head_key(clip: nn.Module, tokenizer: Tokenizer, templates: Sequence[str]) -> str:
    """The digest of the model, the tokenizer and the templates, with the templates' own token ids."""
    rows = tokenizer([template.replace("{}", "") for template in templates]).tolist()
    return digest([fingerprint(clip, tokenizer), list(templates), rows])


def text_state(clip: nn.Module) -> State:
    """Where each text weight lies and how often it was written to: cheap, and other after a change.

    What goes unseen is a change through ``tensor.data`` or NumPy, which PyTorch does not count.
    """
    return tuple(
        (name, tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
        for name, tensor in _text_tensors(clip)
    )


def weight_digest(clip: nn.Module) -> str:
    """SHA-256 over every byte of every text weight and buffer; computed once for a model and its state."""
    state = text_state(clip)
    known = _DIGESTS.get(clip)
    if known is None or known[0] != state:
        rows = [
            [name, str(tensor.dtype), list(tensor.shape), _bytes_digest(tensor)]
            for name, tensor in _text_tensors(clip)
        ]
        known = (state, digest(rows))
        _DIGESTS[clip] = known
    return known[1]


def is_text(name: str) -> bool:
    """Whether a weight or module of a CLIP model belongs to the text side: whatever is not the image tower.

    >>> is_text("token_embedding.weight"), is_text("visual.conv1.weight")
    (True, False)
    """
    return name != "visual" and not name.startswith("visual.")


def _text_tensors(clip: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for named in (clip.named_parameters(), clip.named_buffers()):  # buffers that are not stored count too
        yield from ((name, tensor) for name, tensor in named if is_text(name))


def _text_modules(clip: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in clip.named_modules() if is_text(name))


def _bytes_digest(tensor: Tensor) -> str:
    found = hashlib.sha256()
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    for start in range(0, len(flat), CHUNK):
        found.update(flat[start : start + CHUNK])
    return found.hexdigest()


def _configuration(clip: nn.Module) -> object:
    """Each text module's path, class and settings, as JSON can hold them."""
    seen: dict[int, object] = {}
    return [[name, _settings(module, seen)] for name, module in _text_modules(clip)]


def _settings(thing: object, seen: dict[int, object]) -> object:
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
        return [str(value.dtype), list(value.shape), _bytes_digest(value)]
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
