"""Label Studio's requests to predictions: words, key points, boxes and strokes become regions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from ovseg.annotate.records import Record, Region
from ovseg.annotate.serve.bounds import Deadline, JsonObject
from ovseg.annotate.serve.core import MOST_TEXTS, Core, region_id
from ovseg.annotate.serve.drawn import DRAWN, label_in, marks_of
from ovseg.annotate.serve.images import Sources, Studio, read_content
from ovseg.annotate.serve.labelling import Labelling, read_labelling, texts_of
from ovseg.annotate.serve.outline import outlines
from ovseg.annotate.serve.projects import Projects
from ovseg.annotate.writers.label_studio import brush_region
from ovseg.errors import DataError, OvsegError, described, one_line
from ovseg.text_to_mask.encoded import EncodedImage

MOST_TASKS = 10_000
MOST_RESULTS = 1000
"""Regions of a context that are looked at, the newest ones."""
TEXT = "textarea"
log = logging.getLogger("ovseg.serve")


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


def predict(
    core: Core, sources: Sources, projects: Projects, body: JsonObject, deadline: Deadline
) -> JsonObject:
    """The answer to ``POST /predict``: an entry for each task.

    The entry of a task that cannot be answered has the reason as ``error``. Where a person waits for it, it
    also has an empty ``result``. Without a context it has none: Label Studio then stores no prediction, and
    asks for this task again the next time.

    Args:
        core: what makes the regions.
        sources: where images may come from.
        projects: what is remembered of earlier requests.
        body: the request, with ``tasks``, ``label_config`` and ``params``.
        deadline: tasks that it leaves no time for get an error.

    Raises:
        DataError: the request is not one of Label Studio's.
    """
    question = read_question(body, projects)
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or len(tasks) > MOST_TASKS:
        raise DataError(f"wanted a list of at most {MOST_TASKS} tasks, got {described(tasks)}")
    return {"results": list(_entries(core, sources, projects, question, tasks, deadline))}


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
    name = str(body.get("project", ""))[:200]
    if not results:
        return Question(labelling, project.studio, project=name)
    kind = results[-1].get("type")
    if kind == TEXT:
        return Question(labelling, project.studio, words=_words(results[-1]), project=name)
    if kind not in DRAWN:
        raise DataError(f"wanted a text area, key points, a rectangle or a brush, got {described(kind)}")
    return Question(labelling, project.studio, drawn=tuple(results), project=name)


def _entries(
    core: Core,
    sources: Sources,
    projects: Projects,
    question: Question,
    tasks: list[object],
    deadline: Deadline,
) -> Iterator[JsonObject]:
    slowest = 0.0
    for task in tasks:
        before = deadline.left
        if before <= slowest:  # the answers that are ready get there, rather than none
            yield _failed(question, core, task, "wanted an answer in time, other tasks took it: ask again")
            continue
        try:
            yield _entry(core, sources, projects, question, task, deadline)
        except OvsegError as error:
            yield _failed(question, core, task, one_line(error))
        except Exception:  # the other tasks get their answers
            log.exception("task %s failed", _name(task))
            yield _failed(question, core, task, "the server failed at this task, its log says where")
        slowest = max(slowest, before - deadline.left)


def _failed(question: Question, core: Core, task: object, reason: str) -> JsonObject:
    log.warning("task %s: %s", _name(task), reason)
    shown: JsonObject = {"result": [], "score": 0.0} if question.is_interactive else {}
    return {**shown, "error": reason, "model_version": core.version}


def _entry(
    core: Core,
    sources: Sources,
    projects: Projects,
    question: Question,
    task: object,
    deadline: Deadline,
) -> JsonObject:
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        raise DataError(f"wanted a task with data, got {described(task)}")
    labelling = question.labelling
    content = read_content(data.get(labelling.key), sources, deadline, question.studio)
    picture = core.see(content)
    unknown: list[str] = []
    if question.drawn:
        regions = _drawn(core, projects, question, picture, _name(task))
    elif question.words is None:
        regions = core.words(picture, labelling.texts, deadline)
    else:
        texts, unknown = texts_of(labelling, question.words)
        regions = core.words(picture, texts, deadline) if texts else []
    scores = [one.score for one in regions if one.score is not None]
    entry: JsonObject = {
        "model_version": core.version,
        "score": round(sum(scores) / len(scores), 4) if scores else 0.0,
        "result": [part for one in regions for part in _results(picture, one, labelling)],
    }
    if unknown:
        labels = ", ".join(labelling.labels[:20])
        entry["error"] = f"wanted words of the labels {labels}; got {', '.join(map(described, unknown[:20]))}"
        log.warning("task %s: %s", _name(task), entry["error"])
    return entry


def _drawn(
    core: Core, projects: Projects, question: Question, picture: EncodedImage, task: str
) -> list[Region]:
    """The object of what was drawn. A background click alone corrects the object that was drawn last."""
    given = label_in(question.drawn[-1])
    label = question.labelling.labels[0] if given is None else question.labelling.label_of(given)
    if label is None:
        known = ", ".join(question.labelling.labels[:20])
        raise DataError(f"wanted one of the labels {known}, got {described(given)}")
    marks = marks_of(question.drawn, picture.size)
    key = sha256(json.dumps([question.project, task, question.labelling.to_name, label]).encode()).digest()
    before = projects.marks.get(key)
    if marks.is_negative and before is not None:
        marks = before + marks
    found = core.object(picture, marks, label)
    projects.marks.put(key, marks)
    return found


def _results(picture: EncodedImage, region: Region, labelling: Labelling) -> Iterator[JsonObject]:
    """A region as results of the kind that the project's labels are of."""
    record = Record(region_id(picture, region), picture.size)
    from_name = labelling.from_names[region.label]
    brush = brush_region(record, region, 0, from_name, labelling.to_name)
    if labelling.kind == "BrushLabels":
        yield brush
        return
    height, width = picture.size
    across, down = 100 / width, 100 / height
    x0, y0, x1, y1 = region.mask.box
    values: list[JsonObject] = []
    if labelling.kind == "RectangleLabels":
        box = {"x": x0 * across, "y": y0 * down, "width": (x1 - x0) * across, "height": (y1 - y0) * down}
        values = [{**box, "rotation": 0, "rectanglelabels": [region.label]}]
    else:
        for part in outlines(region.mask.array(), edges=True):
            points = [[x * across, y * down] for x, y in part]
            values.append({"points": points, "closed": True, "polygonlabels": [region.label]})
    for number, value in enumerate(values):
        identity = f"{brush['id']}{f'-{number}' if number else ''}"
        yield {**brush, "id": identity, "type": labelling.kind.lower(), "value": value}


