"""Label Studio's requests to predictions: words, key points, boxes and strokes become regions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from ovseg.annotation.formats.label_studio import brush_region
from ovseg.annotation.records import Record, Region
from ovseg.apps.serve.bounds import Deadline, JsonObject
from ovseg.apps.serve.core import Core, region_id
from ovseg.apps.serve.drawn import label_in, marks_of
from ovseg.apps.serve.images import Sources, read_content
from ovseg.apps.serve.labelling import Labelling, texts_of
from ovseg.apps.serve.outline import outlines
from ovseg.apps.serve.projects import Projects
from ovseg.apps.serve.question import Question, read_question
from ovseg.errors import DataError, OvsegError, described, one_line
from ovseg.masks.encoded import EncodedImage

MOST_TASKS = 10_000
LISTED = 20
"""Labels or words that a message names."""
log = logging.getLogger("ovseg.serve")


@dataclass(frozen=True)
class LabelStudio:
    """A backend of Label Studio.

    Attributes:
        core: what makes the regions.
        sources: where images may come from.
        projects: what is remembered of earlier requests.
    """

    core: Core
    sources: Sources = field(default_factory=Sources)
    projects: Projects = field(default_factory=Projects)

    def setup(self, body: JsonObject, _: Deadline | None = None) -> JsonObject:
        """The answer to ``POST /setup``, where Label Studio says what it is: the model version."""
        self.projects.setup(body)
        return {"model_version": self.core.version}

    def predict(self, body: JsonObject, deadline: Deadline) -> JsonObject:
        """The answer to ``POST /predict``: an entry for each task.

        The entry of a task that cannot be answered has the reason as ``error``. Where a person waits for it,
        it also has an empty ``result``. Without a context it has none: Label Studio then stores no
        prediction, and asks for this task again the next time.

        Args:
            body: the request, with ``tasks``, ``label_config`` and ``params``.
            deadline: tasks that it leaves no time for get an error.

        Raises:
            DataError: the request is not one of Label Studio's.
        """
        question = read_question(body, self.projects)
        tasks = body.get("tasks")
        if not isinstance(tasks, list) or len(tasks) > MOST_TASKS:
            raise DataError(f"expected a list of at most {MOST_TASKS} tasks, got {described(tasks)}")
        entries = []
        slowest = 0.0
        for task in tasks:
            before = deadline.left
            if before > slowest:
                entries.append(self._answered(question, task, deadline))
            else:  # the answers that are ready get there, rather than none
                late = "expected an answer in time, other tasks took it: ask again"
                entries.append(self._failed(question, task, late))
            slowest = max(slowest, before - deadline.left)
        return {"results": entries}

    def _answered(self, question: Question, task: object, deadline: Deadline) -> JsonObject:
        try:
            return self._entry(question, task, deadline)
        except OvsegError as error:
            return self._failed(question, task, one_line(error))
        except Exception:  # the other tasks get their answers
            log.exception("task %s failed", _name(task))
            return self._failed(question, task, "the server failed at this task, its log says where")

    def _failed(self, question: Question, task: object, reason: str) -> JsonObject:
        log.warning("task %s: %s", _name(task), reason)
        shown: JsonObject = {"result": [], "score": 0.0} if question.is_interactive else {}
        return {**shown, "error": reason, "model_version": self.core.version}

    def _entry(self, question: Question, task: object, deadline: Deadline) -> JsonObject:
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict):
            raise DataError(f"expected a task with data, got {described(task)}")
        labelling = question.labelling
        content = read_content(data.get(labelling.key), self.sources, deadline, question.studio)
        picture = self.core.see(content)
        unknown: list[str] = []
        if question.drawn:
            regions = self._drawn(question, picture, _name(task))
        elif question.words is None:
            regions = self.core.words(picture, labelling.texts, deadline)
        else:
            texts, unknown = texts_of(labelling, question.words)
            regions = self.core.words(picture, texts, deadline) if texts else []
        scores = [one.score for one in regions if one.score is not None]
        entry: JsonObject = {
            "model_version": self.core.version,
            "score": round(sum(scores) / len(scores), 4) if scores else 0.0,
            "result": [part for one in regions for part in _results(picture, one, labelling)],
        }
        if unknown:
            said = ", ".join(map(described, unknown[:LISTED]))
            entry["error"] = f"expected words of the labels {_listed(labelling)}; got {said}"
            log.warning("task %s: %s", _name(task), entry["error"])
        return entry

    def _drawn(self, question: Question, picture: EncodedImage, task: str) -> list[Region]:
        """The object of what was drawn. A background click alone corrects the object before it."""
        labelling = question.labelling
        given = label_in(question.drawn[-1])
        label = labelling.labels[0] if given is None else labelling.label_of(given)
        if label is None:
            raise DataError(f"expected one of the labels {_listed(labelling)}, got {described(given)}")
        marks = marks_of(question.drawn, picture.size)
        key = sha256(json.dumps([question.project, task, labelling.to_name, label]).encode()).digest()
        before = self.projects.marks.get(key)
        if marks.is_negative and before is not None:
            marks = before + marks
        found = self.core.marked(picture, marks, label)
        self.projects.marks.put(key, marks)
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


def _listed(labelling: Labelling) -> str:
    return ", ".join(labelling.labels[:LISTED])


def _name(task: object) -> str:
    """What a task is called in messages."""
    found = task.get("id") if isinstance(task, dict) else None
    return described(found)
