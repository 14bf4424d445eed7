"""What a request of Label Studio asks, and what is remembered from earlier requests."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Generic, TypeVar

from ovseg.apps.serve.bounds import JsonObject
from ovseg.apps.serve.core import LONGEST_WORDS, MOST_TEXTS, Marks
from ovseg.apps.serve.drawn import DRAWN
from ovseg.apps.serve.images import Studio
from ovseg.apps.serve.labelling import LONGEST_CONFIG, Labelling, read_labelling, split_words
from ovseg.errors import DataError, described

Value = TypeVar("Value")
REMEMBERED = 256
"""Values that a memory holds; the least recently used is evicted."""
LONGEST = 4096
"""Characters of a project's name, an address or a token; longer ones are not remembered."""
MOST_RESULTS = 1000
"""Regions of a context that are read, the newest ones."""
TEXT = "textarea"
WHO = ("user", "user_id", "annotation", "annotation_id", "draft", "draft_id")
"""Keys of a context that say who draws, and in which annotation."""


class Memory(Generic[Value]):
    """The most recently used values, by key. Thread-safe.

    >>> memory = Memory(1)
    >>> memory.put("a", 1), memory.put("b", 2), memory.get("a"), memory.get("b")
    (None, None, None, 2)
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Value | None:
        """The value of a key, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value, and evict the least recently used one if there are too many."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)


@dataclass(frozen=True)
class Project:
    """A project of Label Studio: its name, where its images are, and the configuration from setup."""

    name: str
    studio: Studio
    config: str | None = None


class Projects:
    """The projects whose Label Studio has called setup.

    Attributes:
        marks: what was drawn last in each annotation, by ``Question.places``.
    """

    def __init__(self) -> None:
        self._projects: Memory[Project] = Memory()
        self._newest = Studio()
        self.marks: Memory[Marks] = Memory()

    def setup(self, body: Mapping[str, object]) -> None:
        """Remember a project's address, token and configuration; values of other types are left out."""
        base, token, config = _text(body, "hostname"), _text(body, "access_token"), body.get("schema")
        studio = Studio(base or None, token)
        kept = config if isinstance(config, str) and len(config) <= LONGEST_CONFIG else None
        name = _text(body, "project")
        self._projects.put(name, Project(name, studio, kept))
        self._newest = studio

    def of(self, body: Mapping[str, object]) -> Project:
        """The project of a request. If it is unknown, as after a restart, it has the newest one's address."""
        name = _text(body, "project")
        return self._projects.get(name) or Project(name, self._newest)


def _text(body: Mapping[str, object], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) and len(value) <= LONGEST else ""


@dataclass(frozen=True)
class Question:
    """What a request asks of each of its tasks.

    Attributes:
        labelling: the labels of the project.
        studio: where the project's images are.
        drawn: the regions of the context, the newest last; empty if nothing was drawn.
        words: the words of the text area; None for the labels of the project.
        project: the project's name.
        who: what the context says about the user and the annotation.
    """

    labelling: Labelling
    studio: Studio
    drawn: tuple[Mapping[str, object], ...] = ()
    words: tuple[str, ...] | None = None
    project: str = ""
    who: tuple[str, ...] = ()

    @property
    def is_interactive(self) -> bool:
        """Whether somebody waits for the answer on the page of a task."""
        return bool(self.drawn) or self.words is not None

    def places(self, task: Mapping[str, object], label: str) -> tuple[list[bytes], list[bytes]]:
        """The keys under which the marks of a label's object are remembered, each of one annotation alone.

        Returns:
            The key of the annotation that the context names, or else of the only draft, because Label Studio
            sends the drafts of the asking user only; none if neither is there. Second, the keys of the
            regions in the drafts, the newest first: those that this server made lead to their own marks.
        """
        drafts = task.get("drafts")
        listed = [one for one in drafts if isinstance(one, dict)] if isinstance(drafts, list) else []
        who = self.who
        if not who and len(listed) == 1:
            who = tuple(f"draft {key} {described(listed[0].get(key))}" for key in ("id", "user"))
        own = [self.place(task, label, who)] if who else []
        return own, [self.place(task, label, (one,)) for one in _region_ids(listed)]

    def place(self, task: Mapping[str, object], label: str, who: tuple[str, ...]) -> bytes:
        """The key of a label's object in a task, for an annotation or for a region."""
        named = [self.project, described(task.get("id")), self.labelling.to_name, label, *who]
        return sha256(json.dumps(named).encode()).digest()


def _region_ids(drafts: list[dict[str, object]]) -> Iterator[str]:
    """The ids of the regions in drafts, the newest first."""
    for draft in reversed(drafts):
        result = draft.get("result")
        for one in reversed(result[-MOST_RESULTS:]) if isinstance(result, list) else ():
            if isinstance(one, dict) and isinstance(one.get("id"), str):
                yield one["id"]


def read_question(body: JsonObject, projects: Projects) -> Question:
    """What a request asks. Raises DataError if it is not one of Label Studio's."""
    project = projects.of(body)
    context, results = _context(body)
    image = results[-1].get("to_name") if results else None
    config = body.get("label_config")
    labelling = read_labelling(
        project.config if config is None else config, image if isinstance(image, str) else None
    )
    name = project.name
    if not results:
        return Question(labelling, project.studio, project=name)
    kind = results[-1].get("type")
    if kind == TEXT:
        return Question(labelling, project.studio, words=_words(results[-1]), project=name)
    if kind not in DRAWN:
        raise DataError(f"expected a text area, key points, a rectangle or a brush, got {described(kind)}")
    who = tuple(f"{key} {described(context[key])}" for key in WHO if context.get(key) is not None)
    return Question(labelling, project.studio, drawn=tuple(results), project=name, who=who)


def _context(body: JsonObject) -> tuple[Mapping[str, object], list[Mapping[str, object]]]:
    """The context, and its regions, the newest last; both are empty without a context."""
    params = body.get("params")
    context = params.get("context") if isinstance(params, dict) else None
    if context is None:
        return {}, []
    result = context.get("result") if isinstance(context, dict) else None
    if not isinstance(result, list) or not all(isinstance(one, dict) for one in result[-MOST_RESULTS:]):
        raise DataError(f"expected a context with a list of results, got {described(context)}")
    return context, result[-MOST_RESULTS:]


def _words(prompt: Mapping[str, object]) -> tuple[str, ...]:
    """The words of a text area, between commas."""
    value = prompt.get("value")
    text = value.get("text") if isinstance(value, dict) else None
    if isinstance(text, str):
        text = [text]
    if not isinstance(text, list) or not all(isinstance(part, str) for part in text):
        raise DataError(f"expected words as a list of texts, got {described(text)}")
    if sum(len(part) + 1 for part in text) > LONGEST_WORDS:
        raise DataError(f"expected words of at most {LONGEST_WORDS} characters in the text area")
    words = tuple(word for part in text for word in split_words(part))
    if not words or len(words) > MOST_TEXTS:
        raise DataError(f"expected one to {MOST_TEXTS} words in the text area, got {len(words)}")
    return words
