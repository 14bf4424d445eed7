"""Class lists: the names of classes, the texts that stand for each, and which class is the background.

A vocabulary comes from a text, a list, a dict or a file, and one rule holds for all of them: a class that is
called "background" is the background class. In a file, each line is one class:

    person
    car: car, automobile        # several texts; the best of them counts
    background: sky, wall       # the background class takes what its texts win

    >>> vocabulary = as_vocabulary({"background": "sky, wall", "car": "car, automobile", "person": "person"})
    >>> vocabulary.names, vocabulary.background
    (('background', 'car', 'person'), 0)
    >>> vocabulary.flat
    ('sky', 'wall', 'car', 'automobile', 'person')
    >>> vocabulary.owners
    (0, 0, 1, 1, 2)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ovseg.errors import UsageError, short_repr
from ovseg.files.paths import read_text
from ovseg.options import Plain
from ovseg.options.checks import AUTO
from ovseg.words.names import check_name, check_once, fold, in_order, split_text

BACKGROUND = "background"
LISTS = Path(__file__).with_name("lists")


@dataclass(frozen=True)
class Vocabulary:
    """K classes and the T texts that stand for them.

    Names and texts are kept as they are given, without the spaces around them. Two names that differ only in
    upper and lower case or in spaces are an error, because CLIP's tokenizer reads "Sky" and "sky" alike and
    the second could never win. The same text may stand for several classes.

    Attributes:
        names: the name of each class, (K,).
        texts: the texts of each class, (K,) tuples with at least one text each.
        background: the index of the class called "background", or None. It follows from the names.

    Raises:
        UsageError: there is no name, a name or text is empty or no text, or a name comes twice.

    >>> Vocabulary(("sky", "Background"), (("sky",), ("wall", "floor"))).background
    1
    """

    names: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    background: int | None = field(init=False)

    def __post_init__(self) -> None:
        names = in_order("names", self.names)
        rows = in_order("a row of texts for each name", self.texts)
        if not names:
            raise UsageError("expected at least one name, got none")
        if len(rows) != len(names):
            raise UsageError(f"expected texts for each of {len(names)} names, got {len(rows)} rows of texts")
        checked = tuple(check_name(name) for name in names)
        texts = tuple(_texts_of(name, row) for name, row in zip(checked, rows, strict=True))
        check_once(checked)
        folded = [fold(name) for name in checked]
        object.__setattr__(self, "names", checked)
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "background", folded.index(BACKGROUND) if BACKGROUND in folded else None)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def flat(self) -> tuple[str, ...]:
        """Every text in order, (T,)."""
        return tuple(text for texts in self.texts for text in texts)

    @property
    def owners(self) -> tuple[int, ...]:
        """The class index of each text of ``flat``, (T,)."""
        return tuple(index for index, texts in enumerate(self.texts) for _ in texts)

    def with_background(self, words: str | Iterable[str] | None) -> Vocabulary:
        """The same classes with one class "background" in front, whose texts are ``words``.

        Args:
            words: "wall, floor", a list of texts, or None for the vocabulary as it is.

        Raises:
            UsageError: there is a background class already, or ``words`` are no texts.

        >>> as_vocabulary("car, tree").with_background("sky, wall").texts
        (('sky', 'wall'), ('car',), ('tree',))
        """
        if words is None:
            return self
        if self.background is not None:
            raise UsageError("the vocabulary has a background class already: expected no background words")
        return Vocabulary((BACKGROUND, *self.names), (as_vocabulary(words).flat, *self.texts))

    def check_background(self, words: str | Iterable[str] | None) -> None:
        """Raise UsageError where background words do not fit, as far as that is known without a model.

        Args:
            words: as in ``with_background``, or "auto", which a text encoder has to choose.
        """
        if words != AUTO:
            self.with_background(words)

    def describe(self) -> dict[str, Plain]:
        """The vocabulary as JSON can hold it, so that a record of a score always has its names and texts.

        >>> as_vocabulary({"car": "car, automobile"}).describe()
        {'names': ['car'], 'texts': [['car', 'automobile']], 'background': None}
        """
        texts: list[Plain] = [list(row) for row in self.texts]
        return {"names": list(self.names), "texts": texts, "background": self.background}

    def digest(self) -> str:
        """SHA-256 of the names and texts as 64 hexadecimal digits: equal for equal vocabularies only.

        >>> as_vocabulary("sky, tree").digest() == as_vocabulary(["sky", "tree"]).digest()
        True
        """
        return hashlib.sha256(json.dumps([self.names, self.texts]).encode()).hexdigest()


Names: TypeAlias = "str | Iterable[str] | Mapping[str, str | Iterable[str]] | Vocabulary"
"""Whatever ``as_vocabulary`` reads."""


def as_vocabulary(names: Names) -> Vocabulary:
    """A vocabulary from names in any form.

    Args:
        names: "sky, tree" (a text with commas is several names), a list or another iterable of names (each is
            one name, commas included), a dict of each name's texts (a text with commas is several texts),
            or a ``Vocabulary``, which is returned itself.

    Returns:
        The vocabulary. Where no texts are given, the name itself is the only text.

    Raises:
        UsageError: there is no name, one is empty, comes twice or is no text, or the order is not defined.

    >>> as_vocabulary("sky, tree").names
    ('sky', 'tree')
    >>> as_vocabulary(["salt, with pepper"]).names
    ('salt, with pepper',)
    >>> as_vocabulary("sky,")
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: expected a name between all commas, got 'sky,'
    """
    if isinstance(names, Vocabulary):
        return names
    if isinstance(names, Mapping):
        pairs = [(check_name(name), row) for name, row in names.items()]
        return Vocabulary(tuple(name for name, _ in pairs), tuple(_texts_of(*pair) for pair in pairs))
    if isinstance(names, str):
        listed: tuple[object, ...] = split_text("name", names)
    else:
        listed = in_order("names", names)
    checked = tuple(check_name(name) for name in listed)
    return Vocabulary(checked, tuple((name,) for name in checked))


def list_vocabularies() -> list[str]:
    """The names of the vocabularies that ``load_vocabulary`` knows, in alphabetical order.

    >>> "voc21" in list_vocabularies()
    True
    """
    return sorted(path.name[:-4] for path in LISTS.iterdir() if path.name.endswith(".txt"))


def load_vocabulary(name_or_path: str | os.PathLike[str]) -> Vocabulary:
    """A data set's vocabulary by its name, or one from a text file of the same form.

    Args:
        name_or_path: one of ``list_vocabularies()``, or a file in UTF-8 (with or without a byte order mark)
            or in UTF-16 with one.

    Raises:
        UsageError: neither exists, the file holds no text in these encodings, or a line cannot be read.

    >>> len(load_vocabulary("voc20"))
    20
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise UsageError(f"expected a vocabulary's name or file, got {short_repr(name_or_path)}")
    name = os.fsdecode(name_or_path)
    if not name.strip():
        raise UsageError(f"expected a vocabulary's name or file, got {short_repr(name)}")
    known = list_vocabularies()
    if name in known:
        return parse_vocabulary(read_text(LISTS / f"{name}.txt", "a vocabulary"), name)
    path = Path(name).expanduser() if name.startswith("~/") else Path(name)
    if not os.path.exists(path):
        listed = ", ".join(known)
        raise UsageError(
            f"unknown vocabulary {short_repr(name)}: expected a file or one of {listed}; "
            "a single name is given in a list"
        )
    return parse_vocabulary(read_text(path, "a vocabulary"), name)


