"""How the scripts in tools/ end: ovseg's errors as one line and their exit code."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable

from ovseg.errors import OvsegError


def reported(main: Callable[[], None]) -> Callable[[], None]:
    """``main`` with errors on one line: exit code 2 for misuse, 1 for what failed during the run."""

    @functools.wraps(main)
    def run() -> None:
        try:
            main()
        except OvsegError as error:
            print(f"error: {one_line(error)}", file=sys.stderr)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            sys.exit(130)

    return run


def one_line(error: Exception) -> str:
    """The message; of an error that came out of a loader's process only its own last line."""
    text = str(error).strip()
    if text.startswith("Caught ") and "DataLoader worker" in text:
        text = re.sub(r"^[\w.]+: ", "", text.splitlines()[-1])
    return " ".join(text.split())
