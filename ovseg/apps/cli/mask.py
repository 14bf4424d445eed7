"""``ovseg mask``: masks of texts, through point prompts and a promptable segmenter.

Each image has one JSON file, which also keeps the texts of earlier runs.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ovseg.apps.cli.commands import with_options
from ovseg.apps.cli.inputs import ResultFiles, check_out, open_image, read_inputs
from ovseg.apps.cli.loading import check_models, little_known, load_model, load_segmenter, say_unknown
from ovseg.apps.cli.loop import Bar, Opened, Work, run_images
from ovseg.apps.cli.outputs import beside, record_of_run, slug
from ovseg.apps.cli.shared import note, reported
from ovseg.files.paths import sha256_of, shown
from ovseg.options import MaskOptions, ModelOptions, SegmenterOptions
from ovseg.words.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.masks import TextMasks

Content: TypeAlias = "dict[str, object]"
VIEW = 2048
"""Long side in pixels of the picture with all masks; the masks themselves have the image's size."""
TAKES = 30
"""Memory in bytes per pixel of a large image, measured with GrabCut."""
Texts = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE... TEXTS",
        help="Images or folders, then the texts: 'bench, person+dog'.",
        show_default=False,
    ),
]


@reported
@with_options(ModelOptions, SegmenterOptions, MaskOptions, ResultFiles)
def mask(
    models: ModelOptions, segmenter: SegmenterOptions, options: MaskOptions, files: ResultFiles, images: Texts
) -> None:
    """Make masks of what a text names, or say that it is not there.

    Example: ovseg mask photo.jpg "bench, person+dog"

    "person+dog" is one target. A line is printed for each text. Writes NAME.TEXT.1.png ... (255 on the
    object), NAME.TEXTS.masks.png (the image with masks and points) and NAME.masks.json (scores, presence,
    points, reasons, also of the texts of earlier runs on this image). From a vocabulary, the first text of
    each class is taken, without the background class.
    """
    folder = check_out(files.out)
    check_models(models, segmenter)
    given = read_inputs(images, files)
    texts = list(given.names.names) if files.vocabulary is None else first_texts(given.names)
    model, sam = load_model(models), load_segmenter(segmenter, models)
    from ovseg.files.write import make_folder
    from ovseg.masks import TextToMask

    finder = TextToMask(model, sam, options=options)
    say_unknown(model, texts)
    with Bar("prompts") as bar:
        asked = finder.ask(texts, progress=bar.to)
    run = {
        **record_of_run("mask", model, models, finder.options, given.names),
        "segmenter": sam.name,
        "segmenter_weights": segmenter.segmenter_weights,
    }
    make_folder(folder)

    def answers(pairs: Iterator[tuple[Path, NDArray[np.uint8]]]) -> Iterator[list[TextMasks]]:
        return finder.predict_each((picture for _, picture in pairs), asked)

    def finish(opened: Opened, found: list[TextMasks]) -> list[str]:
        write_answers(folder / given.stems[opened.file], opened, found, run)
        least = options.presence_threshold
        return [f"{shown(opened.file)}: {one.text}: {outcome(one, least)}" for one in found]

    work = Work(partial(open_image, takes=TAKES, side=VIEW), answers, finish)
    run_images(given.files, work, folder, little_known(models, segmenter))


def first_texts(names: Vocabulary) -> list[str]:
    """The first text of each class of a vocabulary, without the background class."""
    texts = [row[0] for index, row in enumerate(names.texts) if index != names.background]
    return list(dict.fromkeys(texts))


def outcome(found: TextMasks, wanted: float) -> str:
    """Describe the result of one text."""
    if len(found.masks):
        count = f"{len(found.masks)} mask" + ("s" if len(found.masks) > 1 else "")
        scores = ", ".join(f"{float(score):.2f}" for score in found.scores)
        return f"{count}, score {scores}" + (f" ({found.reason})" if found.reason else "")
    if all(share < wanted for share in found.presence.values()):
        # Rounded down, so that 0.499 is not shown as 0.50 beside a threshold of 0.5.
        shares = [
            f"{name + ': ' if len(found.presence) > 1 else ''}presence {math.floor(share * 100) / 100:.2f}"
            for name, share in found.presence.items()
        ]
        return f"not there ({', '.join(shares)}, needs {wanted:g})"
    return f"no mask ({found.reason})"


# ----------------------------------------------------------------------------------------------- files


