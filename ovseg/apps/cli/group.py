"""The command group: what typer itself finds wrong is one line as well."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from typer.core import TyperGroup

from ovseg.apps.cli.shared import LONGEST, discard_stdout, note, prepare_streams, unexpected


class OneLineGroup(TyperGroup):
    """Commands whose wrong arguments end in one line "error: …" and exit code 2, without a usage screen."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: object,
    ) -> NoReturn:
        """Run a command line and end the process; ``standalone_mode`` is always on."""
        prepare_streams()
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
            sys.stdout.flush()  # a full disk shows here, and not when Python shuts down
        except SystemExit as stop:
            # rich and typer end with 1 where the reader of standard output has gone, as with `--help | head
            # -1`
            if isinstance(stop.__context__, BrokenPipeError):
                discard_stdout()
                sys.exit(0)
            raise
        except BrokenPipeError:
            discard_stdout()
            sys.exit(0)
        except OSError as error:
            discard_stdout()
            note(f"error: {unexpected(error)}")
            sys.exit(1)
        except Exception as error:
            sys.exit(_said(error))
        sys.exit(code if isinstance(code, int) else 0)


def _said(error: Exception) -> int:
    """Print what is wrong with the command line, and give the exit code. Other errors are raised again."""
    message = getattr(error, "format_message", None)
    if message is None:
        raise error
    if type(error).__name__ == "NoArgsIsHelpError":  # rich has shown the help already
        return 2
    text = " ".join(message().split())
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    note(f"error: {text[:1].lower()}{text[1:].rstrip('.')} (--help lists what there is)")
    return 2
