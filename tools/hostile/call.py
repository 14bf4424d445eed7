"""One call: what it does, in words, and a function that does it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from hostile.place import Place


@dataclass(frozen=True)
class Call:
    """``make`` gives a result or raises; ``words`` say what it does, on one line.

    ``check`` looks at the result and raises AssertionError where it is wrong; it may give back an error that
    the result stands for, as an exit code of the command line does.
    """

    words: str
    make: Callable[[], object]
    check: Callable[[object], str | None] = lambda result: None


Kind: TypeAlias = Callable[[Place, Random], Call]


def told(value: object) -> str:
    """A value on one short line, also where its ``repr`` fails."""
    try:
        text = repr(value)
    except Exception:
        text = "with a repr that fails"
    text = re.sub(" at 0x[0-9A-Fa-f]+", "", ascii(" ".join(text.split()))[1:-1])
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        text = f"{shape} {getattr(value, 'dtype', '')}"
    return f"{type(value).__name__} {text[:70]}"


def told_options(options: dict[str, object]) -> str:
    return "".join(f", {key}={told(value)}" for key, value in options.items())
