"""KEY=VALUE of a command line, read as MMSegmentation's tools read it, without importing mmengine."""

from __future__ import annotations

from typing import TypeAlias

from ovseg.errors import UsageError

Value: TypeAlias = "str | int | float | bool | list[Value] | tuple[Value, ...] | None"
WORDS: dict[str, bool] = {"true": True, "false": False}
PAIRS = {"(": ")", "[": "]"}
DEEPEST = 50
"""So many brackets may stand within each other."""


def parse_assignment(text: str) -> tuple[str, Value]:
    """A key and its value, parted at the first "=".

    Values are integers, floats, true, false, None, lists ("1,2" or "[1,2]"), tuples ("(1,2)"), nested at
    will, or texts. There are no dicts: "dict(type=A,size=2)" is a text. Spaces and the quotation marks around
    a value are left out.

    Raises:
        UsageError: there is no "=", no key, a bracket is not closed, or too many stand within each other.

    >>> parse_assignment("model.window=(224,112)")
    ('model.window', (224, 112))
    >>> parse_assignment("model.vocabulary=[sky,tree]")
    ('model.vocabulary', ['sky', 'tree'])
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"expected KEY=VALUE, got {text!r}")
    return key, parse_value(value)


def parse_value(text: str) -> Value:
    """One value, as ``parse_assignment`` describes. Raises UsageError where a bracket is not closed."""
    text = text.strip("'\"").replace(" ", "")
    if text.startswith("(") and text.endswith(")"):
        return tuple(_parts(text[1:-1]))
    if text.startswith("[") and text.endswith("]"):
        return _parts(text[1:-1])
    if "," in text:
        parts = _split(text)
        if parts != [text]:  # "f(1,2)" has its comma within brackets that are no tuple's
            return [parse_value(part) for part in parts]
    return _scalar(text)


def _parts(text: str) -> list[Value]:
    return [parse_value(part) for part in _split(text)]


def _split(text: str) -> list[str]:
    """The texts between commas that are in no bracket; a comma at the end adds none."""
    for opening, closing in PAIRS.items():
        if text.count(opening) != text.count(closing):
            raise UsageError(f"expected each {opening} closed by {closing}, got {text!r}")
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += letter in PAIRS
        depth -= letter in PAIRS.values()
        if depth > DEEPEST:
            raise UsageError(f"expected at most {DEEPEST} brackets within each other, got {text[:60]!r} …")
        if depth < 0:
            raise UsageError(f"expected brackets around a list or within it, got {text!r}")
        if letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    if start < len(text):
        parts.append(text[start:])
    return parts


def _scalar(text: str) -> Value:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    if text == "None":
        return None
    return WORDS.get(text.lower(), text)
