"""``ovseg explain``: where each text is, as heat maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovseg.cli.inputs import (
    DEFAULT_OUT,
    Arguments,
    Json,
    Npz,
    Out,
    Recursive,
    VocabularyName,
    check_out,
    open_image,
    read_inputs,
)
from ovseg.cli.loading import EMBEDDED, MethodName, ModelName, encode_texts, little_known, load_model
from ovseg.cli.loop import run_images
from ovseg.cli.options import with_options
from ovseg.cli.pictures import shrunk, viewing_size
from ovseg.cli.records import beside, record_of_image, record_of_run, slug
from ovseg.cli.shared import note, reported
from ovseg.errors import OvsegError, UsageError
from ovseg.options import LoadOptions, SimilarityOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.results import SimilarityMap

CELL = 512
"""Long side in pixels of one picture on a sheet."""
COLUMNS, ROWS = 5, 4
TAKES = 8
"""Bytes of memory for each pixel of a large image, measured."""


@reported
@with_options(LoadOptions, SimilarityOptions)
def explain(
    loading: LoadOptions,
    options: SimilarityOptions,
    images: Arguments,
    out_folder: Out = DEFAULT_OUT,
    vocabulary: VocabularyName = None,
    recursive: Recursive = False,
    npz: Npz = False,
    full_size: Annotated[
        bool, typer.Option("--full-size", help="The NPZ file also holds the maps at the image's size.")
    ] = False,
    json: Json = False,
    model: ModelName = EMBEDDED,
    method: MethodName = "clip_surgery",
) -> None:
    """Show where CLIP sees each text.

    Example: ovseg explain photo.jpg "tree, sky"

    Writes sheets NAME.TEXTS.explain.png: the image and a heat map for each text, blue 0 to red 1 of its own
    range, 20 pictures a sheet, further sheets NAME.TEXTS.explain.2.png and so on. --npz writes the maps on
    the token grid. TEXTS stands for the texts, so a run with other texts replaces nothing.
    """
    if full_size and not npz:
        raise UsageError("--full-size wanted --npz with it")
    folder = check_out(out_folder)
    given = read_inputs(images, vocabulary, recursive)
    ready = load_model(model, method, loading)
    from ovseg.io.writers import make_folder, write_arrays, write_json, write_picture

    ready.check_window(options)
    ready.check_surgery(options.surgery, given.names)
    encode_texts(ready, given.names.flat, options.templates)
    run = record_of_run("explain", ready, loading, options, given.names) if json else {}
    tag = f".{slug(given.names.names)}.explain"
    make_folder(folder)

    def work(file: Path) -> Iterator[str]:
        image = open_image(file, TAKES)
        target = folder / given.stems[file]
        make_folder(target.parent)
        found = ready.similarity(
            image,
            given.names,
            surgery=options.surgery,
            size=options.size,
            window=options.window,
            stride=options.stride,
            batch=options.batch,
            resize=options.resize,
            templates=options.templates,
        )
        written = []
        for number, sheet in enumerate(sheets(image, found), 1):
            written.append(beside(target, f"{tag}.{number}.png" if number > 1 else f"{tag}.png"))
            write_picture(written[-1], sheet)
        if npz:
            written.append(beside(target, f"{tag}.npz"))
            write_arrays(written[-1], **arrays(found, full_size))
        if json:
            ranges = {
                name: {"low": float(grid.min()), "high": float(grid.max())}
                for name, grid in zip(found.names, found.grid_values, strict=True)
            }
            content = {**record_of_image(file, found.size, written), "similarity": ranges, **run}
            write_json(beside(target, f"{tag}.json"), content)
        return iter(())

    run_images(list(given.stems), work, folder, little_known(model, loading.weights))


def sheets(image: NDArray[np.uint8], found: SimilarityMap) -> Iterator[NDArray[np.uint8]]:
    """Pictures of at most ``COLUMNS`` times ``ROWS`` cells: the image, then the heat map of each text.

    Each is made when it is asked for, so memory does not depend on the number of texts or the image's size.
    """
    from ovseg import figures
    from ovseg.results import SimilarityMap

    size = viewing_size(image.shape, CELL)
    small = shrunk(image, size)
    step = COLUMNS * ROWS - 1
    for start in range(0, len(found), step):
        names = found.names[start : start + step]
        maps = SimilarityMap(found.grid_values[start : start + step], names, size).at(size)
        cells = [figures.titled(small, "image")]
        cells += [figures.titled(figures.overlay_heat(small, one), name) for one, name in zip(maps, names)]
        yield figures.grid([cells[first : first + COLUMNS] for first in range(0, len(cells), COLUMNS)])


def arrays(found: SimilarityMap, full_size: bool) -> dict[str, NDArray[np.generic]]:
    """What --npz writes. With ``full_size``, what it takes is said before it is taken.

    Raises:
        OvsegError: the maps at the image's size are larger than one array may be.
    """
    import numpy as np

    from ovseg.results import MAX_VALUES

    content: dict[str, NDArray[np.generic]] = {
        "grid_values": found.grid_values,
        "names": np.array(found.names),
        "size": np.array(found.size),
    }
    if full_size:
        count = len(found) * found.size[0] * found.size[1]
        takes = f"{len(found)} maps of {found.size[0]} x {found.size[1]} take {count * 4 / 1e9:.1f} GB"
        if count > MAX_VALUES:
            raise OvsegError(
                f"wanted at most {MAX_VALUES * 4 / 1e9:.1f} GB of maps, {takes}: ask for fewer texts"
            )
        if count * 4 > 1e9:
            note(f"note: {takes}")
        content["values"] = found.values
    return content
