"""Output, errors and exit codes of all commands.

Exit codes: 0 success, 1 failure during the run, 2 misuse, 130 stopped by the user. Every error is one line
"error: …" on standard error.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress

import typer
from rich.console import Console

from ovseg.apps.cli import discard_stdout
from ovseg.errors import OvsegError, OvsegWarning, UsageError, one_line
from ovseg.files.paths import shown

LONGEST = 800
"""Most characters of an error's line, because arguments may be of any length."""
DEBUG = "OVSEG_DEBUG"
"""Environment variable: if set, unexpected errors are printed with their traceback."""
FLAGS: dict[str, str] = {}
"""The flags of the running command's options, by field name."""


class _Terminal(Console):
    """A console that leaves a closed pipe, as with ``| head``, to ``reported``."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


# No emoji codes: paths such as ":cat:" are printed unchanged.
out, err = _Terminal(soft_wrap=True, emoji=False), _Terminal(stderr=True, soft_wrap=True, emoji=False)


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command to print each error and each ovseg warning on one line, and to set the exit code."""

    @functools.wraps(command)
    def run(*args: object, **options: object) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of other packages are for developers
            warnings.simplefilter("always", OvsegWarning)
            warnings.showwarning = lambda message, *_, **__: note(f"warning: {message}")
            FLAGS.clear()
            try:
                command(*args, **options)
                sys.stdout.flush()  # a full disk is noticed here, not at Python's shutdown
            except typer.Exit:
                raise
            except OvsegError as error:
                raise end(command_line_form(error), error.exit_code) from None
            except KeyboardInterrupt:
                note("stopped")
                raise typer.Exit(130) from None
            except BrokenPipeError:
                discard_stdout()
                raise typer.Exit(0) from None
            except Exception as error:
                if isinstance(error, OSError):
                    discard_stdout()
                raise end(unexpected(error), 1) from None

    return run


def end(message: str, code: int) -> typer.Exit:
    """Print an error on one line; returns the exception that ends the command with ``code``."""
    line = " ".join(message.split())
    note(f"error: {line if len(line) <= LONGEST else line[:LONGEST] + '…'}")
    return typer.Exit(code)


def note(line: str) -> None:
    """Print a line on standard error, above the progress bar if there is one."""
    with suppress(OSError):  # standard error is full or closed: the line is lost
        err.print(line, markup=False, highlight=False)


def tell(line: str) -> bool:
    """Print a line on standard output; False if the pipe is closed, and further lines are dropped."""
    try:
        if err.is_terminal and sys.stdout.isatty():
            err.print(line, markup=False, highlight=False)  # one terminal: print above the progress bar
        else:
            print(line, flush=True)
    except BrokenPipeError:
        discard_stdout()
        return False
    return True


def describe(error: Exception, file: str | os.PathLike[str]) -> str:
    """Describe an error of one image in one line that names the file."""
    message = one_line(error) if isinstance(error, OvsegError) else unexpected(error)
    return message if shown(file) in message else f"{shown(file)}: {message}"


def unexpected(error: Exception) -> str:
    """Describe an error of other packages in one line; OVSEG_DEBUG also prints its traceback."""
    if os.environ.get(DEBUG):
        note("".join(traceback.format_exception(error)))
    if isinstance(error, OSError) and error.strerror:
        what = shown(error.filename) if error.filename else "expected to write"
        return f"{what}: {error.strerror}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    return f"unexpected {type(error).__name__}: {one_line(error)} ({DEBUG}=1 shows where)"


def command_line_form(error: OvsegError) -> str:
    """Replace option names in an error's message by the command line's flags.

    >>> FLAGS.update({"logit_scale": "--logit-scale", "surgery": "--surgery"})
    >>> command_line_form(UsageError("expected logit_scale above 0, got 0: use surgery='empty'"))
    'expected --logit-scale above 0, got 0: use --surgery empty'
    """
    message = one_line(error)
    if not isinstance(error, UsageError):
        return message

    def flag(name: str) -> str:
        return FLAGS.get(name, name)

    message = re.sub(r"\b(expected|unknown|got) (\w+)\b", lambda m: f"{m[1]} {flag(m[2])}", message)
    message = re.sub(r"^(\w+) needs\b", lambda m: f"{flag(m[1])} needs", message)
    message = re.sub(
        r"\b(\w+)='([\w-]+)'", lambda m: f"{flag(m[1])} {m[2]}" if m[1] in FLAGS else m[0], message
    )
    return message.replace(", None", "")
