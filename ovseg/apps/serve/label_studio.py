"""Answers to Label Studio: regions for labels, words, key points, boxes and strokes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ovseg.annotation.formats.label_studio import brush_region
from ovseg.annotation.formats.shapes import outlines
from ovseg.annotation.records import Record, Region
from ovseg.apps.serve.bounds import Deadline, JsonObject
from ovseg.apps.serve.core import Core, region_id
from ovseg.apps.serve.drawn import label_in, marks_of
from ovseg.apps.serve.images import Sources, read_content
from ovseg.apps.serve.labelling import Labelling, texts_of
from ovseg.apps.serve.question import Projects, Question, read_question
from ovseg.errors import DataError, OvsegError, described, one_line
from ovseg.masks.encoded import EncodedImage

MOST_TASKS = 10_000
LISTED, LONGEST = 20, 60
"""Labels or words that a message names, and letters of a label."""
log = logging.getLogger("ovseg.serve")


@dataclass(frozen=True)
class LabelStudio:
    """A backend of Label Studio.

    Attributes:
        core: finds the regions.
        sources: where images may come from.
        projects: what is remembered from earlier requests.
    """

    core: Core
    sources: Sources = field(default_factory=Sources)
    projects: Projects = field(default_factory=Projects)

    def setup(self, body: JsonObject, _: Deadline | None = None) -> JsonObject:
        """The answer to ``POST /setup``, with which Label Studio introduces a project: the model version."""
        self.projects.setup(body)
        return {"model_version": self.core.version}

    def predict(self, body: JsonObject, deadline: Deadline) -> JsonObject:
        """The answer to ``POST /predict``: an entry for each task.

        The entry of a task that cannot be answered has the reason as ``error``. If a person waits for it, it
        also has an empty ``result``. Without a context it has no ``result``: Label Studio then stores no
        prediction, and asks for this task again.

        Args:
            body: the request, with ``tasks``, ``label_config`` and ``params``.
            deadline: the request's; a task for which no time is left gets an error.

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
            else:  # so that the answers that are ready are sent
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
        if not isinstance(task, dict) or not isinstance(data, dict):
            raise DataError(f"expected a task with data, got {described(task)}")
        labelling = question.labelling
        content = read_content(data.get(labelling.key), self.sources, deadline, question.studio)
        picture = self.core.see(content)
        reasons: list[str] = []
        if question.drawn:
            regions = self._drawn(question, picture, task)
        elif question.words is None:
            regions = self.core.words(picture, labelling.texts, deadline)
        else:
            texts, unknown = texts_of(labelling, question.words)
            regions = self.core.words(picture, texts, deadline) if texts else []
            if unknown:
                said = ", ".join(map(described, unknown[:LISTED]))
                reasons = [f"expected words of the labels {_listed(labelling)}; got {said}"]
            reasons += self.core.unknown([text for row in texts.values() for text in row])
        scores = [one.score for one in regions if one.score is not None]
        entry: JsonObject = {
            "model_version": self.core.version,
            "score": round(sum(scores) / len(scores), 4) if scores else 0.0,
            "result": [part for one in regions for part in _results(picture, one, labelling)],
        }
        if reasons:
            entry["error"] = "; ".join(reasons)
            log.warning("task %s: %s", _name(task), entry["error"])
        return entry

    def _drawn(self, question: Question, picture: EncodedImage, task: Mapping[str, object]) -> list[Region]:
        """The object that was drawn. A background click alone corrects the last object of the annotation."""
        labelling = question.labelling
        given = label_in(question.drawn[-1])
        label = labelling.labels[0] if given is None else labelling.label_of(given)
        if label is None:
            raise DataError(f"expected one of the labels {_listed(labelling)}, got {described(given)}")
        marks = marks_of(question.drawn, picture.size)
        memory = self.projects.marks
        annotation, regions = question.places(task, label)
        if marks.is_negative:
            before = next(filter(None, map(memory.get, annotation + regions)), None)
            marks = marks if before is None else before + marks
        found = self.core.marked(picture, marks, label)
        made = [question.place(task, label, (region_id(picture, one),)) for one in found]
        for place in annotation + made:
            memory.put(place, marks)
        return found


def _results(picture: EncodedImage, region: Region, labelling: Labelling) -> Iterator[JsonObject]:
    """A region as results of the kind of the project's labels."""
    identity = region_id(picture, region)
    from_name = labelling.from_names[region.label]
    brush = brush_region(Record(identity, picture.size), region, 0, from_name, labelling.to_name)
    brush["id"] = identity
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
        named = f"{identity}-{number}" if number else identity
        yield {**brush, "id": named, "type": labelling.kind.lower(), "value": value}


def _listed(labelling: Labelling) -> str:
    return ", ".join(
        one if len(one) <= LONGEST else f"{one[:LONGEST]}..." for one in labelling.labels[:LISTED]
    )


def _name(task: object) -> str:
    """The task's id, for messages."""
    found = task.get("id") if isinstance(task, dict) else None
    return described(found)
