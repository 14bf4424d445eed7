"""From words, clicks and a box to objects.

image ─┬─ CLIP, once ──── rate: maps, presence ── prompt_sets ─┐
       └─ segmenter's encoder, once ───────────────────────────┴─ decode ─ choose ─ each object once ─> Answer

``find`` applies the same clicks and box to every word; the page, which has clicks for each word, calls
``rate`` and ``answer``. Objects may overlap until ``exclusive`` assigns each pixel to one of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovseg.masks.decoder import Decoded, decode, is_small
from ovseg.masks.encoded import Asked, EncodedImage, Rated, Setup, rate
from ovseg.masks.exclusive import Found
from ovseg.masks.prompts import Click, PromptSet, add_box, add_clicks, join, prompt_sets
from ovseg.masks.shapes import expected_iou, objects
from ovseg.results.masks import TextMasks
from ovseg.segmenters.prompts import Box


@dataclass(frozen=True, eq=False)
class Question:
    """A word, clicks and a box that describe the wanted objects; without a word they describe one object."""

    rated: Rated | None = None
    clicks: tuple[Click, ...] = ()
    box: Box | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """The objects found for one question.

    Attributes:
        question: the question, with the word's maps and presence.
        reason: why there is no object, or none for one of the word's names; None if nothing is missing.
        objects: the strongest component first.
        sources: the decoder's result that each object was taken from.
    """

    question: Question
    reason: str | None
    objects: tuple[Found, ...] = ()
    sources: tuple[Decoded, ...] = ()


def find(
    setup: Setup,
    encoded: EncodedImage,
    asked: Asked | None,
    clicks: Sequence[Click] = (),
    box: Box | None = None,
) -> list[Answer]:
    """The answer to each word, or a single answer to clicks and box without a word.

    Args:
        setup: the models and the options.
        encoded: the image.
        asked: the words, or None.
        clicks, box: inside the image; they apply to every word.
    """
    rated = [None] if asked is None else rate(setup, asked, encoded.features)
    among = rivals_among(setup, [one for one in rated if one is not None])
    return answer(setup, encoded, [Question(one, tuple(clicks), box) for one in rated], among)


def rivals_among(setup: Setup, rated: Sequence[Rated]) -> list[Rated]:
    """The words of a request that are in the picture, if the segmenter is told of them at each other word."""
    if not (setup.options.keep_apart and setup.segmenter.accepts_rival):
        return []
    return [one for one in rated if max(one.presence.values()) >= one.word.threshold]


def answer(
    setup: Setup,
    encoded: EncodedImage,
    questions: Sequence[Question],
    among: Sequence[Rated] = (),
    first: int = 0,
) -> list[Answer]:
    """Answer several questions with one call of ``decode``.

    Args:
        setup: the models and the options.
        encoded: the image.
        questions: each with its own clicks and box.
        among: from ``rivals_among``, the words that a word is told apart from.
        first: the label of the first question's objects.
    """
    plans, asked = [], list[PromptSet]()
    for question in questions:
        sets, reason = _prompts(setup, question, encoded.size, among)
        groups = [list(group) for _, group in itertools.groupby(sets, key=lambda one: id(one.whole))]
        joints = [_joint(setup, group, encoded.size) for group in groups]
        asked += [*itertools.chain(*groups), *(one for one in joints if one is not None)]
        plans.append((groups, joints, reason))
    decoded = iter(decode(setup, encoded, asked))
    answers = []
    for label, (question, (groups, joints, reason)) in enumerate(zip(questions, plans, strict=True), first):
        several = [list(itertools.islice(decoded, len(group))) for group in groups]
        together = [None if joint is None else next(decoded) for joint in joints]
        found, sources = _each_once(label, several, together)
        if not found:
            reason = reason or "the segmenter found no region at these points"
        answers.append(Answer(question, reason, found, sources))
    return answers


def text_masks(one: Answer, encoded: EncodedImage) -> TextMasks:
    """Convert an answer to the public result, with masks at the image's size."""
    rated = one.question.rated
    masks = np.zeros((len(one.objects), *encoded.size), bool)
    for mask, found in zip(masks, one.objects, strict=True):
        x0, y0, x1, y1 = found.box
        mask[y0:y1, x0:x1] = found.crop
    return TextMasks(
        "" if rated is None else rated.word.text,
        masks,
        np.array([found.score for found in one.objects], np.float32),
        {} if rated is None else rated.presence,
        np.zeros((0, *encoded.features.grid), np.float32) if rated is None else rated.maps,
        tuple(source.candidates for source in one.sources),
        one.reason,
    )


def _prompts(
    setup: Setup, question: Question, size: tuple[int, int], among: Sequence[Rated]
) -> tuple[list[PromptSet], str | None]:
    """The prompt sets of a question, and the reason if an object or a name is missing."""
    sets, reason = list[PromptSet](), None
    if question.rated is not None:
        sets, reason = prompt_sets(setup, question.rated, size, _others(question.rated, among))
    elif not question.clicks and question.box is None:
        reason = "nothing asked yet: expected a text, a click or a box"
    sets = add_clicks(add_box(sets, question.box), question.clicks)
    if not sets and reason is None:
        reason = "only background clicks: expected a text, a foreground click or a box"
    return sets, reason


def _others(rated: Rated, among: Sequence[Rated]) -> list[NDArray[np.float32]]:
    """The maps of the names that are in the picture and share no text with a word."""
    own = set(rated.word.texts)
    return [
        values
        for one in among
        for (name, texts), values in zip(one.word.names.items(), one.maps, strict=True)
        if one.presence[name] >= one.word.threshold and not own.intersection(texts)
    ]


def _joint(setup: Setup, group: Sequence[PromptSet], size: tuple[int, int]) -> PromptSet | None:
    """Join the sets of one map; None if there is only one, or if all are small objects."""
    return None if all(is_small(setup, one, size) for one in group) else join(group)


def _each_once(
    label: int, several: list[list[Decoded]], together: list[Decoded | None]
) -> tuple[tuple[Found, ...], tuple[Decoded, ...]]:
    """The objects of one question without duplicates, and their sources."""
    kept: list[Found] = []
    sources: list[Decoded] = []
    for parts, whole in zip(several, together, strict=True):
        for source, mask in _objects(parts, whole):
            if not mask.any():
                continue
            found = Found.of(label, mask, source.score)
            # Two prompt sets on one object give the same mask; the first is of the stronger component.
            if not any(found.is_same(other) for other in kept):
                kept.append(found)
                sources.append(source)
    return tuple(kept), tuple(sources)


def _objects(parts: list[Decoded], whole: Decoded | None) -> Iterator[tuple[Decoded, NDArray[np.bool_]]]:
    """One mask at the image's size for each object of a map.

    A map often has several components on one object, so its prompt sets were also decoded jointly. The joint
    mask is preferred if it covers at least half of their union and fits the map better. In either case,
    disconnected parts of a mask that each have a positive point are separate objects.
    """
    if whole is None:
        for one in parts:
            yield one, one.mask()
        return
    answers = [whole] if _fits_better(whole, parts) else parts
    places = whole.source.prompts.positives  # without the clicks, which extend an object
    for one in answers:
        for mask in objects(one.mask(), places):
            yield one, mask


def _fits_better(whole: Decoded, parts: Iterable[Decoded]) -> bool:
    assert whole.source.region is not None
    union = np.any([one.small for one in parts], axis=0)
    if 2 * (whole.small & union).sum() < union.sum():
        return False
    return expected_iou(whole.small, whole.source.region) > expected_iou(union, whole.source.region)
