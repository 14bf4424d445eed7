"""Does what the tabs of a page ask for: each request names an act and gets the new state.

Only what is in ``Desk.acts`` can be asked for. One request is worked on at a time, so that what is answered
belongs together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Lock
from typing import TypeAlias

from ovseg.annotation.run.reading import reason
from ovseg.apps.page.drawing import MASKS, SHOWN
from ovseg.apps.page.session import PageSession
from ovseg.apps.page.state import State, counted, listed, state_of
from ovseg.errors import UsageError, short_repr
from ovseg.files.paths import shown
from ovseg.options.checks import check_flag, check_number

Asked: TypeAlias = Mapping[str, object]
"""The JSON object of a request."""
MOVING = frozenset(["open", "upload", "move", "accept", "skip"])
"""Acts after which another photo is shown. They are answered before its masks are made: a tab asks for these
with "look", unless it goes on at once."""
ON_PHOTO = frozenset(["click", "leave", "undo", "accept", "skip"])
"""Acts on the photo that the user saw."""


class Desk:
    """Does what the tabs of a page ask for.

    Args:
        session: what the page works on.
        may_open: whether tabs may open any folder of this machine.

    Attributes:
        acts: by name, what can be asked for: from the request to a line about what happened.
    """

    def __init__(self, session: PageSession, may_open: bool) -> None:
        self.session = session
        self._lock = Lock()
        self.acts: dict[str, Callable[[Asked], str]] = {
            "look": lambda _: "",
            "find": self._find,
            "choose": lambda asked: self._do(session.choose, _text(asked, "word")),
            "threshold": self._threshold,
            "click": self._click,
            "leave": lambda _: self._do(session.leave_out),
            "undo": lambda _: self._do(session.undo),
            "move": lambda asked: self._do(session.move, 1 if _flag(asked, "on") else -1),
            "accept": self._accept,
            "skip": self._skip,
            "export": self._export,
        }
        if may_open:
            self.acts["open"] = lambda asked: "; ".join(session.open_folder(_text(asked, "folder")))

    def answer(self, asked: Asked) -> State:
        """Do what a tab asks for; an error is a line in the state, whatever it is.

        Args:
            asked: "act" and its values; "what" lies over the photo; "key" and "photo" of the state that the
                tab shows.
        """
        name, what = str(asked.get("act")), asked.get("what")

        def act() -> str:
            self._check(asked, name)
            return self.acts[name](asked)

        with self._lock:
            return self._answered(name, act, str(what) if what in SHOWN else MASKS)

    def upload(self, name: str, content: bytes, show: bool) -> State:
        """Keep a photo, and show it."""
        with self._lock:
            return self._answered("upload", lambda: self._do(self.session.upload, name, content, show))

    def _answered(self, name: str, act: Callable[[], str], what: str = MASKS) -> State:
        """The state after an act; what the act raises is its line."""
        line, failed, may_open = "", False, "open" in self.acts
        try:
            line = act()
        except Exception as error:
            line, failed = reason(error), True
        pending = name in MOVING and not failed
        try:
            view = self.session.view(with_answers=not pending)
            return state_of(view, what, line, failed, pending, may_open)
        except Exception as error:  # a photo that the models cannot take must not close the page
            view = replace(self.session.view(with_answers=False), problem=reason(error))
            return state_of(view, what, line, failed, may_open=may_open)

    def _check(self, asked: Asked, name: str) -> None:
        """Raise UsageError for an unknown act, and for one on something that has changed since the tab saw it."""
        if name not in self.acts:
            raise UsageError(f"expected one of {', '.join(self.acts)}, got {short_repr(name)}")
        if name == "look":
            return
        view = self.session.view(with_answers=False)
        if asked.get("key") != view.key:
            raise UsageError("another tab of this page has gone on; this is how things are now")
        if name in ON_PHOTO and asked.get("photo") != view.photo:
            raise UsageError("the photo has changed since; nothing was done to it")

    def _do(self, act: Callable[..., None], *given: object) -> str:
        act(*given)
        return ""

    def _find(self, asked: Asked) -> str:
        self.session.set_words(_text(asked, "words"))
        view = self.session.view()
        found = [one.word for one in view.answers if one.found]
        if not view.answers:
            return ""
        return f"Found {listed(found)}" if found else "None of the words is in this photo"

    def _threshold(self, asked: Asked) -> str:
        word = _text(asked, "word")
        self.session.set_threshold(word, check_number("a threshold", asked.get("threshold"), 0, 1))
        self.session.choose(word)
        return ""

    def _click(self, asked: Asked) -> str:
        """A click at shares of the photo's width and height, for the word that the user saw chosen."""
        picture = self.session.view(with_answers=False).picture
        across, down = (check_number(name, asked.get(name), 0, 1) for name in ("x", "y"))
        height, width = (1, 1) if picture is None else picture.shape[:2]
        if asked.get("word") is not None:
            self.session.choose(_text(asked, "word"))
        x, y = (
            min(across * width, width - 0.5),
            min(down * height, height - 0.5),
        )  # borders are of the last pixel
        self.session.click(round(x, 1), round(y, 1), _flag(asked, "on"))
        return ""

    def _skip(self, _: Asked) -> str:
        name = self.session.view(with_answers=False).name
        self.session.skip()
        return self._decided(f"{name} skipped")

    def _accept(self, _: Asked) -> str:
        name = self.session.view(with_answers=False).name
        self.session.accept()
        return self._decided(f"{name} accepted")

    def _decided(self, what: str) -> str:
        view = self.session.view(with_answers=False)
        if view.accepted + view.skipped < view.total:
            return what
        return f"{what}. Every photo is decided: write the label files under Export"

    def _export(self, asked: Asked) -> str:
        formats = asked.get("formats")
        if not isinstance(formats, list) or not all(isinstance(one, str) for one in formats):
            raise UsageError("expected formats as a list of names")
        outcome = self.session.export(formats)
        photos = counted(outcome.done + outcome.before, "photo")
        masks = counted(sum(outcome.masks.values()), "mask")
        place = shown(self.session.photos.out.absolute())
        line = f"{photos} with {masks} written to {place}: {listed(list(outcome.formats))}"
        old = self.session.photos.leftovers()
        if old:
            line += f". Older label files of photos that you skipped since are still there: {listed(old)}"
        return line


def _text(asked: Asked, name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise UsageError(f"expected {name} as a text, got {short_repr(value)}")
    return value


def _flag(asked: Asked, name: str) -> bool:
    return bool(check_flag(name, asked.get(name)))
