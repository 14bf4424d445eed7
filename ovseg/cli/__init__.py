"""The command line: ovseg segment | explain | recognize | mask | models | demo.

Only typer and rich are imported here; torch comes when a command starts its work.
Exit codes: 0 done, 1 something failed during the run (the rest was done), 2 misuse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovseg.cli import maps
from ovseg.cli.mask import mask
from ovseg.cli.models import models
from ovseg.cli.shared import out, reported

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Words into image regions with a frozen CLIP and no training.\n\n"
    "The embedded model is used unless --model names another; it is small and made for trying out.",
)
for command in (maps.segment, maps.explain, maps.recognize, mask):
    app.command()(command)
app.add_typer(models, name="models")


@app.command()
@reported
def demo(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the pictures.")] = Path("ovseg-out"),
) -> None:
    """Segment, explain and mask generated scenes and a few photographs; prints the pictures' paths."""
    from ovseg.demo import run
    from ovseg.model import load_model
    from ovseg.segmenters.load import load_segmenter

    for path in run(load_model(), load_segmenter(), out_folder):
        out.print(str(path.resolve()), markup=False, highlight=False)


def main() -> None:
    app()
