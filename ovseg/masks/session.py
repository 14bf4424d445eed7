"""Interactive segmentation of one image by a text, clicks and a box, with undo.

Both encoders have run before the first step; a step runs the segmenter's decoder only.
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
"""Number of results that are kept, to bound memory; an older one is computed again after undo."""


@dataclass(frozen=True, eq=False)
class _State:
    asked: Asked | None = None
    clicks: tuple[Click, ...] = ()
    box: Box | None = None


class Session:
    """One image, encoded once; made by ``TextToMask.session``. Safe to use from several threads.

    A text gives prompt sets, one for each object. A background click applies to all of them, a foreground
    click to the nearest; a box keeps the sets with a point inside. Without a text, clicks and box describe
    one object. A call that raises changes nothing.

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
        self._lock = RLock()  # each step builds on the previous one: concurrent steps would be lost
        self._states = [_State()]
        self._results: list[TextMasks | None] = [self._answer(_State())]

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, read-only: copy it to draw on it."""
        return self._encoded.image.view()  # a view of a read-only array cannot be made writable

    @property
    def result(self) -> TextMasks:
        """The masks for the current text, clicks and box."""
        with self._lock:
            last = self._results[-1]
            if last is None:
                last = self._results[-1] = self._answer(self._states[-1])
            return last

    def text(self, text: str | Sequence[str] | None) -> TextMasks:
        """Set the text, in place of the previous one. Clicks and box stay.

        Args:
            text: one text; "person+bench" is one combined target; a text with a comma goes into a list;
                None removes the text.

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
            foreground: True on the object, False on the background.

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
        """Remove one click.

        Args:
            index: its position in the order of the clicks, from 0.

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
        """Set the box around the object, in pixels of the image, to which it is clipped.

        Raises:
            UsageError: the box has no area inside the image, or an argument has a wrong type.
        """
        box = cut_box((x0, y0, x1, y1), self._encoded.size)
        with self._lock:
            return self._step(replace(self._states[-1], box=box))

    def undo(self) -> TextMasks:
        """Undo the last step; without one, nothing happens."""
        with self._lock:
            if len(self._states) > 1:
                self._states.pop()
                self._results.pop()
            return self.result

    def reset(self) -> TextMasks:
        """Remove text, clicks and box. This is a step, too: ``undo`` brings them back."""
        with self._lock:
            return self._step(_State())

    def _step(self, state: _State) -> TextMasks:
        result = self._answer(state)  # computed before the state changes: a call that raises changes nothing
        self._states.append(state)
        self._results.append(result)
        if len(self._results) > KEPT:
            self._results[-KEPT - 1] = None
        return result

    def _answer(self, state: _State) -> TextMasks:
        (found,) = find(self._setup, self._encoded, state.asked, state.clicks, state.box)
        return text_masks(found, self._encoded)
