"""One image to talk about: a text, clicks, a box, each step of which can be taken back.

Everything but the decoder has been done when the first answer is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ovseg.errors import UsageError
from ovseg.maps.points import no_points
from ovseg.segmenters.base import check_box, check_inside
from ovseg.text_to_mask.results import Ask, Box, Click, TextMasks, no_masks, split
from ovseg.types import PointPrompts

if TYPE_CHECKING:
    from ovseg.text_to_mask.predictor import TextToMask

KEPT = 8
"""Steps whose answers are kept."""


@dataclass(frozen=True)
class _State:
    text: str | None = None
    clicks: tuple[Click, ...] = ()
    box: Box | None = None


class Session:
    """One image, looked at once; what was said about it can be taken back step by step.

    A text gives prompt sets; a background click joins all of them, a foreground click the nearest; a
    box keeps the sets within it. Without a text, clicks and box describe one object. A call that
    raises changes nothing.
    """

    def __init__(self, owner: TextToMask, image: np.ndarray) -> None:
        self._owner = owner
        self._seen = owner.look(image)
        self._states = [_State()]
        self._results: list[TextMasks | None] = [self._answer(_State())]

    @property
    def image(self) -> np.ndarray:
        return self._seen.image

    @property
    def result(self) -> TextMasks:
        """The answer to all that was said so far."""
        last = self._results[-1]
        if last is None:
            last = self._results[-1] = self._answer(self._states[-1])
        return last

    def text(self, text: str | None) -> TextMasks:
        """Ask for a text in place of the one before; None takes it away. Clicks stay."""
        if text is not None:
            split(text)
        return self._say(replace(self._states[-1], text=text))

    def click(self, x: float, y: float, foreground: bool = True) -> TextMasks:
        """A click at (x, y) in pixels of the image. Raises UsageError outside it."""
        check_inside(x, y, self._seen.size)
        state = self._states[-1]
        return self._say(replace(state, clicks=(*state.clicks, (float(x), float(y), bool(foreground)))))

    def remove_click(self, index: int) -> TextMasks:
        """Take back the click of this index. Raises UsageError where there is none."""
        clicks = self._states[-1].clicks
        if not 0 <= index < len(clicks):
            raise UsageError(f"wanted a click in 0..{len(clicks) - 1}, got {index}: {len(clicks)} were made")
        return self._say(replace(self._states[-1], clicks=clicks[:index] + clicks[index + 1 :]))

    def box(self, x0: float, y0: float, x1: float, y1: float) -> TextMasks:
        """A box around the object, cut to the image. Raises UsageError for one without area."""
        cut = check_box((x0, y0, x1, y1), self._seen.size)
        return self._say(
            replace(self._states[-1], box=(float(cut[0]), float(cut[1]), float(cut[2]), float(cut[3])))
        )

    def undo(self) -> TextMasks:
        """Take back the last step; at the beginning, nothing happens."""
        if len(self._states) > 1:
            self._states.pop()
            self._results.pop()
        return self.result

    def reset(self) -> TextMasks:
        """Back to the image alone; this is a step that can be undone."""
        return self._say(_State())

    def _say(self, state: _State) -> TextMasks:
        result = self._answer(state)  # before the state is kept: what raises leaves no trace
        self._states.append(state)
        self._results.append(result)
        if len(self._results) > KEPT:  # masks at full size add up; an older answer is made again if asked for
            self._results[-KEPT - 1] = None
        return result

    def _answer(self, state: _State) -> TextMasks:
        owner, look = self._owner, self._seen
        maps = np.zeros((0, *look.tokens.grid), np.float32)
        present: dict[str, float] = {}
        asks: list[Ask] = []
        reason = None
        if state.text is not None:
            names = split(state.text)
            maps, present = owner.maps(look, names, owner.features(names))
            asks, reason = owner.asks(look, maps, present)
        elif not state.clicks and state.box is None:
            reason = "nothing asked yet: wanted a text, a click or a box"
        asks = _with_box(asks, state.box)
        asks = _with_clicks(asks, state.clicks)
        if not asks and reason is None:
            reason = "only background clicks: wanted a text, a foreground click or a box"
        return owner.answer(look, asks, no_masks(state.text or "", look.size, present, maps, reason))


def _with_box(asks: list[Ask], box: Box | None) -> list[Ask]:
    """The sets with a positive in the box, cut to it; the box alone where there is none."""
    if box is None:
        return asks
    kept = []
    for ask in asks:
        xy, labels = ask.prompts.xy, ask.prompts.labels
        inside = (xy >= box[:2]).all(1) & (xy <= box[2:]).all(1)
        keep = inside | (labels == 0)
        if (inside & (labels == 1)).any():
            kept.append(replace(ask, prompts=PointPrompts(xy[keep], labels[keep]), box=box))
    return kept or [Ask(no_points(), None, box)]


def _with_clicks(asks: list[Ask], clicks: Sequence[Click]) -> list[Ask]:
    """Background clicks to every set, foreground clicks to the nearest; one set of clicks where there is none."""
    if not asks and any(foreground for _, _, foreground in clicks):
        asks = [Ask(no_points())]
    out = list(asks)
    for click in clicks:
        chosen = range(len(out))
        if click[2] and len(out) > 1:
            place = np.array(click[:2], np.float32)
            distances = [np.linalg.norm(ask.prompts.positives - place, axis=1).min() for ask in asks]
            nearest = int(np.argmin(distances))
            chosen = range(nearest, nearest + 1)
        for index in chosen:
            out[index] = replace(out[index], clicks=(*out[index].clicks, click))
    return out
