"""One group of images through the finder: the step that a run repeats, in its process or on workers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.ahead import FileFacts, Loaded
from ovseg.annotation.inputs import Job
from ovseg.annotation.records import Picture
from ovseg.annotation.writing import Sized, Stopped, sized
from ovseg.errors import OvsegError, one_line

GROUP = 8
"""Images in one group."""
BATCH_PIXELS = 24_000_000
"""A group's pictures go through CLIP in parts of about so many pixels of their own, to bound memory."""


class Finder(Protocol):
    """What a run asks of a finder."""

    def find(
        self, pictures: Sequence[NDArray[np.uint8]], wanted: Sequence[bool] | None = None
    ) -> Iterator[Picture | None]:
        """What is in each picture; None for one that is not asked for."""
        ...


class Sink(Protocol):
    """Where results go."""

    def put(self, job: Job, facts: FileFacts, found: Sized | str) -> None:
        """Take a result, or the reason why there is none."""
        ...


def batches(loads: Iterator[Loaded], count: int) -> Iterator[list[Loaded]]:
    """The next ``count`` images in parts that may be held together."""
    batch: list[Loaded] = []
    pixels = 0
    for _ in range(count):
        loaded = next(loads)
        batch.append(loaded)
        if loaded.picture is not None:
            pixels += loaded.picture.shape[0] * loaded.picture.shape[1]
        if pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def find_batch(batch: list[Loaded], finder: Finder, needed: Collection[str], state: Sink) -> None:
    """Hand what is found in a batch to the writer; an image that fails does not stop the others."""
    good = [one for one in batch if one.picture is not None]
    wanted = [one.job.stem in needed for one in good]
    pictures = [one.picture for one in good if one.picture is not None]
    for one in batch:
        if one.error is not None and one.job.stem in needed:
            state.put(one.job, one.facts, one.error)
    done = 0
    try:
        for one, found in zip(good, finder.find(pictures, wanted), strict=True):
            if found is not None and one.picture is not None:
                state.put(one.job, one.facts, sized(one.picture, found))
            done += 1
    except Stopped:
        raise
    except Exception:
        for one, asked in zip(good[done:], wanted[done:], strict=True):  # alone, to see whose fault it was
            if asked and one.picture is not None:
                state.put(one.job, one.facts, _alone(finder, one.picture))


def _alone(finder: Finder, picture: NDArray[np.uint8]) -> Sized | str:
    try:
        (found,) = finder.find([picture])
    except OvsegError as error:
        return one_line(error)
    except MemoryError:
        return "not enough memory"
    except Exception as error:
        return f"unexpected {type(error).__name__}: {one_line(error)}"
    return "nothing was asked" if found is None else sized(picture, found)