def find_vocabulary(names: Names | os.PathLike[str]) -> Vocabulary:
    """A vocabulary from a data set's name, a file, or names in any form that ``as_vocabulary`` reads.

    Args:
        names: a text without a comma and a ``Path`` are looked up as ``load_vocabulary`` does; everything
            else is read as ``as_vocabulary`` does. A file with a comma in its name is given as a ``Path``.

    Raises:
        UsageError: as ``load_vocabulary`` and ``as_vocabulary``.

    >>> len(find_vocabulary("voc20")), len(find_vocabulary("sky, tree")), len(find_vocabulary(["sky"]))
    (20, 2, 1)
    """
    if isinstance(names, os.PathLike) or (isinstance(names, str) and names.strip() and "," not in names):
        return load_vocabulary(names)
    return as_vocabulary(names)


def parse_vocabulary(lines: str | Iterable[str], source: str = "") -> Vocabulary:
    """A vocabulary from the lines of a file, see this module's description of the form.

    Args:
        lines: the file's text, or its lines.
        source: the file's name, for messages.

    Raises:
        UsageError: a line is neither "name" nor "name: text, text", or the names are wrong.

    >>> parse_vocabulary(["# two classes", "tree", "car: car, automobile"]).texts
    (('tree',), ('car', 'automobile'))
    """
    where = f"{source}: " if source else ""
    listed = re.split(r"\r\n|\r|\n", lines) if isinstance(lines, str) else in_order("lines", lines)
    names: list[str] = []
    texts: list[tuple[str, ...]] = []
    for number, given in enumerate(listed, 1):
        if not isinstance(given, str):
            raise UsageError(f"{where}line {number}: expected a text, got {short_repr(given)}")
        line = given.removeprefix("\ufeff").split("#", 1)[0].strip()
        if not line:
            continue
        name, _, words = (part.strip() for part in line.partition(":"))
        row = tuple(word.strip() for word in words.split(",")) if words else (name,)
        # Several classes, or several texts of one? The line does not say, so it is not guessed.
        if not name or not all(row) or "," in name:
            wanted = "expected one class, 'name' or 'name: text, text'"
            raise UsageError(f"{where}line {number}: {wanted}, got {short_repr(line)}")
        names.append(name)
        texts.append(row)
    try:
        return Vocabulary(tuple(names), tuple(texts))
    except UsageError as error:
        raise UsageError(f"{where}{error}") from None


def _texts_of(name: str, row: object) -> tuple[str, ...]:
    """The texts of one class: "car, automobile" is two, an iterable is taken as it is. Raises UsageError."""
    what = f"text of {short_repr(name)}"
    texts = split_text(what, row) if isinstance(row, str) else in_order(f"texts for {short_repr(name)}", row)
    if not texts:
        raise UsageError(f"expected at least one text for {short_repr(name)}, got none")
    return tuple(check_name(text, what) for text in texts)
