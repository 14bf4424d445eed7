"""Background words by themselves: the stuff of COCO-Stuff, without what a vocabulary asks for.

"dog, cat" leaves grass, sky and wall to a dog or a cat, and the word "background" looks like nothing. With
``background="auto"`` the class "background" takes what these names win.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.options.checks import AUTO
from ovseg.words.names import fold, shares_word
from ovseg.words.vocabulary import BACKGROUND, Vocabulary, load_vocabulary

THINGS = 80
"""The first classes of COCO-Stuff are things, which would take pixels from whoever looks for things."""
Encode = Callable[[Sequence[str]], NDArray[np.floating[Any]]]
"""K texts to their L2-normalised features (K, D)."""


def with_background(vocabulary: Vocabulary, words: Sequence[str] | str | None, encode: Encode) -> Vocabulary:
    """A vocabulary with its background words.

    Args:
        vocabulary: the classes.
        words: None, words as ``Vocabulary.with_background`` takes them, or "auto": a class "background" that
            has texts of its own keeps them, one that has none gets the names of ``stuff``, and where there is
            no such class it is put in front.
        encode: the text encoder that compares names, used by "auto" alone.

    Raises:
        UsageError: there are words and a background class already, or "auto" leaves no name.
    """
    if words != AUTO:
        return vocabulary.with_background(words)
    if vocabulary.background is None:
        return vocabulary.with_background(stuff(vocabulary, encode))
    texts = list(vocabulary.texts)
    if [fold(text) for text in texts[vocabulary.background]] != [BACKGROUND]:
        return vocabulary
    texts[vocabulary.background] = stuff(vocabulary, encode)
    return Vocabulary(vocabulary.names, tuple(texts))


def stuff(vocabulary: Vocabulary, encode: Encode) -> tuple[str, ...]:
    """The stuff of COCO-Stuff that no class of a vocabulary means.

    A name goes if it shares a word with a text of a class ("potted plant": plant), or if it and such a text
    are each other's nearest among all names ("lawn": grass). That is a rank, because cosines of different
    models have different thresholds.

    Args:
        vocabulary: the classes; a class "background" is not compared.
        encode: the text encoder.

    Raises:
        UsageError: no name is left.

    >>> from ovseg.words.vocabulary import as_vocabulary
    >>> names = stuff(as_vocabulary("dog, pottedplant"), lambda texts: np.eye(len(texts)))
    >>> len(names), "plant" in names, "grass" in names
    (90, False, True)
    """
    classes = [(k, text) for k, text in zip(vocabulary.owners, vocabulary.flat, strict=True)]
    classes = [(k, text) for k, text in classes if k != vocabulary.background]
    names = [
        name
        for name in load_vocabulary("coco_stuff164k").names[THINGS:]
        if not any(shares_word(name, text) for _, text in classes)
    ]
    if names and classes:
        owners = [k for k, _ in classes] + [len(vocabulary) + k for k in range(len(names))]
        features = encode([*(text for _, text in classes), *names])
        near = _nearest(features, np.array(owners))
        first = len(classes)
        names = [name for k, name in enumerate(names, first) if not (near[k] < first and near[near[k]] == k)]
    if not names:
        raise UsageError("background 'auto' has no stuff that is none of the classes: expected words")
    return tuple(names)


def _nearest(features: NDArray[np.floating[Any]], owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of the nearest text of another owner, for each row (K,)."""
    likeness = features @ features.T
    likeness[owners[:, None] == owners] = -np.inf
    return np.asarray(likeness.argmax(axis=1))
