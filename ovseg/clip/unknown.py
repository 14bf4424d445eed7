"""Words that a model's text tower cannot know: typing errors, other languages, words it was never trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from ovseg.clip.plain import Clip
from ovseg.words.spelling import LONG, class_words, english, is_word, near_words, split_words

if TYPE_CHECKING:
    from ovseg.clip.loaded import LoadedClip
    from ovseg.clip.text import TextEncoder

COUNT = 3
"""Near words that are offered for one word."""
MOST = 20
"""Near words are looked for of this many unknown words; the time of a call is bounded."""
LIKE = 0.75
"""Cosine in the text space, less the mean of the class lists' words, from which a word is near another."""


@dataclass(frozen=True)
class Unknown:
    """A word that the model cannot know.

    Attributes:
        word: in lower case.
        near: words that the model knows, spelled like it or near it in the text space, the nearest first.
        english: whether it is English, and the model was not trained on it.
    """

    word: str
    near: tuple[str, ...] = ()
    english: bool = False

    def __str__(self) -> str:
        """
        >>> print(Unknown("bycicle", ("bicycle", "icicle")))
        unknown word "bycicle": did you mean bicycle or icicle?
        >>> print(Unknown("rooftop", english=True))
        unknown word "rooftop": the model was not trained on it
        """
        found = f'unknown word "{self.word}"'
        if not self.near:
            reason = "the model was not trained on it" if self.english else "expected an English word"
            return f"{found}: {reason}"
        *first, last = self.near
        return f"{found}: did you mean {', '.join(first)}{' or ' if first else ''}{last}?"


def unknown_words(encoder: TextEncoder, texts: Iterable[str]) -> list[Unknown]:
    """The words of texts that the model cannot know, each once.

    A word is known if it is a token of its own, or an English word, and the model was trained on each of its
    tokens. The embedded models tell: rows of their token embedding that training never touched are zero. Only
    models with CLIP's own English tokenizer are judged; for others, which may know other languages, the list is
    empty.

    Args:
        encoder: of the model.
        texts: names, phrases or sentences.
    """
    loaded = encoder.loaded
    tokenizer: Any = getattr(loaded.tokenizer, "own", loaded.tokenizer)
    if not hasattr(tokenizer, "sot_token_id"):
        return []
    words = dict.fromkeys(word for text in texts for word in split_words(text))
    unknown = [word for word in words if not _is_known(loaded, tokenizer, word)]
    if unknown and not english():  # nothing to judge by
        return []
    return [
        Unknown(word, _near(encoder, tokenizer, word) if place < MOST else (), is_word(word))
        for place, word in enumerate(unknown)
    ]


def _is_known(loaded: LoadedClip, tokenizer: Any, word: str) -> bool:
    tokens = tokenizer.encode(word)
    return _is_trained(loaded, tokens) and (len(tokens) == 1 or is_word(word))


def _is_trained(loaded: LoadedClip, tokens: Sequence[int]) -> bool:
    """Whether each token has a row in the embedding; those of open_clip's models all have one."""
    if not isinstance(loaded.clip, Clip):
        return True
    rows = loaded.clip.token_embedding.weight[list(tokens)]
    return bool((rows != 0).any(dim=1).all())


def _near(encoder: TextEncoder, tokenizer: Any, word: str) -> tuple[str, ...]:
    """At most ``COUNT`` words that the model was trained on."""

    def trained(words: Iterable[str]) -> list[str]:
        return [other for other in words if _is_trained(encoder.loaded, tokenizer.encode(other))]

    near = trained(near_words(word))[:COUNT]
    if len(near) < COUNT and len(word) <= LONG and trained([word]):
        near += _near_in_space(encoder, word, trained(sorted(class_words())))
    return tuple(dict.fromkeys(near))[:COUNT]


def _near_in_space(encoder: TextEncoder, word: str, pool: Sequence[str]) -> list[str]:
    """Words of the pool that the text tower takes for nearly the same, which needs a tower that knows the word."""
    features = encoder.encode([*pool, word], "plain")
    centred = F.normalize(features - features[:-1].mean(dim=0), dim=-1)
    cosines = centred[:-1] @ centred[-1]
    order = torch.argsort(cosines, descending=True)[:COUNT].tolist()
    return [pool[place] for place in order if float(cosines[place]) >= LIKE]
