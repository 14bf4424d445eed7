"""Label Studio: tasks with brush regions, and the labelling interface they belong to; its exports are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ovseg.annotation.formats.base import Records, Writer, hex_colours, json_list
from ovseg.annotation.formats.brush import decode_brush, encode_brush
from ovseg.annotation.formats.objects import KEPT, Objects, as_score
from ovseg.annotation.formats.shapes import box_mask, ellipse_mask
from ovseg.annotation.formats.source import Annotations, Source, reading, records_of, with_others
from ovseg.annotation.formats.tasks import Chooser, Picture, configured, done, full
from ovseg.annotation.records import Record, Region, check_size
from ovseg.errors import DataError
from ovseg.files.formats import upright_size
from ovseg.files.paths import shown
from ovseg.results.coco import Mask

WHAT = "tasks of Label Studio"
FROM_NAME, TO_NAME = "label", "image"
"""The names of the brush labels and of the image in ``config.xml``."""
BARE = ("rectangle", "ellipse", "polygon", "brush", "keypoint", "bitmask", "vector")
"""Types of results that hold a shape and no label, beside one of the same id that has its label."""
OTHERS = ("choices", "taxonomy", "textarea", "number", "rating", "datetime", "ranker", "pairwise")
"""Types of results that say something of a region or image, and hold its shape too."""


def read_label_studio(source: Source) -> Annotations:
    """Brush, polygon, rectangle and ellipse regions of the JSON and JSON-MIN exports, and of tasks to import.

    Of each task the annotation counts that is marked as ground truth, or else the first that was not
    cancelled. Where nobody has annotated any task, the first prediction counts.

    Raises:
        DataError: the file is something else.
    """
    path, content = source.json("tasks.json", WHAT)
    keys, listed = configured(path.with_name("config.xml"))
    with reading(path, WHAT):
        tasks = [task if "data" in task else full(task) for task in content]
        predicted = not any(done(task) for task in tasks)
        chosen = Chooser(shown(path), keys, predicted, source)
        pictures = [one for place, task in enumerate(tasks, 1) for one in chosen.pictures(task, place)]
        pictures.sort(key=lambda one: one[0])
        used = {label for _, results in pictures for result in results for label in _labels(result)}

    def record(picture: Picture) -> Record:
        name, results = source.name(picture[0]), picture[1]
        image = source.image(name)
        size = _size(name, results, image)
        objects = source.objects(f"{shown(path)}, {name}")
        labelled = {one.get("id") for one in results if _labels(one)}
        for place, one in enumerate(results, 1):
            labels, kind = _labels(one), one.get("type")
            mask = _mask(one, size) if labels else None
            if mask is not None:
                known = _notes(one, place, objects)
                score = as_score(one.get("score"))
                for label in labels:
                    objects.add(place, Region(label, mask, score, known.get("prompt"), known.get("method")))
            elif labels or kind not in BARE or one.get("id", place) not in labelled:
                objects.skip(place, f"results {kind!r}")
        return objects.record(name, size, image)

    return Annotations(
        with_others(source.names or listed, used),
        records_of(pictures, record, WHAT, path),
        predicted=predicted,
    )


def _labels(one: Any) -> list[str]:
    value, kind = one["value"], str(one.get("type"))
    found = value.get(kind) or value.get(kind + "labels") or value.get("labels")
    return [str(label) for label in found] if isinstance(found, list) and kind not in OTHERS else []


def _notes(one: Any, place: int, objects: Objects) -> dict[str, str]:
    """What ovseg noted on a region: its prompt and method. Other notes are counted."""
    found = (one.get("meta") or {}).get("text") or []
    notes = [str(text) for text in (found if isinstance(found, list) else [found])]
    known = dict(text.split(": ", 1) for text in notes if text.startswith(tuple(f"{key}: " for key in KEPT)))
    if len(known) < len(notes):
        objects.skip(place, "notes on regions")
    return known


def _size(name: str, results: list[Any], image: str | None) -> tuple[int, int]:
    sizes = {(one["original_height"], one["original_width"]) for one in results if "original_width" in one}
    if len(sizes) > 1:
        raise DataError(f"expected one size of {name}, got {sorted(sizes)}")
    if sizes:
        return check_size(sizes.pop(), name)
    if image is None:
        raise DataError(
            f"expected the size of {name}, a task without regions has none: name the images' folder"
        )
    return upright_size(Path(image))


def _mask(one: Any, size: tuple[int, int]) -> Mask | None:
    """The mask of a result, by the keys of its shape; None for a result without a region.

    Positions are those of the picture as it lies, whatever ``image_rotation`` says: the editor turns what it
    shows, and turns the pointer back.
    """
    value = one["value"]
    if "rle" in value:
        return Mask.of(decode_brush(value["rle"], size))
    across, down = size[1] / 100, size[0] / 100
    if "points" in value:
        return Mask.of_polygons(size, [[side for x, y in value["points"] for side in (x * across, y * down)]])
    if "x" not in value or "y" not in value:
        return None
    x, y, degrees = value["x"] * across, value["y"] * down, value.get("rotation") or 0
    if "radiusX" in value:
        return ellipse_mask(size, (x, y), (value["radiusX"] * across, value["radiusY"] * down), degrees)
    if "height" in value:
        box = (x, y, x + value["width"] * across, y + value["height"] * down)
        return box_mask(size, box, degrees, (x, y))
    return None


class LabelStudio(Writer):
    """``tasks.json``, imported into a project whose labelling interface is ``config.xml``."""

    name = "label-studio"

    def finish(self, records: Records) -> None:
        self.save("config.xml", [self.config()])
        self.save("tasks.json", chain(json_list(self._tasks(records)), ["\n"]))

    def config(self) -> str:
        """The labelling interface with a brush label for each class."""
        labels = "".join(
            f'    <Label value="{name}" background="{colour}"/>\n'
            for name, colour in hex_colours(self.target.objects)
        )
        return (
            f'<View>\n  <Image name="{TO_NAME}" value="$image" zoom="true"/>\n'
            f'  <BrushLabels name="{FROM_NAME}" toName="{TO_NAME}">\n{labels}  </BrushLabels>\n</View>\n'
        )

    def _tasks(self, records: Records) -> Iterator[dict[str, object]]:
        for record in records():
            found = self.regions(record)
            scores = [one.score for one in found if one.score is not None]
            prediction: dict[str, object] = {
                "model_version": self.target.source,
                "result": [brush_region(record, one, number) for number, one in enumerate(found)],
            }
            if scores:
                prediction["score"] = round(sum(scores) / len(scores), 4)
            data = {"image": self.target.options.image_prefix + quote(record.name, errors="surrogateescape")}
            yield {"data": data, "predictions": [prediction]}


def brush_region(
    record: Record, one: Region, number: int, from_name: str = FROM_NAME, to_name: str = TO_NAME
) -> dict[str, object]:
    """One region as Label Studio's result, with an id that is the same at every call.

    Args:
        record: the image.
        one: the region.
        number: its position in the image.
        from_name: the name of the brush labels in the project's configuration.
        to_name: the name of the image there.
    """
    said = [f"{key}: {value}" for key, value in one.known().items()]
    identity = f"{record.name}\0{number}\0{one.label}".encode(errors="backslashreplace")
    return {
        "id": hashlib.sha256(identity).hexdigest()[:10],
        "type": "brushlabels",
        "from_name": from_name,
        "to_name": to_name,
        "original_width": record.size[1],
        "original_height": record.size[0],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_brush(one.mask.array()), "brushlabels": [one.label]},
        **({} if one.score is None else {"score": one.score}),
        **({"meta": {"text": said}} if said else {}),
    }
