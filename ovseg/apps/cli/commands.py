"""Turns functions into commands, with options generated from option classes and modules imported on use.

A command names its option classes, ``@with_options(ModelOptions, SegmentOptions)``, and is called with their
objects. Names, defaults, checks, help lines and parsing come from the classes.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

import ovseg
from ovseg.apps.cli import COMMANDS, overview, whole_output
from ovseg.apps.cli.loading import EXPLANATIONS, METHODS
from ovseg.apps.cli.shared import FLAGS, LONGEST, note
from ovseg.options import Options
from ovseg.options.fields import Kind, Option, option_of
from ovseg.segmenters.load import list_segmenters
from ovseg.words.vocabulary import list_vocabularies

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter

OWN = "Options"
"""The heading of a command's own options in its help."""


def _listed(name: str, value: object) -> object:
    return (value,) if isinstance(value, str) else value


LISTED = Kind(_listed, several=True)
"""A text option that may be repeated."""


@dataclass(frozen=True)
class Typed:
    """Exceptions from how an option is derived from its field.

    Attributes:
        flags: the flags, in place of ``--name``.
        envvar: an environment variable that sets it.
        values: the values that a shell completes.
    """

    flags: tuple[str, ...] = ()
    envvar: str | None = None
    values: Callable[[], Sequence[str]] | None = None


TYPED = {
    "recursive": Typed(("--recursive", "-r")),
    "explained_by": Typed(("--method",), values=lambda: EXPLANATIONS),
    "formats": Typed(("--format",)),
    "source_format": Typed(("--from",)),
    "token": Typed(envvar="OVSEG_SERVE_TOKEN"),
    "label_studio_token": Typed(envvar="OVSEG_LABEL_STUDIO_TOKEN"),
    "method": Typed(values=lambda: METHODS),
    "segmenter": Typed(values=list_segmenters),
    "vocabulary": Typed(values=list_vocabularies),
}


def required(kind: Kind, help: str) -> str:
    """A field of a command's own option class without a default."""
    return field(metadata={"option": Option(kind, help, OWN)})


def with_options(
    *classes: type[Options], without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the fields of option classes to a command, which gets their objects as its first arguments.

    Args:
        classes: option classes.
        without: fields that the command does not offer.
    """
    listed = [[one for one in fields(made) if one.name not in without] for made in classes]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: object) -> None:
            FLAGS.update({one.name: _flags(one)[0].split("/")[0] for options in listed for one in options})
            objects = [made(**_read(own, given)) for made, own in zip(classes, listed, strict=True)]
            command(*objects, **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[len(classes) :]
        added = [parameter(one) for options in listed for one in options]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in [*own, *added]]
        vars(run)["__signature__"] = inspect.Signature(parameters)
        run.__doc__ = _unwrapped(command.__doc__ or "")
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _unwrapped(text: str) -> str:
    """Put each paragraph on one line, so that the help wraps it to the terminal's width."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _read(options: Sequence[Field[object]], given: dict[str, object]) -> dict[str, object]:
    """Move the fields of an option class out of ``given``; fields that were not typed are left out."""
    values: dict[str, object] = {}
    for one in options:
        value = given.pop(one.name)
        if isinstance(value, str):
            values[one.name] = option_of(one).kind.read(one.name, value)
        elif isinstance(value, (list, tuple)):
            if value:
                values[one.name] = value[0] if len(value) == 1 else tuple(value)
        elif value is not None:
            values[one.name] = value
    return values


def _flags(one: Field[object]) -> tuple[str, ...]:
    """The flags of an option; a switch that is on by default also has ``--no-NAME``."""
    flag = f"--{one.name.replace('_', '-')}"
    switch = f"{flag}/--no-{flag[2:]}" if one.default is True else flag
    return TYPED.get(one.name, Typed()).flags or (switch,)


def parameter(one: Field[object]) -> inspect.Parameter:
    """Convert a field of an option class to an option of the command line."""
    row, typed, default = option_of(one), TYPED.get(one.name, Typed()), one.default
    kind: Any = list[str] if row.kind.several else str | None
    if row.kind.several:
        default = [default] if isinstance(default, str) else [*cast("Sequence[str]", default)]
    elif isinstance(default, bool):
        kind = bool
    elif isinstance(default, (int, float)):
        default = str(default) if isinstance(default, int) else f"{default:g}"
    elif default is MISSING:
        kind, default = str, inspect.Parameter.empty
    elif not isinstance(default, str):  # None, or a list too long for the help
        default = None
    info = typer.Option(
        *_flags(one),
        help=row.help,
        rich_help_panel=row.panel,
        autocompletion=_completion(typed.values or (lambda: row.kind.choices)),
        metavar=row.kind.metavar,
        envvar=typed.envvar,
    )
    annotation = Annotated[kind, info]
    return inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _completion(values: Callable[[], Sequence[str]]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [value for value in values() if value.startswith(incomplete)]

    return complete


# -------------------------------------------------------------------------------------------- the group


class Commands(TyperGroup):
    """The group of all commands. Wrong arguments end with one line "error: …" and exit code 2."""

    def list_commands(self, ctx: Context) -> list[str]:
        """The commands' names, in the order of the overview."""
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Import a command's module and return the command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"ovseg.apps.cli.{COMMANDS[cmd_name][0]}")
        found = getattr(module, "lists" if cmd_name == "list" else cmd_name)  # "list" is Python's own
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False)
            found.command(cmd_name)(function)
        command = get_command(found)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the overview, which imports no command."""
        formatter.write(overview() + "\n")

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: object,
    ) -> NoReturn:
        """Run a command line and end the process; ``standalone_mode`` is ignored."""
        with whole_output():
            try:
                code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
            except SystemExit as stop:
                # rich and typer end with 1 if the pipe is closed, as with `--help | head -1`
                if isinstance(stop.__context__, BrokenPipeError):
                    raise stop.__context__ from None
                raise
            except OSError:
                raise
            except Exception as error:
                code = _said(error)
        sys.exit(code if isinstance(code, int) else 0)


def _said(error: Exception) -> int:
    """Print an error of the command line, and return the exit code. Other errors are raised again."""
    message = getattr(error, "format_message", None)
    if message is None:
        raise error
    if type(error).__name__ == "NoArgsIsHelpError":  # the help was printed already
        return 2
    text = " ".join(message().split())
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    note(f"error: {text[:1].lower()}{text[1:].rstrip('.')} (--help lists what there is)")
    return 2


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ovseg {ovseg.__version__}")
        raise typer.Exit


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _general(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