def write_answers(target: Path, opened: Opened, answers: Sequence[TextMasks], run: Content) -> None:
    """Write the masks of each text, the picture with all masks, and the JSON file."""
    from ovseg.files.write import make_folder, write_picture
    from ovseg.results.masks import draw_masks

    make_folder(target.parent)
    entries = [found.describe(write_masks(target, found)) for found in answers]
    size = (opened.view.shape[0], opened.view.shape[1])
    picture = draw_masks(opened.view, [_shrunk(found, size) for found in answers])
    write_picture(beside(target, f".{slug([found.text for found in answers])}.masks.png"), picture)
    remember(target, opened, entries, run)


def _shrunk(found: TextMasks, size: tuple[int, int]) -> TextMasks:
    """Resize masks and points to the (height, width) of a picture for viewing."""
    if found.masks.shape[1:] == size:
        return found
    import numpy as np

    from ovseg.files.sizes import shrunk_labels
    from ovseg.results.base import PointPrompts

    scale = np.array([size[1] / found.masks.shape[2], size[0] / found.masks.shape[1]], np.float32)
    masks = np.array([shrunk_labels(one.view(np.uint8), size) for one in found.masks], bool)
    candidates = tuple(
        replace(one, prompts=PointPrompts(one.prompts.xy * scale, one.prompts.labels))
        for one in found.candidates
    )
    return replace(found, masks=masks.reshape(-1, *size), candidates=candidates)


def write_masks(target: Path, found: TextMasks) -> list[str]:
    """Write the masks of one text as TARGET.TEXT.1.png ...; returns the files' names."""
    from ovseg.files.write import write_mask

    paths = [
        beside(target, f".{slug([found.text])}.{number}.png") for number in range(1, len(found.masks) + 1)
    ]
    for path, mask in zip(paths, found.masks, strict=True):
        write_mask(path, mask)
    return [path.name for path in paths]


def remember(target: Path, opened: Opened, entries: Sequence[Content], run: Content) -> None:
    """Write TARGET.masks.json with these texts and those of earlier runs on the same image.

    A repeated text replaces the earlier one, and its outdated files are removed. If the image's content has
    changed, all earlier texts and their files are removed.

    Args:
        target: the results' path without an ending.
        opened: the image.
        entries: for each text, a dict with "text", "masks" (each with a "file"), and further values.
        run: the record of the run.
    """
    from ovseg.files.write import locked, write_json

    path = beside(target, ".masks.json")
    digest = sha256_of(opened.file)
    key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:8]
    with locked(path.with_name(".lock")):
        earlier = read_earlier(path)
        same = earlier.get("sha256") == digest
        if earlier and not same:
            note(f"note: {shown(path)} was of an image with other content: its masks are replaced")
        asked = {entry["text"] for entry in entries}
        kept = [entry for entry in _texts(earlier) if same and entry["text"] not in asked]
        texts = [*kept, *({**entry, "run": key} for entry in entries)]
        runs = {**_runs(earlier), key: run}
        used = {entry.get("run") for entry in texts}
        content = {
            "image": os.path.abspath(opened.file),
            "sha256": digest,
            "size": list(opened.size),
            "outputs": _files(texts),
            "texts": texts,
            "runs": {name: one for name, one in runs.items() if name in used},
        }
        write_json(path, content)
        _remove(target, set(_files(_texts(earlier))) - set(_files(texts)))


def read_earlier(path: Path) -> Content:
    """Read the JSON file of an earlier run; {} if there is none, or it has another content."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _texts(content: Content) -> list[Content]:
    found = content.get("texts")
    listed = found if isinstance(found, list) else []
    return [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("text"), str)]


def _runs(content: Content) -> Content:
    found = content.get("runs")
    return found if isinstance(found, dict) else {}


def _files(texts: Sequence[Mapping[str, object]]) -> list[str]:
    files: list[str] = []
    for entry in texts:
        masks = entry.get("masks")
        for mask in masks if isinstance(masks, list) else []:
            if isinstance(mask, dict) and isinstance(mask.get("file"), str):
                files.append(mask["file"])
    return files


def _remove(target: Path, names: set[str]) -> None:
    """Remove files beside ``target``; names come from a JSON file, so only those of its masks are accepted."""
    for name in names:
        if os.path.basename(name) == name and name.startswith(f"{target.name}.") and name.endswith(".png"):
            with suppress(OSError, ValueError):
                target.with_name(name).unlink()
