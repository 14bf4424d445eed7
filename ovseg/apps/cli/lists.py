"""``ovseg list``, ``ovseg models`` and ``ovseg demo``: available names, weights, and a demonstration."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ovseg.apps.cli.inputs import check_out
from ovseg.apps.cli.loading import (
    EXPLANATIONS,
    METHODS,
    little_known,
    load_model,
    load_segmenter,
    say_loading,
)
from ovseg.apps.cli.shared import err, note, out, reported, tell
from ovseg.options import ModelOptions, SegmenterOptions

if TYPE_CHECKING:
    from ovseg.weights.known import Known
    from ovseg.weights.sources import Source

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
    _print(METHODS)


@lists.command("explanations")
@reported
def list_explanations() -> None:
    """Explanations, for --method and --compare of ``ovseg explain``.

    Example: ovseg list explanations
    """
    _print(EXPLANATIONS)


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


# ---------------------------------------------------------------------------------------------- weights

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
    from rich.console import Console
    from rich.table import Table

    from ovseg.weights import store
    from ovseg.weights.known import KNOWN

    table = Table("model", "weights", "licence", "MB", "sha256", "on disk", box=None)
    for row in KNOWN:
        origin = _origin(row)
        size = "" if row.megabytes is None else str(row.megabytes)
        here = "yes" if origin.find() else "no"
        table.add_row(row.name, _title(row), row.licence, size, _checksum(row, origin), here)
    # Names are meant to be copied: a narrow terminal wraps them, but truncates none.
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
def models_pull(
    model: WeightsModel,
    tag: WeightsTag = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never ask the network.")] = False,
) -> None:
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
    """Switch off the bars of huggingface_hub, which it also draws into files and pipes."""
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
    """The sources of a model's weights; an embedded name has two, the CLIP and the segmenter."""
    from ovseg.weights import store
    from ovseg.weights.known import ASSETS, DEFAULT_TAG, check_model

    own: list[Source] = [store.embedded(row.family, row.name) for row in ASSETS if row.name == model]
    if own and tag is None:
        return own
    if not store.needs_tag(model):
        return [store.source(model, tag)]
    return [store.source(check_model(model), tag or DEFAULT_TAG)]


# ------------------------------------------------------------------------------------------------- demo


@reported
def demo(
    out_folder: Annotated[str, typer.Option("--out", help="Folder for the results.")] = "ovseg-out",
) -> None:
    """Segment, explain and mask generated scenes and a few photographs.

    Example: ovseg demo --out pictures

    Prints each picture's path and what it shows. The photographs come from scikit-image and matplotlib, where
    these are installed.
    """
    folder = check_out(out_folder)
    models, segmenter = ModelOptions(), SegmenterOptions()
    model, sam = load_model(models), load_segmenter(segmenter, models)
    from ovseg.apps.demo import missing, run

    for path, what in run(model, sam, folder):
        tell(f"{path.resolve()}: {what}")
    if missing():
        note(f"note: {missing()} photographs are left out: pip install scikit-image brings them")
    for line in little_known(models):
        note(line)
