"""``ovseg mask``: a text to masks, through points and a promptable segmenter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovseg.apps.cli.inputs import (
    DEFAULT_OUT,
    Out,
    Recursive,
    VocabularyName,
    check_out,
    open_image,
    read_inputs,
)
from ovseg.apps.cli.loading import (
    DEFAULT,
    MethodName,
    ModelName,
    SegmenterName,
    SegmenterWeights,
    little_known,
    load_model,
    load_segmenter,
)
from ovseg.apps.cli.loop import progress_bar, run_images
from ovseg.apps.cli.mask_files import Image, remember, write_masks
from ovseg.apps.cli.options import with_options
from ovseg.apps.cli.records import beside, record_of_run, slug
from ovseg.apps.cli.shared import reported
from ovseg.files.paths import shown
from ovseg.files.sizes import shrunk, shrunk_labels, viewing_size
from ovseg.options import LoadOptions, MaskOptions
from ovseg.words.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.masks import TextMasks

VIEW = 2048
"""Long side in pixels of the picture with all masks; the masks themselves have the image's size."""
TAKES = 30
"""Bytes of memory for each pixel of a large image, measured with GrabCut."""
DEFAULT_SEGMENTER = "tiny"


@reported
@with_options(LoadOptions, MaskOptions)
def mask(
    loading: LoadOptions,
    options: MaskOptions,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE... TEXTS",
            help="Images or folders, then the texts: 'bench, person+dog'.",
            show_default=False,
        ),
    ],
    out_folder: Out = DEFAULT_OUT,
    vocabulary: VocabularyName = None,
    recursive: Recursive = False,
    model: ModelName = DEFAULT,
    method: MethodName = "clip_surgery",
    segmenter: SegmenterName = DEFAULT_SEGMENTER,
    segmenter_weights: SegmenterWeights = None,
) -> None:
    """Make masks of what a text names, or say that it is not there.

    Example: ovseg mask photo.jpg "bench, person+dog"

    "person+dog" is one target. A line is printed for each text. Writes NAME.TEXT.1.png ... (255 on the
    object), NAME.TEXTS.masks.png (the image with masks and points) and NAME.masks.json (scores, presence,
    points, reasons, also of the texts of earlier runs on this image). From a vocabulary, the first text of
    each class is taken, without the background class.
    """
    folder = check_out(out_folder)
    given = read_inputs(images, vocabulary, recursive)
    texts = list(given.names.names) if vocabulary is None else first_texts(given.names)
    ready = load_model(model, method, loading)
    chosen = as_weights("segmenter_weights", segmenter_weights) if segmenter_weights is not None else None
    ready.check_window(options)
    sam = load_segmenter(segmenter, chosen, loading)
    from ovseg.files.write import make_folder, write_picture
    from ovseg.masks import TextToMask
    from ovseg.results.masks import draw_masks

    finder = TextToMask(ready, sam, options=options)
    with progress_bar("prompts") as bar:
        asked = finder.ask(texts, progress=bar.to)
    run = {
        **record_of_run("mask", ready, loading, finder.options, given.names),
        "segmenter": sam.name,
        "segmenter_weights": chosen,
    }
    make_folder(folder)

    def work(file: Path) -> Iterator[str]:
        image = open_image(file, TAKES)
        target = folder / given.stems[file]
        make_folder(target.parent)
        answers = finder.predict_texts(image, asked)
        entries = [found.describe(write_masks(target, found)) for found in answers]
        picture = draw_masks(*for_viewing(image, answers))
        write_picture(beside(target, f".{slug(texts)}.masks.png"), picture)
        remember(target, Image(file, (image.shape[0], image.shape[1])), entries, run)
        for found in answers:
            yield f"{shown(file)}: {found.text}: {outcome(found, options.presence_threshold)}"

    run_images(list(given.stems), work, folder, little_known(model, loading.weights, segmenter, chosen))


def first_texts(names: Vocabulary) -> list[str]:
    """The text that stands for each class of a vocabulary; the background is no object and left out."""
    texts = [row[0] for index, row in enumerate(names.texts) if index != names.background]
    return list(dict.fromkeys(texts))


def outcome(found: TextMasks, wanted: float) -> str:
    """What came of one text, for people."""
    if len(found.masks):
        count = f"{len(found.masks)} mask" + ("s" if len(found.masks) > 1 else "")
        scores = ", ".join(f"{float(score):.2f}" for score in found.scores)
        return f"{count}, score {scores}" + (f" ({found.reason})" if found.reason else "")
    if all(share < wanted for share in found.presence.values()):
        # Rounded down: 0.499 is below 0.5 and has to look like it.
        shares = [
            f"{name + ': ' if len(found.presence) > 1 else ''}presence {math.floor(share * 100) / 100:.2f}"
            for name, share in found.presence.items()
        ]
        return f"not there ({', '.join(shares)}, expected {wanted:g})"
    return f"no mask ({found.reason})"


def for_viewing(
    image: NDArray[np.uint8], answers: Sequence[TextMasks]
) -> tuple[NDArray[np.uint8], list[TextMasks]]:
    """An image and its masks with a long side of at most ``VIEW`` pixels."""
    size = viewing_size(image.shape, VIEW)
    if size == image.shape[:2]:
        return image, list(answers)
    return shrunk(image, size), [_shrunk(found, size) for found in answers]


def _shrunk(found: TextMasks, size: tuple[int, int]) -> TextMasks:
    import numpy as np

    from ovseg.results.types import PointPrompts

    scale = np.array([size[1] / found.masks.shape[2], size[0] / found.masks.shape[1]], np.float32)
    masks = np.array([shrunk_labels(one.view(np.uint8), size) for one in found.masks], bool)
    candidates = tuple(
        replace(one, prompts=PointPrompts(one.prompts.xy * scale, one.prompts.labels))
        for one in found.candidates
    )
    return replace(found, masks=masks.reshape(-1, *size), candidates=candidates)
