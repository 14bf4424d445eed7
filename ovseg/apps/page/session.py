"""What the page shows and what its buttons do, without a browser."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import RLock
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.classes import Classes
from ovseg.annotation.finder import MaskFinder
from ovseg.annotation.run.annotate import known_of, settings_of
from ovseg.annotation.run.folder import Settings
from ovseg.annotation.run.plan import Outcome
from ovseg.annotation.run.reading import Loaded, load
from ovseg.apps.page.answers import Answer, Answered, SeenPicture, Step, View, answer_words, to_picture
from ovseg.apps.page.photos import ACCEPTED, SKIPPED, Photos
from ovseg.apps.page.screen import resized, shown_size
from ovseg.apps.page.words import check_words_of_page, read_words, shown_words
from ovseg.errors import UsageError
from ovseg.files.cache import ContentCache
from ovseg.model import Model
from ovseg.options import AnnotateOptions, FormatOptions
from ovseg.segmenters.base import Segmenter
from ovseg.segmenters.prompts import check_point

P = ParamSpec("P")
T = TypeVar("T")


def _locked(method: Callable[Concatenate[PageSession, P], T]) -> Callable[Concatenate[PageSession, P], T]:
    """``method`` while no other thread is in the session."""

    def run(self: PageSession, /, *args: P.args, **named: P.kwargs) -> T:
        with self._lock:
            return method(self, *args, **named)

    run.__name__, run.__doc__ = method.__name__, method.__doc__
    return run


class PageSession:
    """The pictures, the words and the corrections of a page; several threads may use it.

    Every method that changes something leaves all as it was where it raises.

    Args:
        model: what ``ovseg.load_model`` gives.
        segmenter: what ``ovseg.load_segmenter`` gives.
        out: the run folder.
        options: how masks are found.

    Raises:
        OvsegError: the run folder holds something else.

    Example:
        >>> import tempfile, ovseg
        >>> run = Path(tempfile.mkdtemp()) / "run"
        >>> page = PageSession(ovseg.load_model("tiny"), ovseg.load_segmenter("tiny"), run)
        >>> page.set_words("sky, tree")
        >>> page.view().words, page.view().total
        ('sky, tree', 0)
        >>> page.close()
    """

    def __init__(
        self,
        model: Model,
        segmenter: Segmenter,
        out: str | os.PathLike[str],
        options: AnnotateOptions | None = None,
    ) -> None:
        self.model, self.segmenter = model, segmenter
        self.options = options or AnnotateOptions()
        model.check_window(self.options)
        self.photos = Photos(Path(out), known_of(model.device))
        self._lock = RLock()
        self._seen: ContentCache[SeenPicture] = ContentCache()
        self._finder: MaskFinder | None = None
        self._classes: Classes | None = None
        self._settings: Settings = {}
        self._place: int | None = None
        self._loaded: Loaded | None = None
        self._shown: NDArray[np.uint8] | None = None
        self._steps: list[Step] = []
        self._chosen: str | None = None
        self._answered: Answered | None = None
        if self.photos.jobs:  # pictures that were dropped onto the page before
            self._go(self.photos.next_open() or 0)

    @_locked
    def open_folder(self, folder: str | os.PathLike[str], recursive: bool = False) -> list[str]:
        """Show the first picture of a folder that has no decision yet.

        Returns:
            A line for whatever was left out.

        Raises:
            UsageError: the folder does not exist, or has no images.
        """
        lines = self.photos.open(folder, recursive)
        self._go(self.photos.next_open() or 0)
        return lines

    @_locked
    def upload(self, files: Sequence[str | os.PathLike[str]]) -> None:
        """Take pictures into the run folder and show the first of them. Raises OvsegError."""
        job = self.photos.upload(files)
        self._go(self.photos.jobs.index(job))

    @_locked
    def move(self, by: int) -> None:
        """Show the picture so many places further on, or back, without a decision on this one."""
        self._current()
        place = (self._place or 0) + by
        if not 0 <= place < len(self.photos.jobs):
            raise UsageError("this is the last photo" if by > 0 else "this is the first photo")
        self._go(place)

    @_locked
    def accept(self) -> None:
        """Keep the masks of this picture and show the next one that has no decision.

        Raises:
            UsageError: there is no picture, or there are no words.
            OvsegError: they cannot be written.
        """
        loaded = self._current()
        if loaded.picture is None:
            raise UsageError(f"cannot accept a photo that cannot be read: {loaded.row['error']}")
        finder = self._ready()
        answers = self._answers()
        picture = to_picture(finder, answers, loaded.picture.shape[:2])
        self.photos.accept(loaded, picture, self._steps, self._settings)
        self._advance()

    @_locked
    def skip(self) -> None:
        """Leave this picture out of the results and show the next one that has no decision.

        Raises:
            UsageError: there is no picture, or there are no words.
            OvsegError: it cannot be written.
        """
        loaded = self._current()
        self._ready()
        self.photos.skip(loaded, self._settings)
        self._advance()

    @_locked
    def set_words(self, words: str | Classes) -> None:
        """Ask for these words in place of those before; corrections stay.

        Args:
            words: what is typed, as ``read_words`` reads it, or a class list.

        Raises:
            UsageError: there is none, there are too many, or one is too long.
        """
        classes = read_words(words) if isinstance(words, str) else check_words_of_page(words)
        if classes == self._classes:
            return
        finder = MaskFinder(self.model, self.segmenter, classes, self.options)
        self._settings = settings_of(finder, classes)
        self._finder, self._classes = finder, classes
        if self._chosen not in finder.names:
            self._chosen = finder.names[0]

    @_locked
    def choose(self, word: str) -> None:
        """Let clicks be for this word. Raises UsageError where it is none of the words."""
        if word not in self._ready().names:
            raise UsageError(f"expected one of the words, got {word!r}")
        self._chosen = word

    @_locked
    def click(self, x: float, y: float, foreground: bool = True) -> None:
        """Add a click for the chosen word, and decode its masks again.

        Args:
            x, y: in pixels of the picture.
            foreground: whether it is on the object.

        Raises:
            UsageError: there is no picture or no word, or the click is outside the picture.
        """
        loaded = self._current()
        if loaded.picture is None:
            raise UsageError(f"cannot click on a photo that cannot be read: {loaded.row['error']}")
        self._ready()
        place = check_point(x, y, loaded.picture.shape[:2])
        self._step(Step(str(self._chosen), (*place, bool(foreground))))

    @_locked
    def leave_out(self) -> None:
        """The chosen word is not in this picture; once more takes this back. Raises UsageError."""
        self._current()
        self._ready()
        self._step(Step(str(self._chosen)))

    @_locked
    def undo(self) -> None:
        """Take back the last correction of this picture. Raises UsageError where there is none."""
        if not self._steps:
            raise UsageError("there is nothing to undo on this photo")
        self._steps = self._steps[:-1]

    @_locked
    def export(self, formats: Sequence[str], options: FormatOptions | None = None) -> Outcome:
        """Write label files of everything accepted; see ``Photos.export``, whose errors it raises."""
        return self.photos.export(formats, options)

    @_locked
    def view(self, with_answers: bool = True) -> View:
        """What there is to see now; without answers nothing is computed.

        Raises:
            OvsegError: the picture cannot be encoded.
        """
        jobs = self.photos.jobs
        job = None if self._place is None else jobs[self._place]
        loaded = self._loaded
        return View(
            None if loaded is None else loaded.picture,
            self._shown,
            "" if job is None else job.name,
            None if loaded is None else loaded.row.get("error"),
            self._answers() if with_answers else (),
            self._chosen,
            "" if job is None else self.photos.state(job),
            0 if self._place is None else self._place + 1,
            len(jobs),
            self.photos.count(ACCEPTED),
            self.photos.count(SKIPPED),
            len(self._steps),
            "" if self._classes is None else shown_words(self._classes),
        )

    @property
    def key(self) -> str:
        """Tells whether another tab has gone on: picture, words and the chosen word."""
        view = self.view(with_answers=False)
        return "\n".join([str(view.place), view.name, str(view.chosen), view.words])

    @_locked
    def close(self) -> None:
        """Let another run into the run folder."""
        self.photos.close()

    def _go(self, place: int) -> None:
        job = self.photos.jobs[place]
        steps, loaded = self.photos.steps(job), load(job)
        picture = loaded.picture
        self._shown = None if picture is None else resized(picture, shown_size(picture.shape[:2]))
        self._loaded, self._place, self._steps = loaded, place, steps

    def _advance(self) -> None:
        """The next picture without a decision; this one again where there is none."""
        following = self.photos.next_open(self._place if self._place is not None else -1)
        if following is not None:
            self._go(following)

    def _current(self) -> Loaded:
        if self._place is None or self._loaded is None:
            raise UsageError("expected a photo first: open a folder, or drop a photo onto the page")
        return self._loaded

    def _ready(self) -> MaskFinder:
        if self._finder is None:
            raise UsageError("expected words first, such as 'sky, tree'")
        return self._finder

    def _step(self, step: Step) -> None:
        before = self._steps
        self._steps = [*before, step]
        try:
            self._answers()
        except BaseException:
            self._steps = before
            raise

    def _answers(self) -> tuple[Answer, ...]:
        """The answers for what is set now; computed again only where that has changed."""
        if self._finder is None or self._loaded is None or self._loaded.picture is None:
            return ()
        finder, picture, steps = self._finder, self._loaded.picture, tuple(self._steps)
        known = self._answered
        if known is not None and known.finder is finder and known.picture is picture and known.steps == steps:
            return known.answers
        if known is not None and known.picture is picture:
            seen = known.seen  # without the digest of all its pixels, by which the cache looks
        else:
            seen = self._seen.get(picture, lambda pixels: SeenPicture(finder.setup.encode(pixels)))
        answers = tuple(answer_words(finder, seen, steps))
        self._answered = Answered(finder, picture, steps, seen, answers)
        return answers
