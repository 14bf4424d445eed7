"""A view as the JSON that browsers get. They show every text in it as text, never as HTML."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg.apps.page.answers import Answer, View
from ovseg.apps.page.drawing import draw_thumbnail, draw_view, thumbnail, word_colours
from ovseg.apps.page.photos import ACCEPTED, OPEN, SKIPPED
from ovseg.options import FORMATS

STATES = {OPEN: "not decided", ACCEPTED: "accepted", SKIPPED: "skipped"}
USUAL = "coco"
QUALITY = {"photo": 88, "map": 80}
"""JPEG's, of the photo and of the maps beside the words."""


class Card(TypedDict):
    """The card of one word.

    ``said`` is "2 masks" or why there is none in short, ``reason`` the rest; ``unknown`` says that the model
    cannot know the word, with near ones; ``map`` is the address of a picture.
    """

    word: str
    chosen: bool
    there: bool
    said: str
    reason: str
    unknown: str
    presence: float
    threshold: float
    colour: str
    map: str


class State(TypedDict):
    """All that a tab shows.

    Attributes:
        key, photo: see ``View``; what a tab asks for carries them, so that nothing is done to something unseen.
        name, state, total, progress, share: of the photo, and how far one is in the folder, 0..1.
        picture: the drawn photo as a data address, "" where there is none.
        problem: why the photo cannot be shown, "" where it can.
        words: as they are typed.
        cards: one a word; None where the masks were not asked for yet.
        line, failed: what happened, and whether it is an error.
        hint: what to do next.
        may_open: whether a folder can be opened here.
        formats: what can be exported, the usual one first.
    """

    key: str
    photo: int
    name: str
    state: str
    total: int
    progress: str
    share: float
    picture: str
    problem: str
    words: str
    cards: list[Card] | None
    line: str
    failed: bool
    hint: str
    may_open: bool
    formats: list[str]


def state_of(
    view: View, what: str, line: str, failed: bool, pending: bool = False, may_open: bool = False
) -> State:
    """The state of a view.

    Args:
        view: the current view.
        what: what lies over the photo, one of ``drawing.SHOWN``.
        line: what happened.
        failed: whether that is an error.
        pending: the view is without answers because they take a while; the tab asks for them next.
        may_open: whether a folder can be opened from the page.
    """
    picture = draw_view(view, what)
    decided = view.accepted + view.skipped
    return State(
        key=view.key,
        photo=view.photo,
        name=view.name,
        state=STATES.get(view.state, ""),
        total=view.total,
        progress=(
            f"photo {view.place} of {view.total}: {view.accepted} accepted, {view.skipped} skipped, "
            f"{view.total - decided} left"
            if view.total
            else ""
        ),
        share=decided / view.total if view.total else 0.0,
        picture="" if picture is None else as_address(picture, QUALITY["photo"]),
        problem=view.problem or "",
        words=view.words,
        cards=None if pending and view.words and picture is not None else word_cards(view),
        line=line,
        failed=failed,
        hint=hint(view),
        may_open=may_open,
        formats=[USUAL, *(name for name in FORMATS if name != USUAL)],
    )


def word_cards(view: View) -> list[Card]:
    """A card for each word."""
    if not view.answers or view.shown is None:
        return []
    small = thumbnail(view.shown)
    return [
        _card(view, one, colour, as_address(draw_thumbnail(small, one), QUALITY["map"]))
        for one, colour in zip(view.answers, word_colours(view), strict=True)
    ]


def verdict(answer: Answer) -> tuple[str, str]:
    """The result of a word in short, and its reason.

    >>> verdict(Answer("cow", np.zeros((1, 1), np.float32), 0.02, 0.5, (), "presence 0.02 is below 0.50"))
    ('not here', 'presence 0.02 is below 0.50')
    """
    if answer.found:
        clicks = len(answer.clicks)
        said = counted(len(answer.found), "mask")
        return said, f"corrected by {counted(clicks, 'click')}" if clicks else ""
    if answer.left_out:
        return "left out", answer.reason or ""
    return ("no mask" if answer.is_present else "not here"), answer.reason or ""


def hint(view: View) -> str:
    """What to do next."""
    if not view.total:
        return "Open a folder of photos, or add photos, to begin."
    if view.problem:
        return f"{view.name} cannot be read: skip it, or go on to the next photo."
    if not view.words:
        return "Type what you are looking for under Words."
    return f"Click on the photo to correct “{view.chosen}”."


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "mask"), counted(2, "mask")
    ('1 mask', '2 masks')
    """
    return f"{number} {what}" + ("" if number == 1 else "s")


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["coco", "yolo", "voc"])
    'coco, yolo and voc'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def as_address(picture: NDArray[np.uint8], quality: int) -> str:
    """A picture as a data address: no file is written that a browser could fetch too late or too early."""
    kept = io.BytesIO()
    Image.fromarray(picture).save(kept, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(kept.getvalue()).decode("ascii")


def _card(view: View, one: Answer, colour: tuple[int, int, int], address: str) -> Card:
    said, reason = verdict(one)
    return Card(
        word=one.word,
        chosen=one.word == view.chosen,
        there=bool(one.found),
        said=said,
        reason=reason,
        unknown=view.unknown.get(one.word, ""),
        presence=round(one.presence, 4),
        threshold=one.wanted,
        colour="#{:02x}{:02x}{:02x}".format(*colour),
        map=address,
    )
