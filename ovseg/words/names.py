"""Check the names of a call: each is a text, they have an order, and none is repeated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from itertools import islice

from ovseg.errors import UsageError, short_repr

MAX_NAMES = 100_000
"""Most names in one list; more are a mistake, such as an endless generator."""


def check_name(value: object, what: str = "name") -> str:
    """A name or text as a plain ``str`` without spaces around it. Raises UsageError.

    >>> check_name(" sky ")
    'sky'
    """
    if not isinstance(value, str):
        raise UsageError(f"expected each {what} as a text, got {type(value).__name__} {short_repr(value)}")
    text = str.__str__(value).strip()  # NumPy's and other subclasses become plain
    if not is_unicode(text):
        raise UsageError(f"expected each {what} in Unicode, got bytes that are not UTF-8: {short_repr(text)}")
    if not any(letter.isprintable() and not letter.isspace() for letter in text):
        raise UsageError(f"expected each {what} with at least one visible character, got {short_repr(text)}")
    return text


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be encoded: a command line's bytes that are not UTF-8 arrive as lone surrogates.

    >>> is_unicode("caf\\u00e9"), is_unicode("caf\\udce9")
    (True, False)
    """
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def split_text(what: str, text: str) -> tuple[str, ...]:
    """Split a text at its commas. Raises UsageError if a part is empty.

    >>> split_text("name", "sky, tree")
    ('sky', 'tree')
    """
    parts = tuple(part.strip() for part in text.split(","))
    if not text.strip():
        raise UsageError(f"expected at least one {what}, got an empty text")
    if not all(parts):
        raise UsageError(f"expected a {what} between all commas, got {short_repr(text)}")
    return parts


def in_order(what: str, values: object) -> tuple[object, ...]:
    """The items of an iterable. Raises UsageError if it is unordered or endless."""
    if isinstance(values, Set) and not hasattr(values, "mapping"):  # a dict's views are in order
        raise UsageError(f"expected {what} in an order, got a {type(values).__name__}: make it a list")
    if isinstance(values, (str, bytes, bytearray, memoryview)) or not isinstance(values, Iterable):
        raise UsageError(f"expected {what} as a list, got {type(values).__name__} {short_repr(values)}")
    try:
        found = tuple(islice(values, MAX_NAMES + 1))
    except TypeError:  # a NumPy array without axes says that it can be iterated over
        raise UsageError(
            f"expected {what} as a list, got {type(values).__name__} {short_repr(values)}"
        ) from None
    if len(found) > MAX_NAMES:
        raise UsageError(f"expected {what} up to {MAX_NAMES}, got more")
    return found


def check_once(names: tuple[str, ...]) -> None:
    """Raise UsageError if two names differ only in case and spaces."""
    first: dict[str, str] = {}
    for name in names:
        key = fold(name)
        if key in first:
            other = first[key]
            same = f"{short_repr(name)} more than once"
            if other != name:
                same = f"{short_repr(other)} and {short_repr(name)}, which differ in case or spaces only"
            raise UsageError(f"expected each name once, got {same}")
        first[key] = name


def fold(name: str) -> str:
    """Normalise a name for comparison: lower case, single spaces.

    >>> fold("Traffic  Light")
    'traffic light'
    """
    return " ".join(name.split()).casefold()


def shares_word(name: str, text: str) -> bool:
    """Whether a word of ``name`` is one of ``text``, in the singular or plural, or the last part of one.

    >>> shares_word("grass", "dry grasses"), shares_word("plant", "pottedplants"), shares_word("tree", "street")
    (True, True, False)
    """
    return any(
        word == other or (len(word) > 3 and other.endswith(word))
        for word in _singulars(name)
        for other in _singulars(text)
    )


def _singulars(text: str) -> list[str]:
    """The words of a text, each without the ending of an English plural.

    >>> _singulars("Potted plants, buses")
    ['potted', 'plant', 'buse']
    """
    words = re.findall(r"\w+", fold(text))
    return [re.sub(r"((?<=ss|sh|ch)es|(?<=\w\w[^s])s)$", "", word) for word in words]
