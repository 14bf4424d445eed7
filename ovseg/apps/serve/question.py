"""What a request of Label Studio asks: which labels it has, and the words or the drawing in its context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ovseg.apps.serve.bounds import JsonObject
from ovseg.apps.serve.core import MOST_TEXTS
from ovseg.apps.serve.drawn import DRAWN
from ovseg.apps.serve.images import Studio
from ovseg.apps.serve.labelling import Labelling, read_labelling
from ovseg.apps.serve.projects import Projects
from ovseg.errors import DataError, described

MOST_RESULTS = 1000
"""Regions of a context that are looked at, the newest ones."""
TEXT = "textarea"


@dataclass(frozen=True)
class Question:
    """What a request asks of each of its tasks.

    Attributes:
        labelling: the labels of the project.
        studio: where the project's images are.
        drawn: the newest region of the context, and those before it; none without a drawing.
        words: the words of the text area; None for the labels of the project.
        project: the project's name, for what is remembered.
    """

    labelling: Labelling
    studio: Studio
    drawn: tuple[Mapping[str, object], ...] = ()
    words: tuple[str, ...] | None = None
    project: str = ""

    @property
    def is_interactive(self) -> bool:
        """Whether somebody waits for the answer on the page of one task."""
        return bool(self.drawn) or self.words is not None


def read_question(body: JsonObject, projects: Projects) -> Question:
    """What a request asks.

    Raises:
        DataError: it is none of Label Studio's.
    """
    project = projects.of(body)
    results = _context(body)
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
    return Question(labelling, project.studio, drawn=tuple(results), project=name)


def _context(body: JsonObject) -> list[Mapping[str, object]]:
    """The regions of the context, the newest last; none without a context."""
    params = body.get("params")
    context = params.get("context") if isinstance(params, dict) else None
    if context is None:
        return []
    result = context.get("result") if isinstance(context, dict) else None
    if not isinstance(result, list) or not all(isinstance(one, dict) for one in result[-MOST_RESULTS:]):
        raise DataError(f"expected a context with a list of results, got {described(context)}")
    return result[-MOST_RESULTS:]


def _words(prompt: Mapping[str, object]) -> tuple[str, ...]:
    """The words of a text area, split at commas."""
    value = prompt.get("value")
    text = value.get("text") if isinstance(value, dict) else None
    if isinstance(text, str):
        text = [text]
    if not isinstance(text, list) or not all(isinstance(part, str) for part in text):
        raise DataError(f"expected words as a list of texts, got {described(text)}")
    words = tuple(word for part in text for raw in part.split(",") if (word := raw.strip()))
    if not words or len(words) > MOST_TEXTS:
        raise DataError(f"expected one to {MOST_TEXTS} words in the text area, got {len(words)}")
    return words
