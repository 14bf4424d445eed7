"""What is known of one image: its regions as run lengths with their class, score and prompt.

Every writer gets ``Record`` objects and every reader gives them, so that a format is one writer and one
reader. Masks are kept as COCO's run lengths: of a photograph they take some kilobytes, the arrays megabytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, described
from ovseg.files.paths import shown

MOST_PIXELS = 2**31
"""A larger image is no image: the run lengths of pycocotools count in 32 bits."""


@dataclass(frozen=True)
class Mask:
    """A mask as COCO's compressed run lengths, column by column.

    Attributes:
        size: (height, width) in pixels.
        counts: the run lengths as COCO writes them in a text.

    >>> mask = Mask.of(np.array([[False, True], [False, True]]))
    >>> mask.counts, mask.area, mask.box
    ('22', 2, (1, 0, 2, 2))
    >>> mask.array().tolist()
    [[False, True], [False, True]]
    """

    size: tuple[int, int]
    counts: str

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Mask:
        """The run lengths of a mask (H, W) bool."""
        height, width = mask.shape
        columns = np.flatnonzero(mask.any(axis=0))
        if not columns.size:
            return cls.of_runs((height, width), [height * width])
        first, last = int(columns[0]), int(columns[-1]) + 1
        flat = mask[:, first:last].T.reshape(-1)  # only the columns that have pixels are turned
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1 + first * height
        starts = [0, first * height] if flat[0] else [0]
        stops = [last * height] if flat[-1] and last < width else []
        places = np.concatenate([starts, edges, stops, [height * width]]).astype(np.int64)
        return cls.of_runs((height, width), np.diff(places).tolist())

    @classmethod
    def of_runs(cls, size: tuple[int, int], runs: Sequence[int]) -> Mask:
        """A mask from run lengths column by column, the first of them outside the object.

        Raises:
            DataError: they are no run lengths of an image of this size.
        """
        from pycocotools import mask as rle

        whole = all(isinstance(run, int) and not isinstance(run, bool) and run >= 0 for run in runs)
        if not whole or sum(runs) != size[0] * size[1]:
            raise DataError(
                f"expected run lengths of {size[0]} x {size[1]} pixels, got {described(list(runs[:9]))}"
            )
        coded = rle.frPyObjects({"size": list(size), "counts": list(runs)}, *size)
        return cls(size, coded["counts"].decode())

    def runs(self) -> list[int]:
        """The run lengths as numbers, the first of them outside the object. Raises DataError."""
        out: list[int] = []
        place = 0
        text = self.counts.encode("ascii", "replace")
        while place < len(text):
            value = shift = 0
            while True:  # five bits a letter, the sixth says that there are more
                letter = (text[place] if place < len(text) else 0) - 48
                if not 0 <= letter < 64:
                    raise DataError(f"expected run lengths of COCO, got {described(self.counts)}")
                value |= (letter & 31) << shift
                place, shift = place + 1, shift + 5
                if not letter & 32:
                    value -= (1 << shift) if letter & 16 else 0
                    break
            out.append(value + (out[-2] if len(out) > 2 else 0))  # from the fourth on, differences
        return out

    def checked(self) -> Mask:
        """The mask itself where its run lengths fit its size; what comes from a file is checked once.

        Raises:
            DataError: they do not.
        """
        runs = self.runs()
        if any(run < 0 for run in runs) or sum(runs) != self.size[0] * self.size[1]:
            raise DataError(
                f"expected run lengths of {self.size[0]} x {self.size[1]} pixels, got {described(self.counts)}"
            )
        return self

    def array(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        from pycocotools import mask as rle

        return np.asarray(rle.decode(self.coded)).view(np.bool_)

    @property
    def coded(self) -> dict[str, object]:
        """As pycocotools takes it: ``{"size": [h, w], "counts": bytes}``."""
        return {"size": list(self.size), "counts": self.counts.encode()}

    @property
    def area(self) -> int:
        """Pixels of the object."""
        from pycocotools import mask as rle

        return int(rle.area(self.coded))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 at pixel edges, so that x1 - x0 is the width; zeros where there are no pixels."""
        from pycocotools import mask as rle

        x, y, width, height = (int(side) for side in rle.toBbox(self.coded))
        return x, y, x + width, y + height


