"""The options of ``ovseg.options`` on the command line.

A command names its option classes, ``@with_options(LoadOptions, SegmentOptions)``, and gets their objects.
Names, defaults, checks, help lines and how a value is typed are the classes' own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Annotated

import typer

from ovseg.options import Options
from ovseg.options.fields import option_of

LISTS = ("templates",)
"""Options that may be given several times."""
SWITCHES = {"cache": "--cache/--no-cache", "refine": "--refine/--no-refine"}


def with_options(
    *classes: type[Options], without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of some classes, and their objects as its first arguments.

    Args:
        classes: option classes of ``ovseg.options``.
        without: fields that this command has in another form, or not at all.
    """
    names = [[name for name in one.names() if name not in without] for one in classes]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: object) -> None:
            objects = [
                read_options(one, {name: given.pop(name) for name in own})
                for one, own in zip(classes, names, strict=True)
            ]
            command(*objects, **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[len(classes) :]
        added = [parameter(one, name) for one, listed in zip(classes, names, strict=True) for name in listed]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in [*own, *added]]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__doc__ = unwrapped(command.__doc__ or "")
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def unwrapped(text: str) -> str:
    """Paragraphs of one line each, which the help wraps to the terminal."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def read_options(made: type[Options], typed: dict[str, object]) -> Options:
    """The object of an option class from what was typed; None and no text stand for "not given"."""
    kinds = {one.name: option_of(one).kind for one in fields(made)}
    values: dict[str, object] = {}
    for name, value in typed.items():
        if isinstance(value, str):
            values[name] = kinds[name].read(name, value)
        elif isinstance(value, (list, tuple)):
            if value:
                values[name] = value[0] if len(value) == 1 else tuple(value)
        elif value is not None:
            values[name] = value
    return made.make(None, values)


def parameter(options: type[Options], name: str) -> inspect.Parameter:
    """One field of an option class as an option of the command line, with the class's default."""
    one = next(field for field in fields(options) if field.name == name)
    row, default = option_of(one), one.default
    kind: object = list[str] if name in LISTS else bool if isinstance(default, bool) else str | None
    if name in LISTS:
        default = [default]
    elif isinstance(default, (int, float)) and not isinstance(default, bool):
        default = str(default) if isinstance(default, int) else f"{default:g}"
    elif not isinstance(default, (bool, str)):  # None, or words that would fill the screen
        default = None
    info = typer.Option(
        SWITCHES.get(name, f"--{name.replace('_', '-')}"),
        help=row.help,
        rich_help_panel=row.panel,
        autocompletion=_completion(row.kind.choices) if row.kind.choices else None,
        metavar=row.kind.metavar,
    )
    annotation = Annotated[kind, info]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete
