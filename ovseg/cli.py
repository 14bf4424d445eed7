"""The command line: ovseg segment | explain | recognize | models | demo.

Only typer and rich are imported at the top; torch comes when a command starts its work.
Exit codes: 0 done, 1 something failed during the run (the rest was done), 2 misuse.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ovseg.errors import OvsegError, OvsegWarning, UsageError

if TYPE_CHECKING:
    import numpy as np

    from ovseg.model import Model
    from ovseg.vocabulary import Vocabulary

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Words into image regions with a frozen CLIP and no training.\n\n"
    "The embedded model is used unless --model names another; it is small and made for trying out.",
)
models = typer.Typer(no_args_is_help=True, help="Weights: what is known, what is on disk, and fetching it.")
app.add_typer(models, name="models")
out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)

Images = Annotated[
    list[str], typer.Argument(metavar="IMAGE… NAMES", help="Images or folders, then the names: 'sky, tree'.")
]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
ModelName = Annotated[str, typer.Option("--model", help="'tiny' (embedded) or a name of open_clip's.")]
Pretrained = Annotated[str | None, typer.Option(help="open_clip tag or checkpoint file, e.g. openai.")]
MethodName = Annotated[
    str, typer.Option(help="clip, maskclip, clip_surgery, gem, sclip, clearclip, naclip, segearth.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")]
Precision = Annotated[str, typer.Option(help="fp32, bf16, or fp16 on a GPU.")]
SizeText = Annotated[
    str | None, typer.Option("--size", help="Encoder input: 512 for a square, 384x512 for height x width.")
]
Templates = Annotated[
    str, typer.Option(help="Prompts: paper (85), imagenet (80), plain, or 'a photo of a {}'.")
]
VocabularyName = Annotated[
    str | None, typer.Option("--vocabulary", help="A data set's names or a file instead of NAMES.")
]
Npz = Annotated[bool, typer.Option("--npz", help="Also write the arrays.")]
Json = Annotated[bool, typer.Option("--json", help="Also write a JSON per image.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
Cache = Annotated[bool, typer.Option("--cache/--no-cache", help="Keep text features on disk.")]


def _reported(command: Callable[..., None]) -> Callable[..., None]:
    """ovseg's errors become one line and their exit code; so do its warnings, without the code."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other packages' warnings are for developers
            warnings.simplefilter("always", OvsegWarning)
            warnings.showwarning = lambda message, *_, **__: err.print(f"warning: {message}", markup=False)
            try:
                command(*args, **options)
            except OvsegError as error:
                _say(error)
                raise typer.Exit(error.exit_code) from None
            except KeyboardInterrupt:
                err.print("stopped; what was finished is kept")
                raise typer.Exit(130) from None

    return run


def _say(error: Exception) -> None:
    err.print(f"error: {' '.join(str(error).split())}", markup=False, highlight=False)


@app.command()
@_reported
def segment(
    images: Images,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("ovseg-out"),
    model: ModelName = "tiny",
    pretrained: Pretrained = None,
    method: MethodName = "clip_surgery",
    device: Device = "cpu",
    precision: Precision = "fp32",
    size: SizeText = None,
    window: Annotated[int | None, typer.Option(help="Sliding windows of this many pixels.")] = None,
    stride: Annotated[int | None, typer.Option(help="Their stride; default: the window, no overlap.")] = None,
    background: Annotated[
        str | None, typer.Option(help="A probability below which a pixel is void, or words: 'wall, floor'.")
    ] = None,
    scale: Annotated[float, typer.Option(help="Times cosine before the softmax.")] = 50.0,
    templates: Templates = "paper",
    vocabulary: VocabularyName = None,
    npz: Npz = False,
    json: Json = False,
    offline: Offline = False,
    cache: Cache = True,
) -> None:
    """A label for every pixel.

    ovseg segment photo.jpg "sky, tree, building"

    Writes NAME.labels.png (class indices, with palette) and NAME.overlay.png (picture with legend).
    """
    files, names = _images_and_names(images, vocabulary)
    options = {
        "size": _size(size),
        "window": window,
        "stride": stride,
        "background": _background(background),
        "scale": scale,
        "templates": templates,
    }
    from ovseg import figures
    from ovseg.files import write_arrays, write_json, write_labels, write_picture

    ready = _load(model, pretrained, method, device, precision, offline, cache)
    ready.encode_text(names.flat, templates)  # a name that is too long is misuse, not a bad image

    def work(image: np.ndarray, target: Path) -> None:
        found = ready.segment(image, names, **options)
        colours = figures.palette(len(found.names))
        shares = found.shares()
        entries = [(n, tuple(colours[found.names.index(n)].tolist())) for n in shares]
        picture = figures.overlay_labels(image, found.labels, colours)
        write_labels(_add(target, ".labels.png"), found.labels, colours)
        write_picture(_add(target, ".overlay.png"), figures.with_legend(picture, entries))
        if npz:
            write_arrays(_add(target, ".npz"), labels=found.labels, names=list(found.names))
        if json:
            content = {"names": found.names, "void": found.void, "shares": shares, "method": method}
            write_json(_add(target, ".json"), content)

    _run(files, out_folder, work)


