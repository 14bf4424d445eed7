"""The state of a page and what its buttons do, without a browser."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

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
from ovseg.apps.page.words import check_words_of_page, read_words, shown_words, unknown_lines
from ovseg.errors import OvsegError, UsageError, short_repr
from ovseg.files.cache import ContentCache
from ovseg.model import Model
from ovseg.options import AnnotateOptions, FormatOptions
from ovseg.segmenters.base import Segmenter
from ovseg.segmenters.prompts import check_point


class PageSession:
    """Pictures, words and corrections of a page. Use it from one thread at a time.

    A method that raises has changed nothing.

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
        self._seen: ContentCache[SeenPicture] = ContentCache()
        self._finder: MaskFinder | None = None
        self._classes: Classes | None = None
        self._settings: Settings = {}
        self._unknown: dict[str, str] = {}
        self._place: int | None = None
        self._loaded: Loaded | None = None
        self._photo = secrets.randbelow(1 << 40)  # no number of an earlier process comes again
        self._shown: NDArray[np.uint8] | None = None
        self._steps: list[Step] = []
        self._chosen: str | None = None
        self._answered: Answered | None = None
        if self.photos.jobs:  # pictures that were dropped onto the page before
            self._go(self.photos.next_open() or 0)

    def open_folder(
        self, folder: str | os.PathLike[str], recursive: bool = False, confined: bool = False
    ) -> list[str]:
        """Show the first picture of a folder without a decision; see ``Photos.open``.

        Returns:
            A line for whatever was left out.

        Raises:
            UsageError: the folder does not exist, or has no images.
        """
        before = self.photos.jobs
        try:
            lines = self.photos.open(folder, recursive, confined)
            self._go(self.photos.next_open() or 0)
        except OvsegError:
            self.photos.jobs = before
            raise
        return lines

    def upload(self, name: str, content: bytes, show: bool = True) -> None:
        """Store a picture in the run folder and show it. Raises as ``Photos.upload``.

        Args:
            name: the file's name, with an ending of an image.
            content: the file.
            show: whether the page moves to the new picture.
        """
        job = self.photos.upload(name, content)
        if show or self._place is None:
            self._go(self.photos.jobs.index(job))

    def move(self, by: int) -> None:
        """Show the picture ``by`` places further, or back if negative, without a decision on this one."""
        self._current()
        place = (self._place or 0) + by
        if not 0 <= place < len(self.photos.jobs):
            raise UsageError("this is the last photo" if by > 0 else "this is the first photo")
        self._go(place)

    def accept(self) -> None:
        """Store the masks of this picture and show the next one without a decision.

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

    def skip(self) -> None:
        """Leave this picture out of the results and show the next one without a decision.

        Raises:
            UsageError: there is no picture, or there are no words.
            OvsegError: it cannot be written.
        """
        loaded = self._current()
        self._ready()
        self.photos.skip(loaded, self._settings)
        self._advance()

    def set_words(self, words: str | Classes) -> None:
        """Replace the words; corrections are kept.

        Args:
            words: text as ``read_words`` parses it, or a class list.

        Raises:
            UsageError: there is none, there are too many, or one is too long.
        """
        classes = read_words(words) if isinstance(words, str) else check_words_of_page(words)
        if classes == self._classes:
            return
        finder = MaskFinder(self.model, self.segmenter, classes, self.options)
        self._settings = settings_of(finder, classes)
        self._unknown = unknown_lines(self.model, classes)
        self._finder, self._classes = finder, classes
        if self._chosen not in finder.names:
            self._chosen = finder.names[0]

    def set_threshold(self, word: str, threshold: float) -> None:
        """Set the least presence, 0..1, at which a word gets masks; it becomes part of the typed words.

        Raises:
            UsageError: it is none of the words, or the threshold is outside 0..1.
        """
        self._check_word(word)
        assert self._classes is not None
        self.set_words(self._classes.with_thresholds({word: threshold}))

    def choose(self, word: str) -> None:
        """Choose the word that clicks apply to. Raises UsageError if it is not one of the words."""
        self._check_word(word)
        self._chosen = word

    def click(self, x: float, y: float, foreground: bool = True) -> None:
        """Add a click for the chosen word and decode its masks again.

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

    def leave_out(self) -> None:
        """Leave the chosen word out of this picture; a second call brings it back. Raises UsageError."""
        self._current()
        self._ready()
        self._step(Step(str(self._chosen)))

    def undo(self) -> None:
        """Take back the last correction of this picture. Raises UsageError if there is none."""
        if not self._steps:
            raise UsageError("there is nothing to undo on this photo")
        self._steps = self._steps[:-1]

    def export(self, formats: Sequence[str], options: FormatOptions | None = None) -> Outcome:
        """Write label files of all accepted pictures; see ``Photos.export``."""
        return self.photos.export(formats, options)

    def view(self, with_answers: bool = True) -> View:
        """The current view. Without answers, nothing is computed.

        Raises:
            OvsegError: the picture cannot be encoded.
        """
        jobs = self.photos.jobs
        job = None if self._place is None else jobs[self._place]
        loaded = self._loaded
        return View(
            self._photo,
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
            tuple(self._steps),
            "" if self._classes is None else shown_words(self._classes),
            self._unknown,
        )

    def close(self) -> None:
        """Release the run folder."""
        self.photos.close()

    def _go(self, place: int) -> None:
        job = self.photos.jobs[place]
        steps, loaded = self.photos.steps(job), load(job)
        picture = loaded.picture
        self._shown = None if picture is None else resized(picture, shown_size(picture.shape[:2]))
        self._loaded, self._place, self._steps = loaded, place, steps
        self._photo += 1

    def _advance(self) -> None:
        """Show the next picture without a decision; stay here if there is none."""
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

    def _check_word(self, word: str) -> None:
        if word not in self._ready().names:
            raise UsageError(f"expected one of the words, got {short_repr(word)}")

    def _step(self, step: Step) -> None:
        before = self._steps
        self._steps = [*before, step]
        try:
            self._answers()
        except BaseException:
            self._steps = before
            raise

    def _answers(self) -> tuple[Answer, ...]:
        """The answers for the current words, picture and corrections, computed once."""
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
