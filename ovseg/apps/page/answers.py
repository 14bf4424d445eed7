"""The map, presence and masks of every word in one picture, corrected by clicks.

An image goes through CLIP and through the segmenter's encoder once. What was decoded for a word with its
clicks is cached, so that another word, a click or an undo costs only what is new.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.finder import REPORTED, MaskFinder
from ovseg.annotation.records import Picture, Region
from ovseg.masks.encoded import EncodedImage, Rated, Similarities, rate
from ovseg.masks.exclusive import Found, exclusive
from ovseg.masks.find import Question, answer, rivals_among
from ovseg.masks.prompts import Click

KEPT = 256
"""Most decoded answers that are cached for one picture; the least recently used one is evicted."""
RIVALS = 3
"""Most everyday words that are named for a word that is judged absent."""


@dataclass(frozen=True)
class Step:
    """One correction: a click for a word; or, without a click, leaving the word out of this picture.

    Attributes:
        word: the class's name.
        click: x, y in pixels of the image, and whether it is on the object.
    """

    word: str
    click: Click | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """The results of one word in one picture.

    Attributes:
        word: the class's name.
        map: (h, w) float32 on the token grid, comparable between words.
        presence: how likely the word is in the picture, 0..1.
        wanted: the least presence at which the word gets masks.
        found: its masks, without pixels that belong to another word.
        reason: why it has none, or None.
        clicks: the clicks for it, in order.
        left_out: whether the user left it out of the picture.
    """

    word: str
    map: NDArray[np.float32]
    presence: float
    wanted: float
    found: tuple[Found, ...] = ()
    reason: str | None = None
    clicks: tuple[Click, ...] = ()
    left_out: bool = False

    @property
    def is_present(self) -> bool:
        """Whether the model finds the word in the picture, regardless of clicks."""
        return self.presence >= self.wanted


_Key: TypeAlias = (
    "tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, ...], ...], bool, tuple[Click, ...]]"
)
_Decoded: TypeAlias = "tuple[tuple[Found, ...], str]"


@dataclass(frozen=True, eq=False)
class SeenPicture:
    """A picture encoded by both models, and the masks decoded so far."""

    encoded: EncodedImage
    decoded: OrderedDict[_Key, _Decoded] = field(default_factory=OrderedDict)


def steps_of(steps: Sequence[Step], word: str) -> tuple[tuple[Click, ...], bool]:
    """The clicks of a word, and whether it is left out. Leaving it out twice, or a later click, brings it back.

    >>> steps_of([Step("sky", (1, 2, True)), Step("sky")], "sky")
    (((1, 2, True),), True)
    >>> steps_of([Step("sky"), Step("sky", (1, 2, True))], "sky")[1]
    False
    """
    own = [step for step in steps if step.word == word]
    last = 0
    while last < len(own) and own[-1 - last].click is None:
        last += 1
    return tuple(step.click for step in own if step.click is not None), last % 2 == 1


def answer_words(finder: MaskFinder, seen: SeenPicture, steps: Sequence[Step] = ()) -> list[Answer]:
    """Answer every word, in the order of the words; new masks are decoded in one call.

    Args:
        finder: the words, and both models.
        seen: the picture.
        steps: the corrections, in their order.
    """
    rated = rate(finder.setup, finder.asked, seen.encoded.features)
    answers = []
    for rating in rated:
        word = rating.word
        clicks, left_out = steps_of(steps, word.text)
        share = rating.presence[word.text]
        answers.append(Answer(word.text, rating.maps[0], share, word.threshold, (), None, clicks, left_out))
    asked = [
        k
        for k, one in enumerate(answers)
        if not one.left_out and (one.is_present or any(click[2] for click in one.clicks))
    ]
    decoded = _decode(finder, seen, {k: (rated[k], answers[k]) for k in asked})
    better = better_words(finder, seen.encoded) if len(decoded) < len(answers) else []
    for k, one in enumerate(answers):
        if k in decoded:
            found = tuple(replace(mask, label=k) for mask in decoded[k][0])
            answers[k] = replace(one, found=found, reason=None if found else decoded[k][1])
        else:
            answers[k] = replace(one, reason=_why_absent(one, better[k]))
    return answers if finder.overlap else _without_shared(answers, seen.encoded.size, steps)


def to_picture(finder: MaskFinder, answers: Sequence[Answer], size: tuple[int, int]) -> Picture:
    """Convert answers to regions of a run; a corrected word's prompt holds its clicks: "sky; + 320 150"."""
    regions = []
    for word, one in zip(finder.asked.words, answers, strict=True):
        clicks = [f"{'+' if on else '-'} {x:g} {y:g}" for x, y, on in one.clicks]
        prompt = "; ".join([", ".join(word.texts), *clicks])
        regions += [
            Region(one.word, found.coded(size), round(found.score, 4), prompt, finder.method)
            for found in one.found
        ]
    presence = {one.word: round(one.presence, 4) for one in answers if one.presence >= REPORTED}
    return Picture(tuple(regions), presence)