@app.command()
@_reported
def explain(
    images: Images,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("ovseg-out"),
    model: ModelName = "tiny",
    pretrained: Pretrained = None,
    method: MethodName = "clip_surgery",
    surgery: Annotated[str, typer.Option(help="empty, label_set, label_set_code or none.")] = "empty",
    device: Device = "cpu",
    precision: Precision = "fp32",
    size: SizeText = None,
    templates: Templates = "paper",
    vocabulary: VocabularyName = None,
    npz: Npz = False,
    json: Json = False,
    offline: Offline = False,
    cache: Cache = True,
) -> None:
    """Where CLIP sees each text.

    ovseg explain photo.jpg "tree"

    Writes NAME.explain.png: the image and a heat map for each text, blue 0 to red 1 of its own range.
    """
    files, names = _images_and_names(images, vocabulary)
    from ovseg import figures
    from ovseg.files import write_arrays, write_json, write_picture

    chosen = None if surgery == "none" else surgery
    shape = _size(size)
    ready = _load(model, pretrained, method, device, precision, offline, cache)
    ready.check_surgery(chosen, names)
    ready.encode_text(names.names, templates)

    def work(image: np.ndarray, target: Path) -> None:
        found = ready.similarity(image, names, surgery=chosen, size=shape, templates=templates)
        shown = [figures.titled(image, "image")]
        shown += [figures.titled(figures.overlay_heat(image, found[n]), n) for n in found.names]
        rows = [shown[i : i + 5] for i in range(0, len(shown), 5)]
        write_picture(_add(target, ".explain.png"), figures.grid(rows))
        if npz:
            write_arrays(_add(target, ".npz"), values=found.values, raw=found.raw, names=list(found.names))
        if json:
            peaks = {
                n: {"low": float(r.min()), "high": float(r.max())} for n, r in zip(names.names, found.raw)
            }
            write_json(_add(target, ".json"), {"surgery": surgery, "method": method, "similarity": peaks})

    _run(files, out_folder, work)


