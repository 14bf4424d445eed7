"""Class lists: names, the texts that stand for each, and which class is the background.

One file a data set in ``vocabularies/``, a class a line, in the data set's own order:

    person
    car: car, automobile        # several texts; the best of them counts
    background: sky, wall, …    # the class "background" takes what its texts win
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ovseg.errors import UsageError


@dataclass(frozen=True)
class Vocabulary:
    """K classes: ``names`` (K), ``texts`` (K) tuples of prompts, ``background`` that class's index or None."""

    names: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    background: int | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise UsageError("wanted at least one name, got none")
        if len(self.texts) != len(self.names) or not all(self.texts):
            raise UsageError(f"wanted at least one text for each of {len(self.names)} names")
        for text in (*self.names, *self.flat):
            if not text.strip():
                raise UsageError(f"wanted names with letters in them, got {text!r}")
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                raise UsageError(f"wanted names in UTF-8, got bytes that are none: {text!r}")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise UsageError(f"wanted each name once, got {', '.join(map(repr, twice))} more than once")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def flat(self) -> tuple[str, ...]:
        """Every text in order, (T,)."""
        return tuple(text for texts in self.texts for text in texts)

    @property
    def owners(self) -> tuple[int, ...]:
        """The class index of each of ``flat``, (T,)."""
        return tuple(index for index, texts in enumerate(self.texts) for _ in texts)

    def with_background(self, words: str | Iterable[str]) -> Vocabulary:
        """The same classes and one "background" in front, whose texts are ``words``.

        Raises UsageError where there is a background class already: its words are in the vocabulary.
        """
        if self.background is not None:
            raise UsageError("the vocabulary has a background class already: wanted no background words")
        return Vocabulary(("background", *self.names), (as_vocabulary(words).flat, *self.texts), 0)


def as_vocabulary(names: str | Iterable[str] | Vocabulary) -> Vocabulary:
    """A vocabulary from "sky, tree", from a list of names, or itself.

    Raises UsageError for no names, a name twice, or one that is only spaces.
    """
    if isinstance(names, Vocabulary):
        return names
    if isinstance(names, str):
        if not names.strip():
            raise UsageError("wanted at least one name, got an empty text")
        names = names.split(",")
    listed = list(names)
    for name in listed:
        if not isinstance(name, str):
            raise UsageError(f"wanted names as text, got {type(name).__name__} {name!r}")
    cleaned = tuple(name.strip() for name in listed)
    return Vocabulary(cleaned, tuple((name,) for name in cleaned))


def list_vocabularies() -> list[str]:
    """The names that ``load_vocabulary`` knows."""
    return sorted(p.name[:-4] for p in _folder().iterdir() if p.name.endswith(".txt"))


def load_vocabulary(name_or_path: str | Path) -> Vocabulary:
    """A data set's vocabulary by name, or one from a text file of the same form.

    Raises UsageError where neither exists or a line cannot be read.
    """
    path = Path(name_or_path)
    if str(name_or_path) in list_vocabularies():
        text = (_folder() / f"{name_or_path}.txt").read_text(encoding="utf-8")
    elif path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        known = ", ".join(list_vocabularies())
        raise UsageError(f"unknown vocabulary {str(name_or_path)!r}: wanted a file or one of {known}")
    return parse_vocabulary(text.splitlines())


def find_vocabulary(names: str | Iterable[str] | Vocabulary) -> Vocabulary:
    """A data set's name, a file, "sky, tree", a list of names or a vocabulary: whichever it is.

    A text is looked up as ``load_vocabulary`` does unless there is a comma in it. Raises UsageError.
    """
    if isinstance(names, str) and "," not in names:
        return load_vocabulary(names)
    return as_vocabulary(names)


def parse_vocabulary(lines: Sequence[str]) -> Vocabulary:
    names, texts = [], []
    for number, line in enumerate(lines, 1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        name, _, words = (part.strip() for part in line.partition(":"))
        listed = tuple(word.strip() for word in words.split(",")) if words else (name,)
        if not name or not all(listed):
            raise UsageError(f"line {number}: wanted 'name' or 'name: text, text', got {line!r}")
        names.append(name)
        texts.append(listed)
    background = names.index("background") if "background" in names else None
    return Vocabulary(tuple(names), tuple(texts), background)


def _folder() -> Path:
    return Path(str(resources.files("ovseg") / "vocabularies"))
