"""``ovseg explain --compare``: several explanations of the same texts on one contact sheet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ovseg.cli.inputs import open_image
from ovseg.cli.outputs import TAKES, Outputs, Work
from ovseg.cli.pictures import shrunk, shrunk_labels, viewing_size
from ovseg.cli.shared import note
from ovseg.errors import UsageError
from ovseg.io.sources import check_file, shown
from ovseg.names import short_repr, split_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.explain import Compared, Explanation, Run
    from ovseg.results import SimilarityMap

CELL = 256
"""Long side in pixels of one picture on a sheet."""
COLUMNS, LINES = 6, 8
"""Pictures in a line, and lines on a sheet (or those of one text, if they are more)."""


@dataclass(frozen=True)
class Scores:
    """How well a map fits the mask of its text.

    Attributes:
        contrast: mSC, in -1..1.
        overlap: the IoU at the threshold that is best for this map, in 0..1.
    """

    contrast: float
    overlap: float

    def __str__(self) -> str:
        return f"mSC {100 * self.contrast:.1f} IoU {100 * self.overlap:.1f}"


AllScores: TypeAlias = "Mapping[str, Mapping[str, Scores | None]]"
"""By explanation and text; None where a mask is empty or covers everything, so that there is no contrast."""


@dataclass(frozen=True)
class Truth:
    """Where a text is: (H, W) bool, and the pixels that count."""

    mask: NDArray[np.bool_]
    valid: NDArray[np.bool_]


def compared(run: Run, outputs: Outputs, masks: Sequence[str]) -> Work:
    """What is done with one image: its contact sheets, the scores, and what else is asked for."""

    def work(file: Path) -> Iterator[str]:
        import numpy as np

        image = open_image(file, TAKES)
        names = run.names.names
        truths = read_truths(masks, image.shape) if masks else []
        found = run(image, file)
        scores = score_maps(found.maps, truths) if masks else None
        outputs.write_pictures(file, compare_sheets(image, found, truths, scores))
        if outputs.npz:
            content: dict[str, NDArray[np.generic]] = {
                "names": np.array(names),
                "size": np.array(image.shape[:2]),
                "cosines": found.cosines,
            }
            content.update((method, maps.grid_values) for method, maps in found.maps.items())
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
    for name, grid in zip(maps.names, maps.grid_values, strict=True):
        record[name] = {"low": float(grid.min()), "high": float(grid.max())}
        if scores is not None:
            score = scores[method][name]
            record[name]["mSC"] = None if score is None else score.contrast
            record[name]["IoU"] = None if score is None else score.overlap
    return record


def _lines(file: Path, found: Compared, scores: AllScores | None) -> Iterator[str]:
    """The scores of each explanation, and which maps say nothing."""
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
    from ovseg.explain import get_explanation, saved_maps

    rows = []
    for part in split_text("explanation", text):
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

    from ovseg.io.labels import load_labels

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
        raise UsageError(f"wanted a single image with --mask, got {images}")
    if len(masks) != count:
        raise UsageError(f"wanted --mask once for each of {count} texts, in their order, got {len(masks)}")
    for text in masks:
        check_file(_file_and_index(text)[0], "a mask")


def _file_and_index(text: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(.+):([0-9]{1,5})", text)
    if not text.strip():
        raise UsageError(f"wanted --mask as FILE or FILE:INDEX, got {short_repr(text)}")
    return (found[1], int(found[2])) if found else (text, None)


def score_maps(maps: Mapping[str, SimilarityMap], truths: Sequence[Truth]) -> AllScores:
    """mSC and IoU of every map, by explanation and text; None where a mask is empty or covers everything."""
    from ovseg.metrics import PerLabelScore

    scores: dict[str, dict[str, Scores | None]] = {}
    for method, found in maps.items():
        scores[method] = {}
        for name, truth in zip(found.names, truths, strict=True):
            score = PerLabelScore()
            score.update(name, found[name], truth.mask, truth.valid)
            one = Scores(score.mean_contrast(), score.mean_iou())
            scores[method][name] = None if one.contrast != one.contrast else one
    return scores


def compare_sheets(
    image: NDArray[np.uint8],
    found: Compared,
    truths: Sequence[Truth] = (),
    scores: AllScores | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Contact sheets: for each text the image, then its map by every explanation, and a colour bar.

    Each is made when it is asked for, so memory does not depend on the number of texts or the image's size.
    """
    import numpy as np

    from ovseg import figures

    size = viewing_size(image.shape, CELL)
    small = shrunk(image, size)
    first = next(iter(found.maps.values()))
    lines = -(-(len(found.maps) + 1) // COLUMNS)  # of one text
    step = max(1, LINES // lines)
    for start in range(0, len(first.names), step):
        rows = []
        for index in range(start, min(start + step, len(first.names))):
            mask = shrunk_labels(truths[index].mask.astype(np.uint8), size) > 0 if truths else None
            cells = _cells(small, found, index, mask, scores)
            rows += [cells[one : one + COLUMNS] for one in range(0, len(cells), COLUMNS)]
        bar = figures.colour_bar(max(CELL, 200), "0: lowest of a map", "1: highest")
        yield figures.grid([*rows, [bar]])


def _cells(
    small: NDArray[np.uint8],
    found: Compared,
    index: int,
    mask: NDArray[np.bool_] | None,
    scores: AllScores | None,
) -> list[NDArray[np.uint8]]:
    """The pictures of one text: the image, and each explanation's map over it."""
    from ovseg import figures
    from ovseg.results import SimilarityMap

    name = next(iter(found.maps.values())).names[index]
    shown = small if mask is None else figures.outlined(small, mask)
    cells = [figures.captioned(figures.titled(shown, name), f"cosine {found.cosines[index]:.3f}")]
    for method, maps in found.maps.items():
        heat = SimilarityMap(maps.grid_values[index : index + 1], (name,), small.shape[:2])[name]
        picture = figures.overlay_heat(small, heat)
        picture = picture if mask is None else figures.outlined(picture, mask)
        cells.append(
            figures.captioned(figures.titled(picture, method), _caption(maps, index, scores, method))
        )
    return cells


def _caption(
    maps: SimilarityMap,
    index: int,
    scores: AllScores | None,
    method: str,
) -> str:
    """What stands under a map: its scores, and whether it is the same everywhere."""
    flat = "the same everywhere" if is_flat(maps, index) else ""
    if scores is None:
        return flat
    score = scores[method][maps.names[index]]
    if score is None:
        return "mask empty or full"
    return f"{score}  {flat}" if flat else str(score)


def is_flat(maps: SimilarityMap, index: int) -> bool:
    """Whether a map is the same everywhere, so that nothing can be read from it."""
    grid = maps.grid_values[index]
    return bool(grid.max() - grid.min() <= 1e-6)
