"""The one way from words, clicks and a box to objects.

image ─┬─ CLIP, once ──── rate: maps, presence ── prompt_sets ─┐
       └─ segmenter's encoder, once ───────────────────────────┴─ decode ─ choose ─ each object once ─> Answer

``find`` takes all words with the same clicks and box; whoever has clicks for each word (the page) asks
``rate`` and ``answer``. Words share pixels until ``exclusive`` gives each pixel to one of them.
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
    """What says which objects are meant; without a word, clicks and box describe one object."""

    rated: Rated | None = None
    clicks: tuple[Click, ...] = ()
    box: Box | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What was found for one question.

    Attributes:
        question: with the word's maps and presence.
        reason: why there is no object, or why a name of the word has none; None where nothing is missing.
        objects: the strongest first.
        sources: what each object was decoded from.
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
    """The answer to each word that is asked for, or one to the clicks and the box alone.

    Args:
        setup: the models and the options.
        encoded: the image.
        asked: the words; None for clicks and box alone.
        clicks: inside the image; each word gets them.
        box: inside the image; each word gets it.
    """
    rated = [None] if asked is None else rate(setup, asked, encoded.features)
    return answer(setup, encoded, [Question(one, tuple(clicks), box) for one in rated])


def answer(setup: Setup, encoded: EncodedImage, questions: Sequence[Question]) -> list[Answer]:
    """The answers to several questions, with one call of the decoder for the prompts of all."""
    plans, asked = [], list[PromptSet]()
    for question in questions:
        sets, reason = _prompts(setup, question, encoded.size)
        groups = [list(group) for _, group in itertools.groupby(sets, key=lambda one: id(one.whole))]
        joints = [_joint(setup, group, encoded.size) for group in groups]
        asked += [*itertools.chain(*groups), *(one for one in joints if one is not None)]
        plans.append((groups, joints, reason))
    decoded = iter(decode(setup, encoded, asked))
    answers = []
    for label, (question, (groups, joints, reason)) in enumerate(zip(questions, plans, strict=True)):
        several = [list(itertools.islice(decoded, len(group))) for group in groups]
        together = [None if joint is None else next(decoded) for joint in joints]
        found, sources = _each_once(label, several, together)
        if not found:
            reason = reason or "the segmenter found no region at these points"
        answers.append(Answer(question, reason, found, sources))
    return answers


def text_masks(one: Answer, encoded: EncodedImage) -> TextMasks:
    """An answer as the caller gets it."""
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


def _prompts(setup: Setup, question: Question, size: tuple[int, int]) -> tuple[list[PromptSet], str | None]:
    """The prompt sets of a question, and why something is missing."""
    sets, reason = list[PromptSet](), None
    if question.rated is not None:
        sets, reason = prompt_sets(setup, question.rated, size)
    elif not question.clicks and question.box is None:
        reason = "nothing asked yet: expected a text, a click or a box"
    sets = add_clicks(add_box(sets, question.box), question.clicks)
    if not sets and reason is None:
        reason = "only background clicks: expected a text, a foreground click or a box"
    return sets, reason


def _joint(setup: Setup, group: Sequence[PromptSet], size: tuple[int, int]) -> PromptSet | None:
    """The sets of one map as a single one, or None where there is one set only, or all are small objects."""
    return None if all(is_small(setup, one, size) for one in group) else join(group)


def _each_once(
    label: int, several: list[list[Decoded]], together: list[Decoded | None]
) -> tuple[tuple[Found, ...], tuple[Decoded, ...]]:
    """The objects of one question, each once, and their sources."""
    kept: list[Found] = []
    sources: list[Decoded] = []
    for parts, whole in zip(several, together, strict=True):
        for source, mask in _objects(parts, whole):
            if not mask.any():
                continue
            found = Found.of(label, mask, source.score)
            # Two prompt sets on one object give the same mask twice; the stronger component comes first.
            if not any(found.is_same(other) for other in kept):
                kept.append(found)
                sources.append(source)
    return tuple(kept), tuple(sources)


def _objects(parts: list[Decoded], whole: Decoded | None) -> Iterator[tuple[Decoded, NDArray[np.bool_]]]:
    """The masks of one map's prompt sets at the image's size, one for each object.

    A map often has several components on one object, so the sets were also decoded as one. That answer is
    taken if it covers most of the several masks and fits the map better than they do. Either way, parts of a
    mask that are not connected and have a positive point each are different objects.
    """
    if whole is None:
        for one in parts:
            yield one, one.mask()
        return
    answers = [whole] if _fits_better(whole, parts) else parts
    places = whole.source.prompts.positives  # without the clicks, which add to an object
    for one in answers:
        for mask in objects(one.mask(), places):
            yield one, mask


def _fits_better(whole: Decoded, parts: Iterable[Decoded]) -> bool:
    assert whole.source.region is not None
    union = np.any([one.small for one in parts], axis=0)
    if 2 * (whole.small & union).sum() < union.sum():
        return False
    return expected_iou(whole.small, whole.source.region) > expected_iou(union, whole.source.region)
