"""The words of an annotation run: classes with synonyms and thresholds, and words that are not wanted.

A class list is a text file, a line a class:

    person
    car: car, automobile            # several texts; the best of them counts
    dog >= 0.6: dog, puppy          # a mask only where the class's presence reaches 0.6
    "salt, with pepper": "salt, pepper"     # quotes around what has a comma, a colon, "#" or ">=" in it
    not: poster, painting           # what fits these better is no object of any class

    >>> found = parse_classes('dog >= 0.6: dog, puppy\\n"a, b"\\nnot: poster')
    >>> found.names, found.texts, found.thresholds, found.negatives
    (('dog', 'a, b'), (('dog', 'puppy'), ('a, b',)), {'dog': 0.6}, ('poster',))
"""

from __future__ import annotations

import difflib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ovseg.errors import UsageError, short_repr
from ovseg.files.paths import read_text
from ovseg.options import Plain
from ovseg.options.checks import check_number
from ovseg.options.fields import read_number
from ovseg.words.names import check_name, fold
from ovseg.words.vocabulary import Names, Vocabulary, as_vocabulary, list_vocabularies, load_vocabulary

NOT = "not"
"""The name of the line whose texts are not wanted."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_THRESHOLD = re.compile(r"^(.*?)\s*>=\s*(\S+)$", re.S)


@dataclass(frozen=True)
class Classes:
    """The words of an annotation run.

    Attributes:
        vocabulary: the classes and their texts. A class called "background" makes no object.
        thresholds: the presence, in 0..1, that a class has to reach for a mask; others have the run's.
        negatives: texts that compete with the classes and make no object.

    Raises:
        UsageError: a threshold is no number in 0..1, or of a name that is no class; a text is both a class and
            a negative; a name or text has control characters, which many formats cannot hold.
    """

    vocabulary: Vocabulary
    thresholds: Mapping[str, float] = field(default_factory=dict)
    negatives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in (*self.vocabulary.names, *self.vocabulary.flat, *self.negatives):
            if any(unicodedata.category(letter) == "Cc" for letter in text.replace("\t", " ")):
                raise UsageError(
                    f"expected classes and texts without line breaks and control characters, "
                    f"got {short_repr(text)}"
                )
        checked = {}
        for name, value in self.thresholds.items():
            if name not in self.vocabulary.names:
                raise UsageError(f"expected thresholds of the classes, got one of {short_repr(name)}")
            checked[name] = check_number(f"the threshold of {short_repr(name)}", value, 0, 1)
        object.__setattr__(self, "thresholds", checked)
        negatives = tuple(check_name(text, "text after 'not'") for text in self.negatives)
        object.__setattr__(self, "negatives", tuple({fold(text): text for text in negatives}.values()))
        wanted = {fold(text): text for text in self.vocabulary.flat}
        both = [wanted[fold(text)] for text in self.negatives if fold(text) in wanted]
        if both:
            raise UsageError(f"expected a text as a class or after 'not', got {short_repr(both[0])} as both")

    @property
    def names(self) -> tuple[str, ...]:
        """Every class, including "background", (K,)."""
        return self.vocabulary.names

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The texts of each class, (K,)."""
        return self.vocabulary.texts

    @property
    def objects(self) -> tuple[str, ...]:
        """The classes that make objects: all but "background"."""
        return tuple(
            name for index, name in enumerate(self.vocabulary.names) if index != self.vocabulary.background
        )

    def with_thresholds(self, thresholds: Mapping[str, float]) -> Classes:
        """The same classes, with the given thresholds replaced. Raises UsageError."""
        return replace(self, thresholds={**self.thresholds, **thresholds})

    def describe(self) -> dict[str, Plain]:
        """Everything as JSON can hold it."""
        return {
            "names": list(self.names),
            "texts": [list(row) for row in self.texts],
            "thresholds": dict(self.thresholds),
            "not": list(self.negatives),
        }


_PATH = re.compile(r"^~[^,]*$|^[^,]*[/\\][^,]*$|^[^,]*\.\w{2,5}$")
"""A text that is written like a path."""


