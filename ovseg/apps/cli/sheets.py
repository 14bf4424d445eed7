"""Writes the results of ``ovseg explain``: sheets of heat maps, compared explanations and caption tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg.apps.cli.loop import Opened
from ovseg.apps.cli.outputs import Outputs
from ovseg.apps.cli.shared import note
from ovseg.errors import OvsegError, UsageError, short_repr
from ovseg.files.paths import check_file, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.explanation import CaptionTokens, Compared
    from ovseg.explanation.picture import AllScores, Truth
    from ovseg.results import SimilarityMap

    Arrays = dict[str, NDArray[np.generic]]

CELL = 512
"""Long side in pixels of one picture on a sheet."""
COLUMNS, ROWS = 5, 4


def write_maps(opened: Opened, found: SimilarityMap, outputs: Outputs, full_size: bool) -> list[str]:
    """Write the maps of an image on sheets, and the optional files.

    Args:
        opened: the image.
        found: its maps.
        outputs: writes the files.
        full_size: the NPZ file also holds the maps at the image's size.
    """
    outputs.write_pictures(opened.file, sheets(opened.view, found))
    if outputs.npz:
        outputs.write_arrays(opened.file, arrays(found, full_size))
    if outputs.json:
        ranges = {name: _range(grid) for name, grid in zip(found.names, found.grid, strict=True)}
        outputs.write_json(opened, {"similarity": ranges})
    return []


def _range(grid: NDArray[np.float32]) -> dict[str, float | None]:
    return {"low": float(grid.min()), "high": float(grid.max())}


def sheets(image: NDArray[np.uint8], found: SimilarityMap) -> Iterator[NDArray[np.uint8]]:
    """Yield sheets of at most ``COLUMNS`` x ``ROWS`` cells: the image, then the heat map of each text.

    Sheets are made one at a time: memory does not depend on the number of texts or the image's size.
    """
    from ovseg.files.sizes import shrunk, viewing_size
    from ovseg.results import SimilarityMap, figures

    size = viewing_size(image.shape, CELL)
    small = shrunk(image, size)
    step = COLUMNS * ROWS - 1
    for start in range(0, len(found), step):
        names = found.names[start : start + step]
        maps = SimilarityMap(found.grid[start : start + step], names, size).array
        cells = [figures.titled(small, "image")]
        cells += [figures.titled(figures.overlay_heat(small, one), name) for one, name in zip(maps, names)]
        yield figures.grid([cells[first : first + COLUMNS] for first in range(0, len(cells), COLUMNS)])


def arrays(found: SimilarityMap, full_size: bool) -> Arrays:
    """The arrays of --npz. Large maps of ``full_size`` get a note on their memory use.

    Raises:
        OvsegError: the maps at the image's size exceed the limit of an array.
    """
    import numpy as np

    from ovseg.results import MAX_VALUES

    content: Arrays = {
        "grid_values": found.grid,
        "names": np.array(found.names),
        "size": np.array(found.size),
    }
    if full_size:
        count = len(found) * found.size[0] * found.size[1]
        takes = f"{len(found)} maps of {found.size[0]} x {found.size[1]} take {count * 4 / 1e9:.1f} GB"
        if count > MAX_VALUES:
            raise OvsegError(
                f"expected at most {MAX_VALUES * 4 / 1e9:.1f} GB of maps, {takes}: ask for fewer texts"
            )
        if count * 4 > 1e9:
            note(f"note: {takes}")
        content["values"] = found.array
    return content


# --------------------------------------------------------------------------------------------- --tokens


def write_tokens(opened: Opened, found: CaptionTokens, outputs: Outputs) -> list[str]:
    """Write the sheet of a caption's tokens and the optional files; returns a line with the marked tokens."""
    import numpy as np

    from ovseg.explanation.picture import MARKED, token_sheet

    outputs.write_pictures(opened.file, [token_sheet(opened.view, found)])
    if outputs.npz:
        content = arrays(found.map, full_size=False)
        content |= {"tokens": np.array(found.tokens), "cosines": found.cosines}
        outputs.write_arrays(opened.file, content)
    if outputs.json:
        tokens = [
            {"token": token, "cosine": cosine}
            for token, cosine in zip(found.tokens, found.cosines.tolist(), strict=True)
        ]
        outputs.write_json(opened, {"tokens": tokens, "best": found.best(MARKED)})
    best = [f"{found.tokens[place]} {found.cosines[place]:.3f}" for place in found.best(MARKED)]
    return [f"{shown(opened.file)}: {', '.join(best)}"]


# -------------------------------------------------------------------------------------------- --compare


def write_compared(
    opened: Opened, found: Compared, outputs: Outputs, masks: Sequence[str], refused: Sequence[str] = ()
) -> list[str]:
    """Write the contact sheets of an image and the optional files; returns the lines of scores.

    Args:
        opened: the image.
        found: its maps by each explanation.
        outputs: writes the files.
        masks: ground truth of each text, as for ``read_truths``.
        refused: names of explanations that do not apply to the model; their cells are grey.
    """
    import numpy as np

    from ovseg.explanation.picture import compare_sheets, score_maps

    truths = read_truths(masks, opened.size) if masks else []
    scores = score_maps(found.maps, truths) if masks else None
    outputs.write_pictures(opened.file, compare_sheets(opened.view, found, truths, scores, refused))
    names = outputs.given.names.names
    if outputs.npz:
        content: Arrays = {
            "names": np.array(names),
            "size": np.array(opened.size),
            "cosines": found.cosines,
        }
        content.update((method, maps.grid) for method, maps in found.maps.items())
        outputs.write_arrays(opened.file, content)
    if outputs.json:
        cosines = dict(zip(names, found.cosines.tolist(), strict=True))
        maps = {method: _record(maps, method, scores) for method, maps in found.maps.items()}
        outputs.write_json(opened, {"cosines": cosines, "maps": maps})
    return list(_lines(opened.file, found, scores))


def _record(maps: SimilarityMap, method: str, scores: AllScores | None) -> dict[str, dict[str, float | None]]:
    """The range and the scores of each map, by text."""
    record = {name: _range(grid) for name, grid in zip(maps.names, maps.grid, strict=True)}
    for name, score in ({} if scores is None else scores[method]).items():
        record[name]["mSC"] = None if score is None else score.contrast
        record[name]["IoU"] = None if score is None else score.overlap
    return record


def _lines(file: Path, found: Compared, scores: AllScores | None) -> Iterator[str]:
    """Yield a line of scores for each explanation; print a note on constant maps."""
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


def read_truths(masks: Sequence[str], shape: tuple[int, ...]) -> list[Truth]:
    """Read the ground truth of each text.

    Args:
        masks: a file for each text; FILE:7 selects the pixels of value 7 in a file of class indices, in
            which 255 is ignored.
        shape: (H, W, …) of the image.

    Raises:
        DataError: a file cannot be read, or its size is not the image's.
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
    """Raise UsageError unless there is one image, and an existing mask file for each of ``count`` texts."""
    if not masks:
        return
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
