"""Checks of single values: each returns the value in its proper type or raises UsageError in one line.

Option classes use them, and so do functions for their other arguments.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from ovseg.errors import UsageError, described

Size: TypeAlias = "int | tuple[int, int]"
"""One side of a square, or (height, width), in pixels."""
Templates: TypeAlias = "str | Sequence[str]"
"""A name of a set of templates, one template, or several."""
DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "npu", "mlu", "xla")
"""Kinds of devices that can hold and compute a model, where PyTorch was built for them."""
MAX_SIDE = 16_384
"""The longest side of an encoder input, a window or a stride, in pixels."""
AUTO = "auto"
"""Background words that ovseg chooses, see ``ovseg.words.background``. A list ``["auto"]`` is a word."""


def check_choice(what: str, value: object, allowed: Sequence[str], none: bool = False) -> str:
    """``value`` if it is one of ``allowed``; ``none``: the message lists None too."""
    if not isinstance(value, str) or value not in allowed:
        choices = ", ".join([*allowed, "None"] if none else allowed)
        raise UsageError(f"unknown {what} {described(value)}: expected one of {choices}")
    return value


def check_number(what: str, value: object, low: float, high: float, above: bool = False) -> float:
    """``value`` as a float in ``low``..``high`` (``above``: greater than ``low``); NumPy's scalars are taken.

    Raises UsageError for another type, bool, NaN, infinity or a value outside.
    """
    wanted = f"above {low:g}" if above and high == math.inf else f"in {low:g}..{high:g}"
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever has __float__, text excluded below
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    is_bool = type(value).__name__ in ("bool", "bool_")  # Python's, NumPy's
    if is_bool or isinstance(value, (str, bytes)) or not math.isfinite(number):
        raise UsageError(f"expected {what} as a number {wanted}, got {described(value)}")
    if not (low < number if above else low <= number) or number > high:
        raise UsageError(f"expected {what} {wanted}, got {number:g}")
    return number


def check_integer(what: str, value: object, low: int, high: int) -> int:
    """``value`` as an int in ``low``..``high``; NumPy's integers are taken, floats and bools are not."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]  # raises TypeError for what is no integer
    except TypeError:
        raise UsageError(f"expected {what} as an integer in {low}..{high}, got {described(value)}") from None
    if not low <= number <= high:
        raise UsageError(f"expected {what} in {low}..{high}, got {number}")
    return number


def check_flag(what: str, value: object) -> bool:
    """``value`` if it is True or False. Raises UsageError."""
    if not isinstance(value, bool):
        raise UsageError(f"expected {what} as True or False, got {described(value)}")
    return value


def check_text(what: str, value: object, empty: bool = False) -> str:
    """``value`` if it is a text, with a visible character unless it may be ``empty``. Raises UsageError."""
    if not isinstance(value, str) or not (empty or value.strip()):
        raise UsageError(f"expected {what} as a text, got {described(value)}")
    return value


def check_device(what: str, value: object) -> str:
    """``value`` if it looks like a device name; whether this machine has the device is checked elsewhere.

    Raises UsageError.
    """
    if not isinstance(value, str) or not re.fullmatch(rf"({'|'.join(DEVICES)})(:\d+)?", value, re.ASCII):
        raise UsageError(f"unknown {what} {described(value)}: expected cpu, cuda, cuda:1 …")
    return value


def check_name_or_path(what: str, value: object) -> str | Path:
    """A text, which may be a name or a path, or a path object, which is a file and never a name.

    Raises UsageError.
    """
    if isinstance(value, PathLike):
        return Path(check_text(what, os.fspath(value)))
    return check_text(what, value)


def check_size(what: str, value: object, most: int = MAX_SIDE) -> Size | None:
    """None, one side, or (height, width) of 1 to ``most`` pixels; lists become tuples.

    Raises UsageError.
    """
    if value is None:
        return None
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise UsageError(f"expected {what} as an integer or (height, width), got {described(value)}")
        height, width = (check_integer(what, side, 1, most) for side in value)
        return (height, width)
    return check_integer(what, value, 1, most)


def pair(size: Size) -> tuple[int, int]:
    """(height, width) of a size.

    >>> pair(512), pair((384, 512))
    ((512, 512), (384, 512))
    """
    return (size, size) if isinstance(size, int) else size


def check_words(what: str, value: object, empty: bool = False) -> tuple[str, ...]:
    """Words as a tuple; a text such as "wall, floor" is split at its commas. Raises UsageError."""
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",")]
    if not isinstance(value, Iterable) or isinstance(value, (bytes, Mapping)):
        raise UsageError(f"expected {what} as words, got {described(value)}")
    try:
        words = tuple(value)
    except TypeError:  # an array without axes calls itself iterable and is not
        raise UsageError(f"expected {what} as words, got {described(value)}") from None
    for word in words:
        check_text(f"each word of {what}", word)
    if not words and not empty:
        raise UsageError(f"expected {what} with at least one word, got none")
    return words


def check_background(what: str, value: object) -> str | tuple[str, ...]:
    """ "auto" as it is, other words as ``check_words`` has them. Raises UsageError."""
    return AUTO if isinstance(value, str) and value.strip() == AUTO else check_words(what, value)


def check_templates(what: str, value: object) -> Templates:
    """A name, a template, or a tuple of templates, whose content is checked where they are used."""
    if isinstance(value, str):
        return check_text(what, value)
    return check_words(what, value)
