"""The command line of the scripts in tools/: arguments, and errors on one line with an exit code."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from ovseg.errors import OvsegError, UsageError, one_line

Value: TypeAlias = "str | int | float | bool | list[Value] | tuple[Value, ...] | None"
WORDS: dict[str, bool] = {"true": True, "false": False}
PAIRS = {"(": ")", "[": "]"}
DEEPEST = 50
"""The deepest nesting of brackets."""
DEBUG = "OVSEG_DEBUG"
"""Environment variable: if set, unexpected errors are printed with their traceback."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line; exit code 2."""

    def __init__(self, description: str | None = None, prog: str | None = None) -> None:
        super().__init__(prog, description=description, formatter_class=argparse.RawTextHelpFormatter)

    def error(self, message: str) -> NoReturn:
        print(f"error: {' '.join(message.split())} (--help lists the arguments)", file=sys.stderr)
        raise SystemExit(2)


class Assignments(argparse.Action):
    """``--cfg-options model.logit_scale=40 …`` as a dict, in the syntax of mmengine's DictAction."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        found: dict[str, Value] = dict(getattr(namespace, self.dest) or {})
        for text in values if isinstance(values, list) else [values]:
            try:
                key, value = parse_assignment(str(text))
            except UsageError as error:
                parser.error(f"{option_string}: {error}")
            found[key] = value
        setattr(namespace, self.dest, found)


def reported(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate ``main`` to print errors on one line: exit code 2 for misuse, 1 for failures during the run."""

    @functools.wraps(main)
    def run() -> None:
        try:
            main()
            sys.stdout.flush()
        except OvsegError as error:
            stop(one_line(error), error.exit_code)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:  # the pipe is closed, as with `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:
            if os.environ.get(DEBUG):
                traceback.print_exc()
            stop(f"unexpected {type(error).__name__}: {one_line(error)} ({DEBUG}=1 shows where)", 1)

    return run


def stop(message: str, code: int) -> NoReturn:
    """Print an error on one line and exit with ``code``."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


# ------------------------------------------------------------------------------- KEY=VALUE, as mmengine's


def parse_assignment(text: str) -> tuple[str, Value]:
    """Split KEY=VALUE at the first "=" and parse the value.

    Values are integers, floats, true, false, None, lists ("1,2" or "[1,2]"), tuples ("(1,2)"), nested to any
    depth up to ``DEEPEST``, or texts. Dicts are not parsed: "dict(type=A,size=2)" is a text. Spaces and
    enclosing quotation marks are removed.

    Raises:
        UsageError: "=" or the key is missing, brackets are unbalanced or nested too deeply.

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
    """Parse one value, as ``parse_assignment`` describes. Raises UsageError for unbalanced brackets."""
    text = text.strip("'\"").replace(" ", "")
    if text.startswith("(") and text.endswith(")"):
        return tuple(_parts(text[1:-1]))
    if text.startswith("[") and text.endswith("]"):
        return _parts(text[1:-1])
    if "," in text:
        parts = _split(text)
        if parts != [text]:  # the comma of "f(1,2)" is inside brackets, so it is a text
            return [parse_value(part) for part in parts]
    return _scalar(text)


def _parts(text: str) -> list[Value]:
    return [parse_value(part) for part in _split(text)]


def _split(text: str) -> list[str]:
    """Split at commas outside brackets; a trailing comma is ignored."""
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
