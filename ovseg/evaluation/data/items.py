"""A named set of labelled pictures, read lazily; their files can be checked beforehand.

Long runs need more than iteration: a resumed run compares a picture's ``digest`` with its saved rows, and each of
several processes reads its share (``load``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ovseg.errors import DataError, ImageError, OvsegError
from ovseg.files.formats import upright_size
from ovseg.files.paths import sha256_of
from ovseg.options.checks import check_integer

if TYPE_CHECKING:
    from typing_extensions import Self

Item = TypeVar("Item")


def _no_files(index: int) -> Sequence[Path]:
    return ()


def _no_note(index: int) -> str:
    return ""


@dataclass(frozen=True)
class ItemSet(Generic[Item]):
    """A named set of labelled pictures with a length; each iteration reads it from the start.

    Attributes:
        title: the set's name in tables.
        names: its labels.
        items: the name of each picture in the set.
        load: reads one picture by its position.
        files: the files of a picture: the image, and its label file if it has one.
        note: further content that belongs to a picture's digest, as text.

    >>> numbers = ItemSet("numbers", ("odd",), ["one", "two"], lambda index: index + 1)
    >>> len(numbers), list(numbers), list(numbers.first(1))
    (2, [1, 2], [1])
    """

    title: str
    names: tuple[str, ...]
    items: Sequence[str]
    load: Callable[[int], Item]
    files: Callable[[int], Sequence[Path]] = _no_files
    note: Callable[[int], str] = _no_note

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return (self.load(index) for index in range(len(self.items)))

    def first(self, count: int | None) -> Self:
        """The set's first ``count`` pictures; None for all. Raises UsageError for a count below 1."""
        if count is None:
            return self
        return replace(self, items=self.items[: check_integer("limit", count, 1, 2**31 - 1)])

    def every(self, step: int) -> Self:
        """Every ``step``-th picture of the set, from the first. Raises UsageError for a step below 1.

        >>> numbers = ItemSet("numbers", ("odd",), list("abcde"), lambda index: index + 1)
        >>> list(numbers.every(2)), numbers.every(2).items
        ([1, 3, 5], ['a', 'c', 'e'])
        """
        return self._at(range(0, len(self), check_integer("every", step, 1, 2**31 - 1)))

    def _at(self, places: Sequence[int]) -> Self:
        """The subset at these positions."""
        return replace(
            self,
            items=[self.items[place] for place in places],
            load=lambda index: self.load(places[index]),
            files=lambda index: self.files(places[index]),
            note=lambda index: self.note(places[index]),
        )

    def digest(self, index: int) -> str:
        """SHA-256 of a picture's name, file contents and note, and the set's labels.

        Raises:
            DataError: a file cannot be read.
        """
        try:
            content = [sha256_of(path) for path in self.files(index)]
        except OSError as error:
            raise DataError(f"{self.title}: {error.filename} cannot be read: {error.strerror}") from None
        whole = json.dumps([self.items[index], content, self.note(index), list(self.names)])
        return hashlib.sha256(whole.encode()).hexdigest()

    def check(self, headers: bool = True) -> None:
        """Check the files of every picture, so that a missing one is reported before a model is loaded.

        Args:
            headers: also read each file's header: whether it is a picture, and whether labels have the picture's
                size. Pixels are decoded only when they are used.

        Raises:
            DataError: files are missing or invalid; the message names the first and counts the others.
        """
        wrong: list[str] = []
        for index in range(len(self)):
            try:
                self._check(index, headers)
            except OvsegError as error:
                wrong.append(str(error))
        if wrong:
            more = f" ({len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
            raise DataError(f"{self.title}: {wrong[0]}{more}")

    def _check(self, index: int, headers: bool) -> None:
        paths = self.files(index)
        for path in paths:
            if not path.is_file():
                raise ImageError(f"expected the file {path}, it does not exist")
        if headers and paths:
            sizes = [upright_size(path) for path in paths]
            if len(set(sizes)) > 1:
                raise DataError(
                    f"expected labels of {sizes[0]} pixels (height, width) as their picture, "
                    f"{paths[1]} has {sizes[1]}"
                )
