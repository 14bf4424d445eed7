"""ovseg models list | pull | verify | path: weight files."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ovseg.cli.shared import Offline, err, out, reported

models = typer.Typer(no_args_is_help=True, help="Weights: what is known, what is on disk, and fetching it.")


@models.command("list")
@reported
def models_list() -> None:
    """Known weights: licence, size, sha256 where published, and whether they are on disk."""
    from ovseg.weights import clip as weights
    from ovseg.weights import segmenters as sam

    table = Table("model", "weights", "licence", "MB", "sha256", "on disk", box=None)
    table.add_row("tiny", "embedded", "research data", "4", "", "yes")
    for row in weights.KNOWN:
        sha256 = weights.published_sha256(row.model, row.tag)
        here = "yes" if weights.find(row.model, row.tag) else "no"
        table.add_row(
            row.model, row.tag, row.licence, str(row.megabytes), (sha256 or "on the hub")[:12], here
        )
    for name, file in sam.OFFICIAL.items():
        here = "yes" if sam.find(name) else "no"
        table.add_row(name, file.file, file.licence, str(file.megabytes), file.sha256[:12], here)
    for name in (f"{sam.HUB}{repository}" for repository in sam.REPOSITORIES):
        here = "yes" if sam.find(name) else "no"
        table.add_row(name, "transformers", "see its card", "", "on the hub", here)
    # Names are there to be copied: a narrow terminal may wrap them, but none is cut short.
    Console(soft_wrap=True, width=max(out.width, 110)).print(table)
    out.print(f"folder: {weights.folder()} (set OVSEG_HOME to move it)", markup=False, highlight=False)


WeightsModel = Annotated[
    str,
    typer.Argument(help="open_clip's name, e.g. ViT-B-16; or vit_b, vit_l, vit_h, mobile, hf:REPOSITORY."),
]
WeightsTag = Annotated[str, typer.Argument(help="open_clip's tag.")]


@models.command("pull")
@reported
def models_pull(model: WeightsModel, tag: WeightsTag = "openai", offline: Offline = False) -> None:
    """Download weights; a download that was cut off goes on where it stopped.

    SAM's and MobileSAM's official files are put in place by hand: this says where, or checks them.
    """
    from ovseg.weights import segmenters as sam

    if sam.knows(model):
        out.print(str(sam.pull(model, offline=offline)), markup=False, highlight=False)
        return
    from ovseg.weights import clip as weights

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(f"{model} {tag}", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        path = weights.pull(model, tag, offline=offline, progress=show)
    out.print(str(path), markup=False, highlight=False)


@models.command("verify")
@reported
def models_verify(model: WeightsModel, tag: WeightsTag = "openai") -> None:
    """Compare the file on disk with its published sha256."""
    from ovseg.weights import segmenters as sam

    if sam.knows(model):
        out.print(sam.verify(model), markup=False, highlight=False)
        return
    from ovseg.weights import clip as weights

    out.print(weights.verify(model, tag), markup=False, highlight=False)


@models.command("path")
@reported
def models_path(model: WeightsModel, tag: WeightsTag = "openai") -> None:
    """Where the weights lie, or would."""
    from ovseg.weights import segmenters as sam

    if sam.knows(model):
        out.print(str(sam.find(model) or sam.path(model)), markup=False, highlight=False)
        return
    from ovseg.weights import clip as weights

    out.print(str(weights.find(model, tag) or weights.path(model, tag)), markup=False, highlight=False)