@app.command()
@_reported
def recognize(
    images: Images,
    model: ModelName = "tiny",
    pretrained: Pretrained = None,
    surgery: Annotated[str, typer.Option(help="label_set, empty, softmax or none.")] = "label_set",
    device: Device = "cpu",
    precision: Precision = "fp32",
    templates: Templates = "paper",
    vocabulary: VocabularyName = None,
    top: Annotated[int, typer.Option(help="How many names to print for each image.")] = 5,
    offline: Offline = False,
    cache: Cache = True,
) -> None:
    """What is in each picture: the best names with their scores, one line an image.

    ovseg recognize photos/ "dog, cat, car"
    """
    files, names = _images_and_names(images, vocabulary)
    from ovseg.images import load_image

    chosen = None if surgery == "none" else surgery
    ready = _load(model, pretrained, "clip_surgery", device, precision, offline, cache)
    ready.encode_text(names.names, templates)
    failed = 0
    for file in files:
        try:
            scores = ready.recognize(load_image(file), names, surgery=chosen, templates=templates)
        except OvsegError as error:
            if error.exit_code == 2:
                raise
            _say(error)
            failed += 1
            continue
        best = (-scores).argsort()[:top]
        line = ", ".join(f"{names.names[k]} {scores[k]:.3f}" for k in best)
        out.print(f"{file}: {line}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(1)


@app.command()
@_reported
def demo(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the picture.")] = Path("ovseg-out"),
) -> None:
    """Segment and explain generated scenes and a few photographs; prints the path of the picture."""
    from ovseg.demo import run
    from ovseg.model import load

    out.print(str(run(load(), out_folder).resolve()), markup=False, highlight=False)


@models.command("list")
@_reported
def models_list() -> None:
    """Known weights: licence, size, sha256 where published, and whether they are on disk."""
    from ovseg.clip import weights

    table = Table("model", "weights", "licence", "MB", "sha256", "on disk", box=None)
    table.add_row("tiny", "embedded", "research data", "4", "", "yes")
    for row in weights.KNOWN:
        sha256 = weights.published_sha256(row.model, row.tag)
        here = "yes" if weights.find(row.model, row.tag) else "no"
        table.add_row(
            row.model, row.tag, row.licence, str(row.megabytes), (sha256 or "on the hub")[:12], here
        )
    out.print(table)
    out.print(f"folder: {weights.folder()} (set OVSEG_HOME to move it)", markup=False, highlight=False)


WeightsModel = Annotated[str, typer.Argument(help="open_clip's name, e.g. ViT-B-16.")]
WeightsTag = Annotated[str, typer.Argument(help="open_clip's tag.")]


@models.command("pull")
@_reported
def models_pull(model: WeightsModel, tag: WeightsTag = "openai", offline: Offline = False) -> None:
    """Download weights; a download that was cut off goes on where it stopped."""
    from ovseg.clip import weights

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(f"{model} {tag}", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        path = weights.pull(model, tag, offline=offline, progress=show)
    out.print(str(path), markup=False, highlight=False)


@models.command("verify")
@_reported
def models_verify(model: WeightsModel, tag: WeightsTag = "openai") -> None:
    """Compare the file on disk with its published sha256."""
    from ovseg.clip import weights

    out.print(weights.verify(model, tag), markup=False, highlight=False)


@models.command("path")
@_reported
def models_path(model: WeightsModel, tag: WeightsTag = "openai") -> None:
    """Where the weights lie, or would."""
    from ovseg.clip import weights

    out.print(str(weights.find(model, tag) or weights.path(model, tag)), markup=False, highlight=False)


# ------------------------------------------------------------------------------------------- shared


def _images_and_names(arguments: Sequence[str], vocabulary: str | None) -> tuple[list[Path], Vocabulary]:
    from ovseg.images import find_images
    from ovseg.vocabulary import as_vocabulary, load_vocabulary

    paths = list(arguments)
    if vocabulary is not None:
        names = load_vocabulary(vocabulary)
    elif len(paths) < 2:
        raise UsageError(f"wanted images and then the names, got only {paths[0]!r}")
    else:
        names = as_vocabulary(paths.pop())
    files, empty = find_images(paths)
    if empty and not files:
        raise UsageError(empty[0])
    for line in empty:
        err.print(f"warning: {line}", markup=False)
    return files, names


def _load(
    name: str, pretrained: str | None, method: str, device: str, precision: str, offline: bool, cache: bool
) -> Model:
    from ovseg.clip.embedded import NAME
    from ovseg.model import load

    if name != NAME and pretrained is None:
        raise UsageError(
            f"wanted --pretrained (a tag or a file) with --model {name}: random weights see nothing"
        )
    return load(
        name, pretrained, method=method, device=device, precision=precision, cache=cache, offline=offline
    )


def _size(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise UsageError(f"wanted --size 512 or 384x512 (height x width), got {text!r}")
    values = [int(part) for part in parts]
    return values[0] if len(values) == 1 else (values[0], values[1])


def _background(text: str | None) -> float | list[str] | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return [word.strip() for word in text.split(",")]


def _add(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)


def _run(files: list[Path], folder: Path, work: Callable[[np.ndarray, Path], None]) -> None:
    """Every image through ``work``; what fails is said and counted, the rest is done."""
    from ovseg.files import make_folder
    from ovseg.images import load_image, output_stems

    make_folder(folder)
    failed = 0
    for file, stem in _tracked(list(output_stems(files).items())):
        try:
            work(load_image(file), folder / stem)
        except OvsegError as error:
            if error.exit_code == 2:  # the call is wrong, and would be for every image
                raise
            _say(error)
            failed += 1
    done = len(files) - failed
    out.print(f"{done} of {len(files)} images, results in {folder}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(1)


def _tracked(items: list[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not sys.stderr.isatty()) as progress:
        yield from progress.track(items, description="images")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
