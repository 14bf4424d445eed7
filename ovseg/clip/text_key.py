"""What text features depend on, as digests: weights, configuration and tokenizer.

Each digest is the SHA-256 of JSON, so that no two different inputs are written down alike: parts joined by a
separator would be, where a part holds the separator.
"""

from __future__ import annotations

import hashlib
import json
import sys
import weakref
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from ovseg.clip.text_settings import bytes_digest, settings
from ovseg.clip.text_state import State, configuration, text_modules, text_state, text_tensors

VERSION = 2
"""Part of every key: raised when the same inputs give other features, so that older entries are not read."""
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
    kinds = {type(module) for _, module in text_modules(clip)} | {type(tokenizer)}
    packages = sorted({kind.__module__.split(".")[0] for kind in kinds} - {"torch"})
    versions = {name: str(getattr(sys.modules.get(name), "__version__", "")) for name in packages}
    parts = [VERSION, versions, configuration(clip), settings(tokenizer, {}), weight_digest(clip)]
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


def weight_digest(clip: nn.Module) -> str:
    """SHA-256 over every byte of every text weight and buffer; computed once for a model and its state."""
    state = text_state(clip)
    known = _DIGESTS.get(clip)
    if known is None or known[0] != state:
        rows = [
            [name, str(tensor.dtype), list(tensor.shape), bytes_digest(tensor)]
            for name, tensor in text_tensors(clip)
        ]
        known = (state, digest(rows))
        _DIGESTS[clip] = known
    return known[1]
