"""Masks of one text, the prompts they come from, and the presence of the text in the image."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.files.paths import shown
from ovseg.options.checks import check_integer, check_name_or_path
from ovseg.results.base import PointPrompts, as_detections, as_html, as_png, bounds, read_only
from ovseg.results.coco import Mask, coco_annotation

if TYPE_CHECKING:
    import supervision

SHOWN = 320
"""Long side in pixels of the picture that a notebook shows."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The segmenter's candidates for one prompt set, and which of them was chosen.

    Attributes:
        prompts: the points given to the segmenter.
        box: the box (x0, y0, x1, y1) given to it, in pixels of the image, or None.
        logits: (C, h, w) float32 in the segmenter's low resolution, positive inside.
        scores: (C,) float32, its own estimates of the IoU.
        agreement: (C,) float32, IoU with the map's component (1 where there was no map).
        chosen: the index of the chosen candidate.
    """

    prompts: PointPrompts
    box: tuple[float, float, float, float] | None
    logits: NDArray[np.float32]
    scores: NDArray[np.float32]
    agreement: NDArray[np.float32]
    chosen: int

    def __post_init__(self) -> None:
        for name in ("logits", "scores", "agreement"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def __eq__(self, other: object) -> bool:
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays


@dataclass(frozen=True, eq=False)
class TextMasks:
    """The answer to one text: one mask for each object, none with a ``reason`` where there is nothing.

    ``len`` is the number of masks M, iteration gives the masks, and ``name in result`` says whether the text
    had this name in it. The arrays cannot be written to. Two results are equal where all their values are.

    Attributes:
        text: as it was asked for.
        masks: (M, H, W) bool, one for each object.
        scores: (M,) float32, the segmenter's estimate for each mask.
        presence: 0..1 for each name of the text; from 0.5 on it is more likely in the image than not.
        maps: (K, h, w) float32 on the token grid, one for each name, from which points were taken:
            similarities under the rule "paper", their log odds against everyday words, in units of
            similarity, otherwise.
        candidates: (M,) the points of each mask and what was chosen from; masks that were one mask of the
            segmenter share theirs.
        reason: why the text, or a name of it, has no mask; None if each has one.

    Example:
        >>> mask = np.zeros((1, 4, 6), bool)
        >>> mask[0, 1:3, 2:5] = True
        >>> points = PointPrompts(np.array([[3, 2]], np.float32), np.ones(1, np.uint8))
        >>> maps, one = np.zeros((1, 2, 3), np.float32), np.ones(1, np.float32)
        >>> taken = Candidates(points, None, maps, one, one, 0)
        >>> found = TextMasks("cat", mask, one, {"cat": 0.9}, maps, (taken,))
        >>> len(found), found.areas.tolist(), found.boxes.tolist(), "cat" in found
        (1, [6], [[2, 1, 5, 3]], True)
    """

    text: str
    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    presence: dict[str, float]
    maps: NDArray[np.float32]
    candidates: tuple[Candidates, ...]
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.masks.ndim != 3 or not len(self.masks) == len(self.scores) == len(self.candidates):
            raise UsageError(
                f"expected masks (M, H, W), scores (M,) and M candidates, got {self.masks.shape}, "
                f"{self.scores.shape} and {len(self.candidates)}"
            )
        for name in ("masks", "scores", "maps"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.masks)

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return iter(self.masks)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.presence

    def __eq__(self, other: object) -> bool:
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    @property
    def points(self) -> tuple[PointPrompts, ...]:
        """The points that each mask was made from, (M,)."""
        return tuple(candidates.prompts for candidates in self.candidates)

    @property
    def union(self) -> NDArray[np.bool_]:
        """(H, W) bool: the pixels of all masks together."""
        return np.asarray(self.masks.any(axis=0))

    @property
    def areas(self) -> NDArray[np.int64]:
        """(M,) pixels of each mask."""
        return np.array([np.count_nonzero(mask) for mask in self.masks], np.int64)

    @property
    def boxes(self) -> NDArray[np.int64]:
        """(M, 4): the bounds x0, y0, x1, y1 of each mask at pixel edges, so x1 - x0 is the width."""
        return np.array([bounds(mask) for mask in self.masks], np.int64).reshape(-1, 4)

    def to_detections(self, class_id: int = 0) -> supervision.Detections:
        """The masks as ``supervision.Detections``, with boxes, scores and the text as class name.

        Args:
            class_id: the number of the class.

        Raises:
            MissingPackageError: supervision is not installed.
            UsageError: the class is no integer.
        """
        number = check_integer("class_id", class_id, 0, 2**31 - 1)
        return as_detections(self.masks, [number] * len(self), [self.text] * len(self), self.scores)

    def to_coco(self, image_id: int = 1, category_id: int = 1) -> list[dict[str, object]]:
        """The masks as annotations of COCO's, with ids from 1; each also has its ``score``.

        Args:
            image_id: the image that they are of.
            category_id: the class of all of them.

        Returns:
            Dictionaries that JSON can hold: id, image_id, category_id, segmentation (run lengths as text),
            area in pixels, bbox (x, y, width, height), iscrowd 0, score.
        """
        image = check_integer("image_id", image_id, 0, 2**63 - 1)
        category = check_integer("category_id", category_id, 0, 2**63 - 1)
        return [
            {**coco_annotation(Mask.of(mask), number, image, category), "score": float(score)}
            for number, (mask, score) in enumerate(zip(self.masks, self.scores, strict=True), 1)
        ]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the masks with their scores, points and presence.

        Args:
            path: ending in ``.npz``, a file with masks, scores, maps, text and the names' presence; else a
                folder for ``mask_1.png`` … (255 on the object) and ``masks.json``, which names these files.
                An earlier answer in this folder is replaced: files that its ``masks.json`` names are removed.

        Raises:
            UsageError: the path ends like another kind of file, or the folder cannot be made.
            OvsegError: a file cannot be written.
        """
        from ovseg.files.write import make_folder, write_arrays, write_json, write_mask

        target = Path(check_name_or_path("path", path))
        if target.suffix.lower() == ".npz":
            write_arrays(
                target,
                masks=self.masks,
                scores=self.scores,
                maps=self.maps,
                text=np.array(self.text),
                names=np.array(list(self.presence), dtype=str),
                presence=np.array(list(self.presence.values())),
            )
            return
        if target.suffix.lower() in (".png", ".jpg", ".jpeg", ".json"):
            raise UsageError(f"expected a folder or a file ending in .npz, got {shown(path)}")
        make_folder(target)
        earlier = _named_files(target / "masks.json")
        files = [f"mask_{number}.png" for number in range(1, len(self) + 1)]
        for file, mask in zip(files, self.masks, strict=True):
            write_mask(target / file, mask)
        write_json(target / "masks.json", self.describe(files))
        for file in earlier - set(files):
            (target / file).unlink(missing_ok=True)

    def describe(self, files: list[str] | None = None) -> dict[str, object]:
        """Everything but the pixels, for JSON.

        Args:
            files: the file of each mask, where masks were written.
        """
        masks: list[dict[str, object]] = [
            {
                "score": float(score),
                "agreement": float(one.agreement[one.chosen]),
                "area": area,
                "box": box,
                "prompt_box": None if one.box is None else [float(side) for side in one.box],
                "points": one.prompts.xy.astype(float).tolist(),
                "labels": one.prompts.labels.tolist(),
            }
            for score, one, area, box in zip(
                self.scores, self.candidates, self.areas.tolist(), self.boxes.tolist(), strict=True
            )
        ]
        for mask, file in zip(masks, files or [], strict=False):
            mask["file"] = file
        return {"text": self.text, "presence": self.presence, "reason": self.reason, "masks": masks}

    def _picture(self) -> NDArray[np.uint8]:
        """(h, w, 3) RGB: every mask in a colour of its own on black, at most ``SHOWN`` pixels long."""
        from ovseg.results import figures

        height, width = self.masks.shape[1:]
        step = max(1, -(-max(height, width) // SHOWN))
        labels = np.full(self.masks[:, ::step, ::step].shape[1:], len(self), np.int64)
        for index, mask in enumerate(self.masks):
            labels[mask[::step, ::step]] = index
        return figures.colour_labels(labels, figures.palette(len(self)))

    def _repr_png_(self) -> bytes:
        return as_png(self._picture())

    def _repr_html_(self) -> str:
        count = f"{len(self)} mask" + ("s" if len(self) != 1 else "")
        line = f"{self.text}: {count}" + (f" ({self.reason})" if self.reason else "")
        return f"<p>{escape(line)}</p>{as_html(self._picture(), self.text)}"


def _named_files(record: Path) -> set[str]:
    """The mask files that an earlier ``masks.json`` names; none where there is no such record."""
    try:
        masks = json.loads(record.read_text(encoding="utf-8"))["masks"]
        return {one["file"] for one in masks if re.fullmatch(r"mask_\d+\.png", one["file"])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def draw_masks(image: NDArray[np.uint8], answers: Sequence[TextMasks]) -> NDArray[np.uint8]:
    """Draw every mask in the colour of its text, the points on top, and a legend below.

    Args:
        image: (H, W, 3) uint8 RGB, the image that the answers are of.
        answers: one for each text.

    Returns:
        (H', W', 3) uint8 RGB, with the legend at the bottom and padding where the image is narrow.
    """
    from ovseg.results import figures

    colours = [tuple(colour) for colour in figures.palette(len(answers)).tolist()]
    picture = image
    for found, colour in zip(answers, colours, strict=True):
        for mask in found.masks:
            picture = figures.overlay_mask(picture, mask, colour)
    for found in answers:
        for prompts in found.points:
            picture = figures.draw_points(picture, prompts.xy, prompts.labels)
    entries = [
        (f"{found.text}: {len(found) or 'not there'}", colour)
        for found, colour in zip(answers, colours, strict=True)
    ]
    return figures.with_legend(picture, entries)


def _equal(one: Candidates | TextMasks, other: object) -> bool:
    if type(one) is not type(other):
        return NotImplemented
    for field in fields(one):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            if not np.array_equal(mine, theirs):
                return False
        elif mine != theirs:
            return False
    return True
