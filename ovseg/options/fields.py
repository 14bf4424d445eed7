"""Definition of options: name, type, default, check, help line and parser in one place.

An option class is a frozen dataclass whose fields are made by ``option``. Python calls, the command line,
configs and records take names, defaults, checks and help lines from the class.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, cast

from ovseg.errors import UsageError, described, short_repr
from ovseg.options import checks

if TYPE_CHECKING:
    from dataclasses import Field

    from typing_extensions import Self

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
"""What JSON can hold."""
T = TypeVar("T")
Class = TypeVar("Class", bound="type[Options]")
MODEL, INPUT, METHOD, LIMITS, RUN = "Model", "Input", "Method", "Limits", "Run"
"""The headings under which the command line lists options."""


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Attributes:
        check: (name, value) to the value in its proper type. Raises UsageError.
        read: (name, text) to a value, which ``check`` then sees; text that cannot be parsed is returned
            unchanged, and ``check`` rejects it.
        choices: all values of an option whose values are words.
        metavar: the placeholder of a value on the command line.
        several: whether the option may be repeated.
    """

    check: Callable[[str, object], object]
    read: Callable[[str, str], object] = lambda name, text: text
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    several: bool = False


@dataclass(frozen=True)
class Option:
    """Kind, help line and heading of a field of an option class."""

    kind: Kind
    help: str
    panel: str


def option(default: T, kind: Kind, help: str, panel: str = METHOD) -> T:
    """A field of an option class. None passes unchecked where it is the default."""
    return field(default=default, metadata={"option": Option(kind, help, panel)})


class Options:
    """Base of the option classes: each checks its fields when it is made, so one that exists is valid."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None or one.default is not None:
                object.__setattr__(self, one.name, option_of(one).kind.check(one.name, value))

    @classmethod
    def make(cls, options: Self | None, choices: Mapping[str, object]) -> Self:
        """``options``, or the defaults, with ``choices`` in place of fields of the same names.

        Raises:
            UsageError: ``options`` is of another class, a choice is unknown, or a value is wrong.
        """
        if options is not None and not isinstance(options, cls):
            raise UsageError(f"expected options as {cls.__name__}, got {described(options)}")
        check_known(choices, cls.names())
        return cls(**choices) if options is None else replace(options, **choices)

    def describe(self) -> dict[str, Plain]:
        """Every field in order of definition, for JSON records."""
        return {name: _plain(getattr(self, name)) for name in self.names()}

    @classmethod
    def names(cls) -> list[str]:
        """The names of all fields, in the order of definition."""
        return [one.name for one in fields(cls)]


def documented(cls: Class) -> Class:
    """The option class with its fields' help lines in its docstring."""
    lines = [f"    {one.name}: {option_of(one).help} Default: {one.default!r}." for one in fields(cls)]
    cls.__doc__ = "\n".join([(cls.__doc__ or "").rstrip(), "", "Attributes:", *lines, ""])
    return cls


def option_of(one: Field[Any]) -> Option:
    """The option behind a field of an option class."""
    return cast("Option", one.metadata["option"])


def check_known(names: Iterable[object], known: Sequence[str], what: str = "option") -> None:
    """Raise UsageError for an unknown name; the message suggests the nearest known one."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise UsageError(f"unknown {what} {described(name)}: {hint}")


# ------------------------------------------------------------------------------------------ kinds of values


def number(low: float, high: float, above: bool = False) -> Kind:
    """A number in ``low``..``high``; ``above``: greater than ``low``."""
    return Kind(partial(checks.check_number, low=low, high=high, above=above), read_number, metavar="NUMBER")


def integer(low: int, high: int) -> Kind:
    """An integer in ``low``..``high``."""
    return Kind(partial(checks.check_integer, low=low, high=high), read_integer, metavar="INTEGER")


def choice(values: Sequence[str], none: bool = False) -> Kind:
    """One of some words; ``none`` says in the message that None is possible too."""
    return Kind(partial(checks.check_choice, allowed=values, none=none), choices=tuple(values))


def read_number(name: str, text: str) -> float | str:
    """Parse a float; other text is returned unchanged and rejected by the check."""
    try:
        return float(text)
    except ValueError:
        return text


def read_integer(name: str, text: str) -> int | str:
    """Parse an int; other text is returned unchanged and rejected by the check.

    >>> read_integer("batch", "8"), read_integer("batch", "²")
    (8, '²')
    """
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text) else text


def read_size(name: str, text: str) -> int | tuple[int, int]:
    """ "512" or "384x512", height first. Raises UsageError.

    >>> read_size("window", "512"), read_size("window", "384x512")
    (512, (384, 512))
    """
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:[xX×]\s*([0-9]{1,9})\s*)?", text)
    if not found:
        raise UsageError(
            f"expected {name} as 512 or 384x512 (height x width) in pixels, got {short_repr(text)}"
        )
    return int(found[1]) if found[2] is None else (int(found[1]), int(found[2]))


def read_path(name: str, text: str) -> str:
    """A name or a path, whose leading ``~`` is the home folder."""
    return os.path.expanduser(text) if text.startswith("~") else text


FLAG = Kind(checks.check_flag)
SIZE = Kind(checks.check_size, read_size, metavar="SIZE")
WORDS = Kind(checks.check_words)
BACKGROUND = Kind(checks.check_background)
SOME_WORDS = Kind(partial(checks.check_words, empty=True))
"""Words, or none."""
TEMPLATES = Kind(checks.check_templates, choices=("paper", "imagenet", "plain"), several=True)
DEVICE = Kind(checks.check_device, choices=("cpu", "cuda"))
TEXT = Kind(checks.check_text)
WEIGHTS = Kind(checks.check_text, read_path)
ANY_TEXT = Kind(partial(checks.check_text, empty=True))
"""A text, which may be empty."""


def _plain(value: object) -> Plain:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    assert value is None or isinstance(value, (str, int, float, bool))
    return value
