"""What the scripts in tools/ share: their command line, and errors as one line with an exit code."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from ovseg.apps.cli.values import Value, parse_assignment
from ovseg.errors import OvsegError, UsageError, one_line

DEBUG = "OVSEG_DEBUG"
"""Environment variable: anything but empty prints the traceback of an unexpected error."""


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line; exit code 2."""

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
    """``main`` with every error on one line: exit code 2 for misuse, 1 for what failed during the run."""

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
        except BrokenPipeError:  # the reader of standard output has gone, as with `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:
            if os.environ.get(DEBUG):
                traceback.print_exc()
            stop(f"unexpected {type(error).__name__}: {one_line(error)} ({DEBUG}=1 shows where)", 1)

    return run


def stop(message: str, code: int) -> NoReturn:
    """Print an error on one line and end with ``code``."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
