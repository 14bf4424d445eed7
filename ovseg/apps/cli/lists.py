"""``ovseg list``: the names that the other commands take."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from ovseg.apps.cli.loading import say_loading
from ovseg.apps.cli.shared import reported, tell

lists = typer.Typer(
    no_args_is_help=True,
    help="List the names that other commands take, one a line.\n\nExample: ovseg list vocabularies",
)


@lists.command("models")
@reported
def list_models() -> None:
    """Models by name, each with the tags of its weights.

    Example: ovseg list models | grep openai

    The licences and files of the best known are shown by: ovseg models list
    """
    say_loading("open_clip's list")
    from ovseg.clip.models import list_models as listed

    _print(f"{name} {' '.join(tags)}".rstrip() for name, tags in listed().items())


@lists.command("methods")
@reported
def list_methods() -> None:
    """Methods, for --method.

    Example: ovseg list methods
    """
    say_loading("the methods")
    from ovseg.clip.attention import list_methods as listed

    _print(listed())


@lists.command("explanations")
@reported
def list_explanations() -> None:
    """Explanations, for --method and --compare of ``ovseg explain``.

    Example: ovseg list explanations
    """
    say_loading("the explanations")
    from ovseg.explanation import list_explanations as listed

    _print(listed())


@lists.command("segmenters")
@reported
def list_segmenters() -> None:
    """Segmenters, for --segmenter; "hf:" is followed by a folder or a repository of transformers'.

    Example: ovseg list segmenters
    """
    from ovseg.segmenters.load import list_segmenters as listed

    _print(listed())


@lists.command("vocabularies")
@reported
def list_vocabularies() -> None:
    """Vocabularies that are in the package, for --vocabulary.

    Example: ovseg list vocabularies
    """
    from ovseg.words.vocabulary import list_vocabularies as listed

    _print(listed())


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        if not tell(line):
            return
