"""A named set of labelled pictures: each is read when it is asked for, and checked before anything is.

Runs over many pictures need more than iteration: to go on where they stopped they ask for what decides about
a picture (``digest``), and several processes each read a part (``load``).
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
        files: the files that a picture is read from: the picture, and its labels where they have a file.
        note: what decides about a picture besides its files, as a text.

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
        """Each ``step``-th picture of the set, the first among them. Raises UsageError for a step below 1.

        >>> numbers = ItemSet("numbers", ("odd",), list("abcde"), lambda index: index + 1)
        >>> list(numbers.every(2)), numbers.every(2).items
        ([1, 3, 5], ['a', 'c', 'e'])
        """
        return self._at(range(0, len(self), check_integer("every", step, 1, 2**31 - 1)))

    def _at(self, places: Sequence[int]) -> Self:
        """The set of the pictures at these places."""
        return replace(
            self,
            items=[self.items[place] for place in places],
            load=lambda index: self.load(places[index]),
            files=lambda index: self.files(places[index]),
            note=lambda index: self.note(places[index]),
        )

    def digest(self, index: int) -> str:
        """SHA-256 of all that decides about a picture: its name, the content of its files, the note.

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
        """Look at the files of every picture, so that what is missing is known before a model is loaded.

        Args:
            headers: also read the beginning of each file: whether it is a picture, and whether labels have
                the picture's size. Its content is decoded only when it is used.

        Raises:
            DataError: a file is missing or odd; it names the first and says how many there are.
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