def _decode(
    finder: MaskFinder, seen: SeenPicture, asked: dict[int, tuple[Rated, Answer]]
) -> dict[int, _Decoded]:
    """Masks of some words before shared pixels are assigned; the same clicks are decoded once."""
    among = rivals_among(finder.setup, [rated for rated, _ in asked.values()])
    others = tuple(one.word.texts for one in among)
    keys = {
        k: (rated.word.texts, finder.asked.rivals, others, one.is_present, one.clicks)
        for k, (rated, one) in asked.items()
    }
    new = [k for k, key in keys.items() if key not in seen.decoded]
    questions = [Question(asked[k][0], asked[k][1].clicks) for k in new]
    for k, made in zip(new, answer(finder.setup, seen.encoded, questions, among), strict=True):
        seen.decoded[keys[k]] = (made.objects, made.reason or "")
    out = {k: seen.decoded[key] for k, key in keys.items()}
    for key in keys.values():
        seen.decoded.move_to_end(key)
    while len(seen.decoded) > max(KEPT, len(keys)):
        seen.decoded.popitem(last=False)
    return out


def _why_absent(one: Answer, better: Sequence[str]) -> str:
    """Why a word has no masks: the user left it out, or its presence is too low."""
    if one.left_out:
        return "you left it out of this photo"
    reason = f"presence {one.presence:.2f} is below {one.wanted:.2f}"
    return f"{reason}; everyday words that fit the photo better: {', '.join(better)}" if better else reason


def better_words(finder: MaskFinder, encoded: EncodedImage) -> list[list[str]]:
    """For each class at most ``RIVALS`` everyday words that fit the whole picture better, best first."""
    asked = finder.asked
    value = Similarities.of(encoded.features, asked).images.max(axis=0)
    ranked = sorted(asked.rivals, key=lambda rival: -value[asked.rows[rival]])
    out = []
    for word in asked.words:
        own, best = asked.rivals_of(word), max(value[asked.rows[text]] for text in word.texts)
        better = [rival for rival in ranked if value[asked.rows[rival]] > best and rival in own]
        out.append(better[:RIVALS])
    return out


def _without_shared(answers: list[Answer], size: tuple[int, int], steps: Sequence[Step]) -> list[Answer]:
    """Assign each pixel to one word: to the word that was corrected last, or else by the maps.

    What the user clicked wins over what the models say, and of two corrected words the later one wins.
    """
    alone = [mask for one in answers for mask in one.found if not one.clicks]
    left = exclusive(alone, {mask.label: answers[mask.label].map for mask in alone}, size)
    order = [step.word for step in steps if step.click is not None]
    corrected = sorted(
        (k for k, one in enumerate(answers) if one.clicks and one.found),
        key=lambda k: -_last(order, answers[k].word),
    )
    taken = np.zeros(size, bool)
    kept: dict[int, list[Found]] = {}
    for mask in [*(mask for k in corrected for mask in answers[k].found), *left]:
        rest = mask.without(taken)
        if rest is not None:
            kept.setdefault(mask.label, []).append(rest)
        if answers[mask.label].clicks:
            taken |= mask.mask(size)
    return [
        replace(
            one,
            found=tuple(kept.get(k, ())),
            reason="all its pixels belong to other words" if one.found and k not in kept else one.reason,
        )
        for k, one in enumerate(answers)
    ]


def _last(order: Sequence[str], word: str) -> int:
    return max(index for index, one in enumerate(order) if one == word)


@dataclass(frozen=True, eq=False)
class View:
    """Everything that the page shows.

    Attributes:
        photo: identifies the picture; a picture that is shown again has another number.
        picture: (H, W, 3) uint8 RGB, or None where there is none.
        shown: (h, w, 3), the same at the size of a screen.
        name: the picture's name, "" where there is none.
        problem: why the picture cannot be read or encoded, or None.
        answers: one for each word.
        chosen: the word that clicks are for, or None.
        state: ``photos.OPEN``, ``ACCEPTED`` or ``SKIPPED``.
        place: the picture's number, from 1 on; 0 where there is none.
        total, accepted, skipped: the number of all pictures, of accepted and of skipped ones.
        steps: the corrections that undo can take back, in order.
        words: the words as they are typed.
        unknown: for words that the model cannot know, a line that offers near words.
    """

    photo: int
    picture: NDArray[np.uint8] | None
    shown: NDArray[np.uint8] | None
    name: str
    problem: str | None
    answers: tuple[Answer, ...]
    chosen: str | None
    state: str
    place: int
    total: int
    accepted: int
    skipped: int
    steps: tuple[Step, ...]
    words: str
    unknown: Mapping[str, str]

    @property
    def key(self) -> str:
        """A digest that differs after any change: of picture, words, corrections, decisions or number of pictures."""
        counts = (self.total, self.accepted, self.skipped)
        known = repr((self.photo, self.chosen, self.words, self.steps, counts))
        return hashlib.sha256(known.encode(errors="surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Answered:
    """Answers, with the inputs that they were computed from."""

    finder: MaskFinder
    picture: NDArray[np.uint8]
    steps: tuple[Step, ...]
    seen: SeenPicture
    answers: tuple[Answer, ...]
