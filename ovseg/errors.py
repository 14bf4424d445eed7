"""The exceptions of ovseg: one line each, saying what was expected and what came.

``exit_code`` is what the command line ends with: 2 for misuse (the call itself is wrong), 1 for a
failure during a run (the call was right, something that it touched was not).
"""

from __future__ import annotations

import re
from itertools import islice

LETTERS, ITEMS, LEVELS = 60, 20, 4
"""How much of a value a message shows at most; it is cut to ``LETTERS`` in the end."""


class OvsegError(Exception):
    """Base of every error that ovseg raises on purpose."""

    exit_code = 1


class OvsegWarning(UserWarning):
    """The result is correct, but a cache could not be used."""


class UsageError(OvsegError, ValueError):
    """An argument is wrong: an unknown method, no names, a window smaller than a patch."""

    exit_code = 2


class UnknownNameError(UsageError, KeyError):
    """A name was asked of a result that does not hold it."""

    __str__ = Exception.__str__  # KeyError's own shows the message in quotation marks


class ImageError(OvsegError):
    """An image cannot be read: missing, truncated, not an image, too large."""


class DataError(OvsegError):
    """A data set is not as it should be: a folder or a label is missing, a value belongs to no class."""


class WeightsError(OvsegError):
    """Weights cannot be had or do not fit: no network, wrong checksum, another architecture."""


class UnsupportedModelError(OvsegError):
    """An open_clip model whose image tower has no tokens that ovseg knows how to read."""

    exit_code = 2


class MissingPackageError(OvsegError, ImportError):
    """A package that only an extra of ovseg installs is missing."""

    exit_code = 2


def extra(name: str) -> str:
    """How an extra of ovseg is installed, for messages: the package is on no index.

    >>> extra("serve")
    "pip install '.[serve]' (in the folder of ovseg)"
    """
    return f"pip install '.[{name}]' (in the folder of ovseg)"


def one_line(error: BaseException) -> str:
    """The message of an exception on one line.

    An error that comes out of a worker process of a data loader carries that process's traceback; of it only
    the last line is kept. An exception without a message is told by its type.

    >>> one_line(ValueError("wanted a,\\n  got b"))
    'wanted a, got b'
    """
    text = str(error).strip()
    if text.startswith("Caught ") and "DataLoader worker" in text:
        text = re.sub(r"^[\w.]+: ", "", text.splitlines()[-1])
    return " ".join(text.split()) or type(error).__name__


def described(value: object) -> str:
    """A value for a message, on one short line: shape and type of an array, others themselves.

    >>> import numpy as np
    >>> described(np.zeros((2, 3))), described(5)
    ('(2, 3) float64', '5')
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and shape and dtype is not None:
        return f"{tuple(shape)} {dtype}"
    return short_repr(value)


def short_repr(value: object) -> str:
    """``repr`` of anything on one line of at most 60 characters, for messages.

    >>> short_repr("a" * 100)[-5:]
    'aa...'
    """
    try:
        value = _beginning(value)
        text = repr(value) if isinstance(value, str) else " ".join(repr(value).split())
    except Exception:  # a class of the caller's whose repr fails
        text = f"<{type(value).__name__}>"
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 3]}..."


class _Rest:
    """Stands for what a message does not show of a value."""

    def __repr__(self) -> str:
        return "..."


def _beginning(value: object, depth: int = 0) -> object:
    """The first items of a list, tuple or dictionary, whose whole repr may take minutes; other values as they are."""
    if type(value) is str:
        return value[:LETTERS]
    if type(value) not in (list, tuple, dict):
        return value
    if depth == LEVELS:
        return _Rest()
    if isinstance(value, dict):
        return {key: _beginning(one, depth + 1) for key, one in islice(value.items(), ITEMS)}
    items = [_beginning(one, depth + 1) for one in islice(value, ITEMS)]  # type: ignore[call-overload]
    return items if isinstance(value, list) else tuple(items)
