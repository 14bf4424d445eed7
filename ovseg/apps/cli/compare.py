"""``ovseg explain --compare``: several explanations of the same texts on one contact sheet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg.apps.cli.inputs import open_image
from ovseg.apps.cli.outputs import TAKES, Outputs, Work
from ovseg.apps.cli.shared import note
from ovseg.errors import UnsupportedModelError, UsageError, short_repr
from ovseg.files.paths import check_file, shown
from ovseg.words.names import split_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from ovseg.explanation import Compared, Explanation, Run
    from ovseg.explanation.picture import AllScores, Truth
    from ovseg.results import SimilarityMap


def applying(rows: Sequence[Explanation], visual: nn.Module) -> tuple[Sequence[Explanation], dict[str, str]]:
    """The explanations that apply to an image tower, and why each of the others does not.

    Raises:
        UnsupportedModelError: none applies.
    """
    kept, refused = [], dict[str, str]()
    for row in rows:
        try:
            row.check(visual)
        except UnsupportedModelError as error:
            refused[row.name] = str(error)
        else:
            kept.append(row)
    if not kept:
        raise UnsupportedModelError(next(iter(refused.values())))
    return kept, refused


def compared(run: Run, outputs: Outputs, masks: Sequence[str], refused: Sequence[str] = ()) -> Work:
    """What is done with one image: its contact sheets, the scores, and what else is asked for."""

    def work(file: Path) -> Iterator[str]:
        import numpy as np

        from ovseg.explanation.picture import compare_sheets, score_maps

        image = open_image(file, TAKES)
        names = run.names.names
        truths = read_truths(masks, image.shape) if masks else []
        found = run(image, file)
        scores = score_maps(found.maps, truths) if masks else None
        outputs.write_pictures(file, compare_sheets(image, found, truths, scores, refused))
        if outputs.npz:
            content: dict[str, NDArray[np.generic]] = {
                "names": np.array(names),
                "size": np.array(image.shape[:2]),
                "cosines": found.cosines,
            }
            content.update((method, maps.grid) for method, maps in found.maps.items())
            outputs.write_arrays(file, content)
        if outputs.json:
            cosines = dict(zip(names, found.cosines.tolist(), strict=True))
            maps = {method: _record(maps, method, scores) for method, maps in found.maps.items()}
            outputs.write_json(file, (image.shape[0], image.shape[1]), {"cosines": cosines, "maps": maps})
        yield from _lines(file, found, scores)

    return work


def _record(maps: SimilarityMap, method: str, scores: AllScores | None) -> dict[str, dict[str, float | None]]:
    """The range and the scores of each text's map."""
    record: dict[str, dict[str, float | None]] = {}
    for name, grid in zip(maps.names, maps.grid, strict=True):
        record[name] = {"low": float(grid.min()), "high": float(grid.max())}
        if scores is not None:
            score = scores[method][name]
            record[name]["mSC"] = None if score is None else score.contrast
            record[name]["IoU"] = None if score is None else score.overlap
    return record


def _lines(file: Path, found: Compared, scores: AllScores | None) -> Iterator[str]:
    """The scores of each explanation, and which maps say nothing."""
    from ovseg.explanation.picture import is_flat

    for method, maps in found.maps.items():
        flat = [name for index, name in enumerate(maps.names) if is_flat(maps, index)]
        if flat:
            note(f"note: {shown(file)}: the map of {method} is the same everywhere for {', '.join(flat)}")
        if scores is not None:
            parts = [
                f"{name} " + ("mask empty or full" if score is None else str(score))
                for name, score in scores[method].items()
            ]
            yield f"{shown(file)}: {method}: {', '.join(parts)}"


def read_explanations(text: str) -> list[Explanation]:
    """ "clip, gradcam, eclip=FOLDER" to rows; NAME=FOLDER reads maps that were saved there.

    Raises:
        UsageError: an explanation is unknown, or a folder is not there.
    """
    from ovseg.explanation import get_explanation, saved_maps

    rows = []
    for part in split_text("method", text):
        name, equals, folder = part.partition("=")
        rows.append(saved_maps(name.strip(), folder.strip()) if equals else get_explanation(name))
    return rows


def read_truths(masks: Sequence[str], shape: tuple[int, ...]) -> list[Truth]:
    """Where each text is.

    Args:
        masks: a file for each text; FILE:7 is the pixels of value 7 in a file of class indices, where 255
            does not count.
        shape: of the image, (H, W, …).

    Raises:
        DataError: a file cannot be read, or has another size than the image.
    """
    import numpy as np

    from ovseg.explanation.picture import Truth
    from ovseg.files.labels import load_labels

    found = []
    for text in masks:
        file, index = _file_and_index(text)
        labels = load_labels(file, shape)
        if index is None:
            found.append(Truth(labels != 0, np.ones(labels.shape, bool)))
        else:
            found.append(Truth(labels == index, (labels != 255) | (labels == index)))
    return found


def check_masks(masks: Sequence[str], count: int, images: int) -> None:
    """Raise UsageError unless there is one image, and a mask for each of ``count`` texts, a file."""
    if images != 1:
        raise UsageError(f"expected a single image with --mask, got {images}")
    if len(masks) != count:
        raise UsageError(f"expected --mask once for each of {count} texts, in their order, got {len(masks)}")
    for text in masks:
        check_file(_file_and_index(text)[0], "a mask")


def _file_and_index(text: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(.+):([0-9]{1,5})", text)
    if not text.strip():
        raise UsageError(f"expected --mask as FILE or FILE:INDEX, got {short_repr(text)}")
    return (found[1], int(found[2])) if found else (text, None)
