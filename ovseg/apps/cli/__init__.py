"""The command line: segment, explain, recognize, mask, annotate, page, review, convert, serve, list, models
and demo.

No command loads torch before its arguments have been checked, and ``--help`` never does.
"""

from __future__ import annotations

from typing import Annotated

import typer

import ovseg
from ovseg.apps.cli.annotate import annotate
from ovseg.apps.cli.explain import explain
from ovseg.apps.cli.group import OneLineGroup
from ovseg.apps.cli.inputs import DEFAULT_OUT, Out, check_out
from ovseg.apps.cli.lists import lists
from ovseg.apps.cli.loading import DEFAULT, little_known, say_loading
from ovseg.apps.cli.mask import mask
from ovseg.apps.cli.models import models
from ovseg.apps.cli.page import page
from ovseg.apps.cli.recognize import recognize
from ovseg.apps.cli.review import convert, review
from ovseg.apps.cli.segment import segment
from ovseg.apps.cli.serve import serve
from ovseg.apps.cli.shared import note, reported, tell

app = typer.Typer(
    cls=OneLineGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find image regions by their names, with a frozen CLIP and no training.\n\n"
    'Example: ovseg segment photo.jpg "sky, tree, building"\n\n'
    "Without --model, the small embedded model is used, which is made for trying out.",
)
for command in (segment, explain, recognize, mask, annotate, page, review, convert, serve):
    app.command()(command)
app.add_typer(lists, name="list")
app.add_typer(models, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ovseg {ovseg.__version__}")
        raise typer.Exit


@app.callback()
def _general(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
@reported
def demo(out_folder: Out = DEFAULT_OUT) -> None:
    """Segment, explain and mask generated scenes and a few photographs; print the pictures' paths.

    Example: ovseg demo --out pictures

    The photographs come from scikit-image and matplotlib, where these are installed.
    """
    folder = check_out(out_folder)
    say_loading("the embedded model")
    from ovseg.apps.demo import missing, run
    from ovseg.model import load_model
    from ovseg.segmenters.load import load_segmenter

    for path, what in run(load_model(), load_segmenter(), folder):
        tell(f"{path.resolve()}: {what}")
    if missing():
        note(f"note: {missing()} photographs are left out: pip install scikit-image brings them")
    for line in little_known(DEFAULT):
        note(line)


def main() -> None:
    """Run the command line of this process."""
    app()