def read_classes(given: Names | os.PathLike[str] | Classes) -> Classes:
    """The classes of a file, a data set's vocabulary, or of names.

    Args:
        given: a text file as this module describes; a JSON file with a list of names or an object of names
            and their texts; the name of a vocabulary (``ovseg list vocabularies``); "sky, tree" or "sky"; names
            in any form that ``as_vocabulary`` reads; or ``Classes``.

    Raises:
        UsageError: there is no such file, or it is something else; a text is nearly a vocabulary's name.

    >>> read_classes("sky, tree").names, read_classes("person").names, len(read_classes("voc20").names)
    (('sky', 'tree'), ('person',), 20)
    """
    if isinstance(given, Classes):
        return given
    if not isinstance(given, (str, os.PathLike)):
        return Classes(as_vocabulary(given))
    text = os.fspath(given)
    if isinstance(given, str) and text in list_vocabularies():
        return Classes(load_vocabulary(text))
    path = Path(text).expanduser() if text.startswith("~/") else Path(text)
    if not text.strip() or not os.path.lexists(path):
        if not text.strip() or isinstance(given, os.PathLike) or _PATH.search(text):
            raise UsageError(
                f"expected a file of classes, a vocabulary (ovseg list vocabularies) or words, "
                f"{short_repr(text)} does not exist"
            )
        if near := difflib.get_close_matches(text, list_vocabularies(), n=1, cutoff=0.8):
            raise UsageError(f"unknown vocabulary {short_repr(text)}: did you mean {near[0]}?")
        return Classes(as_vocabulary(text.rstrip().removesuffix(",")))  # "book," is one word
    content = read_text(path, "a file of classes")
    if path.suffix.lower() == ".json":
        return _from_json(content, path)
    return parse_classes(content, str(path))


def parse_classes(text: str, source: str = "") -> Classes:
    """The classes of a text, a line a class; see this module's description of the form.

    Args:
        text: the lines.
        source: the file's name, for messages.

    Raises:
        UsageError: a line cannot be read, or the names are wrong.
    """
    where = f"{source}: " if source else ""
    rows: list[tuple[str, tuple[str, ...]]] = []
    thresholds: dict[str, float] = {}
    negatives: list[str] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        try:
            parsed = _parse_line(line)
            if parsed is None:
                continue
            name, threshold, texts = parsed
            if name is None:
                negatives += texts
                continue
            rows.append((name, texts))
            if threshold is not None:
                thresholds[name] = check_number("a threshold", read_number(name, threshold), 0, 1)
        except UsageError as error:
            raise UsageError(f"{where}line {number}: {error}") from None
    try:
        names, texts_of = tuple(name for name, _ in rows), tuple(row for _, row in rows)
        return Classes(Vocabulary(names, texts_of), thresholds, tuple(negatives))
    except UsageError as error:
        raise UsageError(f"{where}{error}") from None


def read_thresholds(path: str | os.PathLike[str]) -> dict[str, float]:
    """Thresholds by class from a JSON file such as ``ovseg review`` writes.

    Raises:
        UsageError: there is no such file, or it is no object of names and numbers.
    """
    text = read_text(Path(path), "a file of thresholds")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    found = content.get("thresholds", content) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise UsageError(f'expected thresholds as JSON such as {{"dog": 0.6}}, {path} holds something else')
    return {name: check_number(f"the threshold of {short_repr(name)}", found[name], 0, 1) for name in found}


def _parse_line(line: str) -> tuple[str | None, str | None, tuple[str, ...]] | None:
    """Name, threshold and texts of a line; None for an empty line; the name is None for "not: …"."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        try:
            kept.append(json.loads(found[0]))
        except ValueError:
            raise UsageError(f"expected text in quotation marks, got {short_repr(found[0])}") from None
        return f"\0{len(kept) - 1}\0"

    def restored(part: str) -> str:
        return re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])], part.strip())

    bare = _QUOTED.sub(keep, line.removeprefix("\ufeff").replace("\0", "")).split("#", 1)[0].strip()
    if not bare:
        return None
    head, colon, tail = bare.partition(":")
    threshold = None
    if found := _THRESHOLD.match(head.strip()):
        head, threshold = found[1], restored(found[2])
    wanted = "expected one class, 'name', 'name: text, text' or 'name >= 0.6: text'"
    if not head.strip() or "," in head or (colon and not tail.strip()):
        raise UsageError(f"{wanted}, got {short_repr(line.strip())}")
    texts = tuple(restored(part) for part in tail.split(",")) if colon else (restored(head),)
    if not all(texts):
        raise UsageError(f"expected a text between all commas, got {short_repr(line.strip())}")
    if colon and fold(head) == NOT:
        return None, None, texts
    return restored(head), threshold, texts


def _from_json(content: str, path: Path) -> Classes:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise UsageError(f"expected classes as JSON, {path} is none") from None
    try:
        if isinstance(found, list):
            return Classes(as_vocabulary(found))
        if isinstance(found, dict):
            names = {name: _rows(row) for name, row in found.items() if fold(name) != NOT}
            return Classes(as_vocabulary(names), {}, tuple(_rows(found.get(NOT, []))))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    raise UsageError(
        f"expected classes as a list of names or an object of names and texts, {path} has neither"
    )


def _rows(row: object) -> Iterable[str]:
    if isinstance(row, str):
        return [row]
    if isinstance(row, list) and all(isinstance(text, str) for text in row):
        return row
    raise UsageError(f"expected the texts of a class as a text or a list of texts, got {short_repr(row)}")
