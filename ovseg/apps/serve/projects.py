"""What is remembered between requests: where a project's Label Studio is, the last marks of a task."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from ovseg.apps.serve.core import Marks
from ovseg.apps.serve.images import Studio
from ovseg.apps.serve.labelling import LONGEST_CONFIG

Value = TypeVar("Value")
REMEMBERED = 256
"""Projects, and tasks with marks; the least recently used go first."""
LONGEST = 4096
"""Characters of a project's name, an address or a token; longer ones are not remembered."""


class Memory(Generic[Value]):
    """The last used values by key, for several threads.

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
        """Keep a value; the one that was not used for longest may go."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)


@dataclass(frozen=True)
class Project:
    """A project of Label Studio: its name, where its images are, and its configuration as setup told it."""

    name: str
    studio: Studio
    config: str | None = None


class Projects:
    """The projects whose Label Studio has called setup, and what was drawn last in their tasks."""

    def __init__(self) -> None:
        self._projects: Memory[Project] = Memory()
        self._newest = Studio()
        self.marks: Memory[Marks] = Memory()

    def setup(self, body: Mapping[str, object]) -> None:
        """Remember a project's address, token and configuration; whatever is odd is left out."""
        base, token, config = _text(body, "hostname"), _text(body, "access_token"), body.get("schema")
        studio = Studio(base or None, token)
        kept = config if isinstance(config, str) and len(config) <= LONGEST_CONFIG else None
        name = _text(body, "project")
        self._projects.put(name, Project(name, studio, kept))
        self._newest = studio

    def of(self, body: Mapping[str, object]) -> Project:
        """The project of a request; after a restart of this server, what is known of the newest one."""
        name = _text(body, "project")
        return self._projects.get(name) or Project(name, self._newest)


def _text(body: Mapping[str, object], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) and len(value) <= LONGEST else ""
