"""One image that is asked about step by step: a text, clicks, a box, each of which can be taken back.

Everything but the segmenter's decoder has been computed when the first answer is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError, described
from ovseg.masks.encoded import Asked, EncodedImage, Setup, parse_words
from ovseg.masks.find import find, text_masks
from ovseg.masks.prompts import Click, cut_box
from ovseg.options.checks import check_integer
from ovseg.results.masks import TextMasks
from ovseg.segmenters.prompts import Box, check_point

KEPT = 8
"""Steps whose answers are kept, because masks add up; an older answer is made again when it is needed."""


@dataclass(frozen=True, eq=False)
class _State:
    asked: Asked | None = None
    clicks: tuple[Click, ...] = ()
    box: Box | None = None


class Session:
    """One image, encoded once; see ``TextToMask.session``. Several threads may use it at the same time.

    A text gives prompt sets. A background click joins all of them, a foreground click the nearest one. A box
    keeps the sets that have a point in it. Without a text, clicks and box describe one object. A call that
    raises changes nothing.

    Example:
        >>> import ovseg
        >>> finder = ovseg.TextToMask(ovseg.load_model(), ovseg.load_segmenter("grabcut"))
        >>> session = finder.session(ovseg.make_scene(3).image)
        >>> first = session.click(64, 64)
        >>> corrected = session.click(10, 10, foreground=False)
        >>> session.undo() == first
        True
    """

    def __init__(self, setup: Setup, encoded: EncodedImage) -> None:
        self._setup = setup
        self._encoded = encoded
        self._lock = RLock()  # a step is made from the one before it: two at once would lose one
        self._states = [_State()]
        self._results: list[TextMasks | None] = [self._answer(_State())]

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, read-only: copy it to draw on it."""
        return self._encoded.image.view()  # of a view, nobody can switch the protection off

    @property
    def result(self) -> TextMasks:
        """The answer to everything that was said so far."""
        with self._lock:
            last = self._results[-1]
            if last is None:
                last = self._results[-1] = self._answer(self._states[-1])
            return last

    def text(self, text: str | Sequence[str] | None) -> TextMasks:
        """Ask for a text in place of the one before. Clicks and box stay.

        Args:
            text: one text, "person+bench" for a combined target; a list of one text that has a comma in it;
                None takes the text away.

        Raises:
            UsageError: the text is empty or too long, or there are several.
        """
        asked = None
        if text is not None:
            words = parse_words(text, self._setup.options.presence_threshold)
            if len(words) > 1:
                several = "+".join(word.text for word in words)
                raise UsageError(
                    f"expected one text at a time in a session, got {len(words)}: "
                    f"for a combined target write {described(several)}"
                )
            asked = Asked.of(self._setup, words)
        with self._lock:
            return self._step(replace(self._states[-1], asked=asked))

    def click(self, x: float, y: float, foreground: bool = True) -> TextMasks:
        """Add a click.

        Args:
            x, y: in pixels of the image.
            foreground: whether it is on the object.

        Raises:
            UsageError: the click is outside the image, or an argument has a wrong type.
        """
        if not isinstance(foreground, (bool, np.bool_)):
            raise UsageError(f"expected foreground as True or False, got {described(foreground)}")
        place = check_point(x, y, self._encoded.size)
        with self._lock:
            state = self._states[-1]
            return self._step(replace(state, clicks=(*state.clicks, (*place, bool(foreground)))))

    def remove_click(self, index: int) -> TextMasks:
        """Take back one click.

        Args:
            index: its position, from 0 on, in the order of the clicks.

        Raises:
            UsageError: there is no such click.
        """
        with self._lock:
            clicks = self._states[-1].clicks
            if not clicks:
                raise UsageError(f"expected the position of a click, got {described(index)}: none was made")
            number = check_integer("the position of a click", index, 0, len(clicks) - 1)
            return self._step(replace(self._states[-1], clicks=clicks[:number] + clicks[number + 1 :]))

    def box(self, x0: float, y0: float, x1: float, y1: float) -> TextMasks:
        """Set the box around the object, in pixels, cut to the image.

        Raises:
            UsageError: the box has no area inside the image, or an argument has a wrong type.
        """
        box = cut_box((x0, y0, x1, y1), self._encoded.size)
        with self._lock:
            return self._step(replace(self._states[-1], box=box))

    def undo(self) -> TextMasks:
        """Take back the last step; at the beginning nothing happens."""
        with self._lock:
            if len(self._states) > 1:
                self._states.pop()
                self._results.pop()
            return self.result

    def reset(self) -> TextMasks:
        """Take text, clicks and box away. This is a step that can be taken back, too."""
        with self._lock:
            return self._step(_State())

    def _step(self, state: _State) -> TextMasks:
        result = self._answer(state)  # before the state is kept: a call that raises changes nothing
        self._states.append(state)
        self._results.append(result)
        if len(self._results) > KEPT:
            self._results[-KEPT - 1] = None
        return result

    def _answer(self, state: _State) -> TextMasks:
        (found,) = find(self._setup, self._encoded, state.asked, state.clicks, state.box)
        return text_masks(found, self._encoded)