def _context(body: JsonObject) -> list[Mapping[str, object]]:
    """The regions of the context, the newest last; none without a context."""
    params = body.get("params")
    context = params.get("context") if isinstance(params, dict) else None
    if context is None:
        return []
    result = context.get("result") if isinstance(context, dict) else None
    if not isinstance(result, list) or not all(isinstance(one, dict) for one in result[-MOST_RESULTS:]):
        raise DataError(f"wanted a context with a list of results, got {described(context)}")
    return result[-MOST_RESULTS:]


def _words(prompt: Mapping[str, object]) -> tuple[str, ...]:
    """The words of a text area, split at commas."""
    value = prompt.get("value")
    text = value.get("text") if isinstance(value, dict) else None
    if isinstance(text, str):
        text = [text]
    if not isinstance(text, list) or not all(isinstance(part, str) for part in text):
        raise DataError(f"wanted words as a list of texts, got {described(text)}")
    words = tuple(word for part in text for raw in part.split(",") if (word := raw.strip()))
    if not words or len(words) > MOST_TEXTS:
        raise DataError(f"wanted one to {MOST_TEXTS} words in the text area, got {len(words)}")
    return words


def _name(task: object) -> str:
    """What a task is called in messages."""
    found = task.get("id") if isinstance(task, dict) else None
    return described(found)
