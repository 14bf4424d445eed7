"""ovseg models list | pull | verify | path: the store of weights. No command but a hub's file needs torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ovseg.apps.cli.shared import Offline, err, out, reported

if TYPE_CHECKING:
    from ovseg.weights.known import Known
    from ovseg.weights.sources import Source

models = typer.Typer(no_args_is_help=True, help="Weights: what is known, what is on disk, and fetching it.")

WeightsModel = Annotated[
    str,
    typer.Argument(
        help="open_clip's name, e.g. ViT-B-16; or small, tiny, vit_b, vit_l, vit_h, mobile, hf:org/name, "
        "hf-hub:org/name."
    ),
]
WeightsTag = Annotated[
    str | None, typer.Argument(help="open_clip's tag, 'openai' where none is given.", show_default=False)
]


@models.command("list")
@reported
def models_list() -> None:
    """List known weights: licence, size, SHA-256 where published, and whether they are on disk.

    Example: ovseg models list
    """
    from ovseg.weights import store
    from ovseg.weights.known import KNOWN

    table = Table("model", "weights", "licence", "MB", "sha256", "on disk", box=None)
    for row in KNOWN:
        origin = _origin(row)
        size = "" if row.megabytes is None else str(row.megabytes)
        here = "yes" if origin.find() else "no"
        table.add_row(row.name, _title(row), row.licence, size, _checksum(row, origin), here)
    # Names are there to be copied: a narrow terminal may wrap them, but none is cut short.
    Console(soft_wrap=True, width=max(out.width, 110)).print(table)
    out.print(
        "any other name and tag of open_clip's works too: ovseg list models", markup=False, highlight=False
    )
    out.print(f"folder: {store.folder()} (set OVSEG_HOME to move it)", markup=False, highlight=False)


def _origin(row: Known) -> Source:
    from ovseg.weights import store
    from ovseg.weights.known import EMBEDDED

    return store.embedded(row.family, row.name) if row.name in EMBEDDED else store.source(row.name, row.tag)


def _title(row: Known) -> str:
    if row.tag == "embedded":
        return f"embedded ({row.family})"
    return row.tag or (row.address.rpartition("/")[2] if row.address else "transformers")


def _checksum(row: Known, origin: Source) -> str:
    known = row.sha256 or getattr(origin, "sha256", None)
    return known[:12] if known else "on the hub"


@models.command("pull")
@reported
def models_pull(model: WeightsModel, tag: WeightsTag = None, offline: Offline = False) -> None:
    """Download weights; a download that was cut off goes on where it stopped.

    Example: ovseg models pull vit_b
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    terminal = sys.stderr.isatty()
    if not terminal:
        _silence_the_hub()
    paths: list[Path] = []
    with Progress(*columns, console=err, transient=True, disable=not terminal) as progress:
        task = progress.add_task(f"{model} {tag or ''}".strip(), total=None, visible=False)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None, visible=True)

        paths.extend(one.pull(offline=offline, progress=show) for one in _sources(model, tag))
    for path in paths:
        out.print(str(path), markup=False, highlight=False)


def _silence_the_hub() -> None:
    """huggingface_hub draws its own bars, also into files and pipes."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()


@models.command("verify")
@reported
def models_verify(model: WeightsModel, tag: WeightsTag = None) -> None:
    """Compare the file on disk with its published SHA-256.

    Example: ovseg models verify ViT-B-16 openai
    """
    for origin in _sources(model, tag):
        out.print(origin.verify(), markup=False, highlight=False)


@models.command("path")
@reported
def models_path(model: WeightsModel, tag: WeightsTag = None) -> None:
    """Print where the weights are, or would be.

    Example: ovseg models path ViT-B-16 openai
    """
    for origin in _sources(model, tag):
        out.print(str(origin.find() or origin.path()), markup=False, highlight=False)


def _sources(model: str, tag: str | None) -> list[Source]:
    """Where the weights of a name come from; "tiny" is the name of two embedded models, CLIP and SAM."""
    from ovseg.weights import store
    from ovseg.weights.known import DEFAULT_TAG, TINY, check_model

    if model == TINY and tag is None:
        return [store.embedded("clip"), store.embedded("segmenter")]
    if not store.needs_tag(model):
        return [store.source(model, tag)]
    return [store.source(check_model(model), tag or DEFAULT_TAG)]
