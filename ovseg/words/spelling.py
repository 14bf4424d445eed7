"""English words: whether a word is one, and which are spelled like it.

The words are those of the class lists, and the names and definitions of WordNet's 21,844 ImageNet classes, which
timm ships. Inflected forms and compounds of these words count too, unless they are one letter away from a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from rapidfuzz import process
from rapidfuzz.distance import OSA

from ovseg.words.names import fold
from ovseg.words.vocabulary import list_vocabularies, load_vocabulary

LEAST = 0.7
"""Likeness (1 - edits / length) from which a word is near another: at most 2 edits in 7 letters."""
PREFERRED = 0.1
"""Added to the likeness of names of objects in the class lists."""
SHORT, LONG = 2, 40
"""Words of at most so many letters are not judged; longer ones than ``LONG`` are none."""
_PLURALS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("men", "man"), ("s", ""))
_SIBILANT = re.compile(r"(?:s|x|z|ch|sh|o)es")
_ENDINGS = (
    *(("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("er", ""), ("er", "e"), ("ier", "y")),
    *(("ly", ""), ("y", ""), ("ish", ""), ("less", ""), ("like", "")),
)
_DOUBLED = re.compile(r"(.+[aeiou])([bdglmnprt])\2(?:ing|ed|er|y)")
_LETTERS = re.compile(r"[^\W\d_]+")
_ACCENTS = str.maketrans("éèêçñï", "eeecni")  # those of English words: café, crêpe, façade, piñata, naïve


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, each once, without digits and signs.

    >>> split_words("Brown dog's leash, café")
    ['brown', 'dog', 'leash', 'cafe']
    """
    found = _LETTERS.findall(fold(text).replace("'s", "").translate(_ACCENTS))
    return [word for word in dict.fromkeys(found) if len(word) > SHORT]


def is_word(word: str) -> bool:
    """Whether a word in lower case is English.

    >>> [is_word(word) for word in ("bicycle", "sunsets", "bycicle", "fahrrad")]
    [True, True, False, False]
    """
    if len(word) > LONG:
        return False
    known = english()
    if any(form in known for form in _singular(word)):
        return True
    derived = any(stem in known for stem in _stems(word)) or any(
        word[:place] in known and any(form in known for form in _singular(word[place:]))
        for place in range(3, len(word) - 2)
    )
    return derived and not any(len(other) > 3 for other in _within(word, 1))


def near_words(word: str, count: int = 10) -> list[str]:
    """The words most like ``word`` in spelling, the likest first: its singular, then names of the class lists.

    >>> near_words("bycicle")[0], near_words("umbrela")[0], near_words("knives")[0]
    ('bicycle', 'umbrella', 'knife')
    """
    word = word[: 2 * LONG]
    scores = {form: 2.0 for form in _singular(word) if form != word and form in english()}
    for pool, bonus in ((tuple(english()), 0.0), (tuple(class_words()), PREFERRED)):
        likest = process.extract(
            word, pool, scorer=OSA.normalized_similarity, limit=count, score_cutoff=LEAST
        )
        for other, score, _ in likest:
            scores[other] = max(score + bonus, scores.get(other, 0.0))
    return sorted(scores, key=lambda other: (-scores[other], other))[:count]


@cache
def class_words() -> frozenset[str]:
    """The words of the class lists of data sets; the peers' own lists are left out for their glued names."""
    names = [name for name in list_vocabularies() if not name.endswith("clip")]
    return frozenset(
        word for name in names for text in load_vocabulary(name).flat for word in split_words(text)
    )


@cache
def english() -> frozenset[str]:
    """All words of the lists; none where timm's are not found, since the class lists alone are too few to judge by.

    Names of several words count by their definitions only: they hold foreign ones.
    """
    spec = find_spec("timm")
    assert spec is not None and spec.origin is not None  # timm is a dependency
    folder = Path(spec.origin).parent / "data" / "_info"
    words = set(class_words())
    try:
        lemmas, definitions = (
            (folder / f"imagenet_synset_to_{name}.txt").read_text(encoding="utf-8")
            for name in ("lemma", "definition")
        )
    except FileNotFoundError:  # these files are no part of timm's interface
        return frozenset()
    for line in lemmas.splitlines():
        names = fold(line.partition("\t")[2]).split(", ")
        words.update(name for name in names if _LETTERS.fullmatch(name))
    for line in definitions.splitlines():
        words.update(_LETTERS.findall(fold(line.partition("\t")[2])))
    return frozenset(words)


@cache
def _by_length() -> dict[int, tuple[str, ...]]:
    lengths: dict[int, list[str]] = {}
    for word in sorted(english()):
        lengths.setdefault(len(word), []).append(word)
    return {length: tuple(words) for length, words in lengths.items()}


def _within(word: str, edits: int) -> Iterator[str]:
    """Words of the lists that are at most so many edits away."""
    for length in range(len(word) - edits, len(word) + edits + 1):
        pool = _by_length().get(length, ())
        for other, _, _ in process.extract_iter(word, pool, scorer=OSA.distance, score_cutoff=edits):
            yield other


def _singular(word: str) -> Iterator[str]:
    """The word itself, and what it may be the plural of."""
    yield word
    for ending, instead in _PLURALS:
        if word.endswith(ending) and not word.endswith("ss"):
            yield word[: -len(ending)] + instead
    if _SIBILANT.search(word[-4:]):
        yield word[:-2]


def _stems(word: str) -> Iterator[str]:
    """What the word may be derived from: "jogging" from "jog", "smiling" from "smile"."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + SHORT:
            yield word[: -len(ending)] + instead
    if doubled := _DOUBLED.fullmatch(word):
        yield doubled[1] + doubled[2]
