"""The page's own pieces of HTML: the cards of the words, the progress, the line of what happened."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ovseg.apps.page.answers import Answer, View
from ovseg.apps.page.drawing import draw_thumbnail, thumbnail, word_colours
from ovseg.apps.page.photos import ACCEPTED, OPEN, SKIPPED

STATES = {OPEN: "not decided", ACCEPTED: "accepted", SKIPPED: "skipped"}


def word_cards(view: View) -> str:
    """A card for each word: its map, its presence, its masks, or why it has none."""
    if not view.answers or view.shown is None:
        return '<p class="ov-hint">The map of each word appears here.</p>'
    colours = word_colours(len(view.answers))
    small = thumbnail(view.shown)
    cards = [
        _card(index, one, colour, draw_thumbnail(small, one), one.word == view.chosen)
        for index, (one, colour) in enumerate(zip(view.answers, colours, strict=True))
    ]
    return f'<div class="ov-cards" role="listbox" aria-label="Words">{"".join(cards)}</div>'


def verdict(answer: Answer) -> tuple[str, str]:
    """What is said of a word, and its reason.

    >>> import numpy as np
    >>> verdict(Answer("cow", np.zeros((1, 1), np.float32), 0.02, 0.5, (), "presence 0.02, wanted 0.50"))
    ('not here', 'presence 0.02, wanted 0.50')
    """
    if answer.found:
        clicks = len(answer.clicks)
        said = counted(len(answer.found), "mask")
        return said, f"corrected by {counted(clicks, 'click')}" if clicks else ""
    if answer.left_out:
        return "left out", answer.reason or ""
    return ("no mask" if answer.is_present else "not here"), answer.reason or ""


def progress_bar(view: View) -> str:
    """How far one is in the folder."""
    if not view.total:
        return '<div class="ov-progress ov-where"><b>No photo yet</b></div>'
    decided = view.accepted + view.skipped
    share = 100 * decided / view.total
    return (
        f'<div class="ov-progress"><div class="ov-where"><b>{escape(view.name)}</b>'
        f'<span class="ov-state ov-{STATES[view.state].split()[0]}">{STATES[view.state]}</span>'
        f"<span>photo {view.place} of {view.total}: {view.accepted} accepted, {view.skipped} skipped, "
        f"{view.total - decided} left</span></div>"
        f'<div class="ov-bar"><i style="width:{share:.1f}%"></i></div></div>'
    )


def message(line: str, is_error: bool = False) -> str:
    """One line of what happened."""
    kind, role = ("error", "alert") if is_error else ("done", "status")
    return f'<div class="ov-message ov-{kind}" role="{role}">{escape(line)}</div>'


def hint(view: View) -> str:
    """What to do next, where nothing has happened that is worth a line."""
    if not view.total:
        line = "Open a folder of photos, or add photos, to begin."
    elif not view.answers:
        line = "Type what you are looking for under Words."
    else:
        line = f"Click on the photo to correct “{view.chosen}”."
    return f'<div class="ov-message ov-next">{escape(line)}</div>'


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


def _card(index: int, one: Answer, colour: tuple[int, int, int], address: str, is_chosen: bool) -> str:
    said, reason = verdict(one)
    kind = "there" if one.found else "absent"
    tint = f"rgb{colour}"
    share, border = f"{100 * one.presence:.0f}%", f"{100 * one.wanted:.0f}%"
    note = f'<span class="ov-why">{escape(reason)}</span>' if reason else ""
    return (
        f'<button type="button" role="option" class="ov-card ov-{kind}" data-word="{index}" '
        f'aria-selected="{str(is_chosen).lower()}">'
        f'<img src="{address}" alt="Map of {escape(one.word)}">'
        f'<span class="ov-text"><span class="ov-name"><i style="background:{tint}"></i>{escape(one.word)}'
        f"<em>{said}</em></span>"
        f'<span class="ov-presence" title="Presence; the mark is the threshold">'
        f'<span class="ov-meter"><i style="width:{share}"></i><u style="left:{border}"></u></span>'
        f"{one.presence:.2f}</span>{note}</span></button>"
    )
