"""Contact sheets of explanations and of a caption's tokens, for the command line and the demo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovseg.explanation.run import Compared
from ovseg.explanation.tokens import CaptionTokens
from ovseg.files.sizes import shrunk, shrunk_labels, viewing_size
from ovseg.metrics import PerLabelScore
from ovseg.results import SimilarityMap, figures

CELL = 256
"""Long side in pixels of one picture on a contact sheet."""
COLUMNS, LINES = 6, 8
"""At most so many pictures in a line, and lines on a sheet; one text is never split over sheets."""
EMPTY = 225
"""The grey value of cells whose explanation does not apply to the model."""
TOKEN_CELL = 384
"""Long side in pixels of each of the two pictures above a caption's tokens."""
MARKED = 3
"""How many tokens of highest cosine are marked: red, yellow, blue."""


@dataclass(frozen=True)
class Truth:
    """Ground truth of one text.

    Attributes:
        mask: (H, W) bool, the pixels of the text.
        valid: (H, W) bool, the pixels that are scored.
    """

    mask: NDArray[np.bool_]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Scores:
    """Scores of a map against its ground truth.

    Attributes:
        contrast: mSC, in -1..1.
        overlap: the IoU at the best threshold for this map, in 0..1.
    """

    contrast: float
    overlap: float

    def __str__(self) -> str:
        return f"mSC {100 * self.contrast:.1f} IoU {100 * self.overlap:.1f}"


AllScores: TypeAlias = "Mapping[str, Mapping[str, Scores | None]]"
"""By explanation and text; None where the mask is empty or full, so that contrast is undefined."""


def score_maps(maps: Mapping[str, SimilarityMap], truths: Sequence[Truth]) -> AllScores:
    """Compute mSC and IoU of every map.

    Args:
        maps: by explanation, as ``Compared.maps``.
        truths: the ground truth of each text, in the texts' order.

    >>> found = SimilarityMap(np.array([[[0.0, 1.0]]], np.float32), ("sky",), (1, 2))
    >>> truth = Truth(np.array([[False, True]]), np.ones((1, 2), bool))
    >>> str(score_maps({"clip": found}, [truth])["clip"]["sky"])
    'mSC 100.0 IoU 100.0'
    """
    scores: dict[str, dict[str, Scores | None]] = {}
    for method, found in maps.items():
        scores[method] = {}
        for name, truth in zip(found.names, truths, strict=True):
            score = PerLabelScore(per="image")
            score.update(name, found[name], truth.mask, truth.valid)
            whole = Scores(score.mean_contrast(), score.mean_iou())
            scores[method][name] = whole if score.samples else None
    return scores


def compare_sheets(
    image: NDArray[np.uint8],
    found: Compared,
    truths: Sequence[Truth] = (),
    scores: AllScores | None = None,
    refused: Sequence[str] = (),
) -> Iterator[NDArray[np.uint8]]:
    """Contact sheets: for each text the image, then its map by every explanation, and a colour bar.

    Args:
        image: (H, W, 3) uint8 RGB, the image that was explained.
        found: from ``compare``.
        truths: the ground truth of each text, drawn as an outline; empty if unknown.
        scores: from ``score_maps``, written below the maps.
        refused: names of explanations that do not apply to the model; their cells are grey.

    Yields:
        (H', W', 3) uint8 RGB, one sheet at a time: memory does not depend on the number of texts or the
        image's size.
    """
    size = viewing_size(image.shape, CELL)
    small = shrunk(image, size)
    first = next(iter(found.maps.values()))
    count = 1 + len(found.maps) + len(refused)
    lines = -(-count // COLUMNS)  # of one text
    columns = -(-count // lines)  # lines of equal length
    step = max(1, LINES // lines)
    for start in range(0, len(first.names), step):
        rows = []
        for index in range(start, min(start + step, len(first.names))):
            mask = shrunk_labels(truths[index].mask.astype(np.uint8), size) > 0 if truths else None
            cells = [*_cells(small, found, index, mask, scores), *_refused(small, refused)]
            rows += [cells[one : one + columns] for one in range(0, len(cells), columns)]
        bar = figures.colour_bar(CELL, "0: lowest of a map", "1: highest")
        yield figures.grid([[figures.grid(rows)], [figures.grid([[bar]])]], gap=0)


def _cells(
    small: NDArray[np.uint8],
    found: Compared,
    index: int,
    mask: NDArray[np.bool_] | None,
    scores: AllScores | None,
) -> list[NDArray[np.uint8]]:
    """The cells of one text: the image, then each explanation's map over it."""
    name = next(iter(found.maps.values())).names[index]
    shown = small if mask is None else figures.outlined(small, mask)
    cells = [figures.captioned(figures.titled(shown, name), f"cosine {found.cosines[index]:.3f}")]
    for method, maps in found.maps.items():
        heat = SimilarityMap(maps.grid[index : index + 1], (name,), small.shape[:2])[name]
        picture = figures.overlay_heat(small, heat)
        picture = picture if mask is None else figures.outlined(picture, mask)
        cells.append(
            figures.captioned(figures.titled(picture, method), _caption(maps, index, scores, method))
        )
    return cells


def _refused(small: NDArray[np.uint8], names: Sequence[str]) -> list[NDArray[np.uint8]]:
    """A grey cell for each explanation that does not apply."""
    grey = np.full_like(small, EMPTY)
    return [figures.captioned(figures.titled(grey, name), "not for this model") for name in names]


def _caption(maps: SimilarityMap, index: int, scores: AllScores | None, method: str) -> str:
    """The caption of a map: its scores, and whether it is constant."""
    flat = is_flat(maps, index)
    if scores is None:
        return "the same everywhere" if flat else ""
    score = scores[method][maps.names[index]]
    if score is None:
        return "mask empty or full"
    return f"{score} (flat map)" if flat else str(score)


def is_flat(maps: SimilarityMap, index: int) -> bool:
    """Whether a map is constant."""
    grid = maps.grid[index]
    return bool(grid.max() - grid.min() <= 1e-6)


def token_sheet(image: NDArray[np.uint8], found: CaptionTokens) -> NDArray[np.uint8]:
    """The image and the caption's map over it; below them, the tokens with their cosines."""
    size = viewing_size(image.shape, TOKEN_CELL)
    small = shrunk(image, size)
    heat = SimilarityMap(found.map.grid, found.map.names, size).array[0]
    title = "map of the caption"
    pictures = [figures.titled(small, "image"), figures.titled(figures.overlay_heat(small, heat), title)]
    row = figures.grid([pictures])
    colours = dict(zip(found.best(MARKED), figures.RANKS))
    entries = [
        (token, f"{cosine:.3f}", colours.get(place))
        for place, (token, cosine) in enumerate(zip(found.tokens, found.cosines.tolist()))
    ]
    width = max(320, row.shape[1])
    ranks = figures.legend(
        list(zip(("highest cosine", "second", "third"), figures.RANKS, strict=True)), width
    )
    return figures.grid([[row], [figures.words(entries, width)], [ranks]], gap=0)