@dataclass(frozen=True)
class Region:
    """One object, or all pixels of a class.

    Attributes:
        label: the class's name.
        mask: its pixels.
        score: the segmenter's estimate of the mask's quality, or what a tool calls the score; None where
            there is none.
        prompt: the texts that found it.
        method: the models that found it.
    """

    label: str
    mask: Mask
    score: float | None = None
    prompt: str | None = None
    method: str | None = None


@dataclass(frozen=True)
class Picture:
    """What was found in one picture: its regions, and how likely each class is in it."""

    regions: tuple[Region, ...]
    presence: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Record:
    """One image and its regions.

    Attributes:
        name: the image's path below the images' folder, with "/" between folders: "sub/photo.jpg".
        size: (height, width) in pixels of the upright image.
        regions: in order; where two share pixels, the earlier one is on top.
        stem: the beginning of its files' names, "sub/photo"; empty for the name without its ending.
        image: where the image lies, or None where that is not known.
        presence: how likely each class is in the image, 0..1; classes that are not listed are below 0.01.
        void: pixels of which nothing is known, or None where there are none.
        run: the settings that made it, a key of the run folder's ``run.json``.
    """

    name: str
    size: tuple[int, int]
    regions: tuple[Region, ...] = ()
    stem: str = ""
    image: str | None = None
    presence: Mapping[str, float] | None = None
    void: Mask | None = None
    run: str | None = None

    def __post_init__(self) -> None:
        if not self.stem:
            object.__setattr__(self, "stem", without_ending(self.name))

    def describe(self) -> dict[str, object]:
        """The record as JSON can hold it; ``parse_record`` reads it."""
        return {
            "name": self.name,
            "stem": self.stem,
            "image": self.image,
            "size": list(self.size),
            "run": self.run,
            "presence": None if self.presence is None else dict(self.presence),
            "void": None if self.void is None else self.void.counts,
            "regions": [
                {
                    "label": one.label,
                    "score": one.score,
                    "prompt": one.prompt,
                    "method": one.method,
                    "counts": one.mask.counts,
                }
                for one in self.regions
            ],
        }


def without_ending(name: str) -> str:
    """A path without the ending of its file.

    >>> without_ending("a.b/photo.jpg"), without_ending("a.b/photo")
    ('a.b/photo', 'a.b/photo')
    """
    folder, slash, file = name.rpartition("/")
    stem = file.rpartition(".")[0]
    return folder + slash + (stem or file)


def check_size(size: object, where: str) -> tuple[int, int]:
    """(height, width) of an image as a file says it. Raises DataError where they are no such numbers."""
    try:
        height, width = (int(side) for side in size)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        height = width = 0
    if min(height, width) < 1 or height * width >= MOST_PIXELS:
        raise DataError(f"expected an image's height and width in pixels in {where}, got {described(size)}")
    return height, width


def read_record(path: Path) -> Record:
    """The record of a file that a run wrote.

    Raises:
        DataError: the file is missing, damaged, or something else.
    """
    try:
        return parse_record(json.loads(path.read_bytes()), shown(path))
    except OSError as error:
        raise DataError(f"expected a record, {shown(path)}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise DataError(f"expected a record as JSON, {shown(path)} is none") from None


def parse_record(content: object, where: str) -> Record:
    """A record from what ``Record.describe`` gave. Raises DataError for anything else."""
    try:
        assert isinstance(content, dict)
        size = check_size(content["size"], where)
        regions = tuple(
            Region(
                str(one["label"]),
                Mask(size, str(one["counts"])).checked(),
                one["score"],
                one["prompt"],
                one["method"],
            )
            for one in content["regions"]
        )
        void = content["void"]
        return Record(
            str(content["name"]),
            size,
            regions,
            str(content["stem"]),
            content["image"],
            content["presence"],
            None if void is None else Mask(size, str(void)).checked(),
            content["run"],
        )
    except (AssertionError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"expected a record of ovseg annotate, {where} is none: {error!r}") from None
