"""Label Studio: tasks with brush regions, and the labelling interface they belong to; its exports are read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

from ovseg.annotation.formats.base import Records, Writer, hex_colours, json_list
from ovseg.annotation.formats.brush import decode_brush, encode_brush
from ovseg.annotation.formats.shapes import box_mask, ellipse_mask
from ovseg.annotation.formats.source import Annotations, Source, as_score, reading, records_of, with_others
from ovseg.annotation.records import Record, Region, check_size
from ovseg.errors import DataError, described
from ovseg.files.find import suffixes
from ovseg.files.formats import upright_size
from ovseg.results.coco import Mask

WHAT = "tasks of Label Studio"
FROM_NAME, TO_NAME = "label", "image"
"""The names of the brush labels and of the image in ``config.xml``."""
Picture = tuple[str, list[Any]]
"""An image's name and its results."""
_UPLOAD = re.compile(r"^/data/upload/\d+/(?:[0-9a-f]{8}-)?")


def read_label_studio(source: Source) -> Annotations:
    """Brush, polygon, rectangle and ellipse regions of the JSON and JSON-MIN exports, and of tasks to import.

    Of each task the annotation counts that is marked as ground truth, or else the first that was not
    cancelled. Where nobody has annotated any task, the first prediction counts.

    Raises:
        DataError: the file is something else.
    """
    path, content = source.json("tasks.json", WHAT)
    keys, listed = _configured(path.with_name("config.xml"))
    with reading(path, WHAT):
        tasks = [task if "data" in task else _full(task) for task in content]
        predicted = not any(_done(task) for task in tasks)
        pictures = [
            one for place, task in enumerate(tasks) for one in _pictures(task, place, keys, predicted, source)
        ]
        pictures.sort(key=lambda one: one[0])
        used = {label for _, results in pictures for result in results for label in _labels(result)}

    def record(picture: Picture) -> Record:
        name, results = picture
        image = source.image(name)
        size = _size(name, results, image)
        objects = source.objects(name)
        labelled = {one.get("id") for one in results if _labels(one)}
        for place, one in enumerate(results, 1):
            key, labels = one.get("id", place), _labels(one)
            mask = _mask(one, size) if labels else None
            if mask is not None:
                for label in labels:
                    objects.add(place, Region(label, mask, as_score(one.get("score"))))
            elif labels or key not in labelled:  # <Rectangle> with <Labels>: two results of one id
                objects.skip(place, f"results {one.get('type')!r}")
        return objects.record(name, size, image)

    return Annotations(
        with_others(source.names or listed, used),
        records_of(pictures, record, WHAT, path),
        predicted=predicted,
    )


def image_name(value: str) -> str:
    """The image's path by the value of a task: below the document root, or as it was uploaded.

    >>> image_name("/data/local-files/?d=sub/a%20b.jpg"), image_name("s3://bucket/sub/a.jpg?sig=1")
    ('sub/a b.jpg', 'sub/a.jpg')
    """
    if "?d=" in value:
        value = value.partition("?d=")[2]
    elif "://" in value:
        value = urlsplit(value).path
    return unquote(_UPLOAD.sub("", value)).lstrip("/")


def _full(task: Any) -> Any:
    """Convert a task of JSON-MIN, which has one key per control, to a task of JSON."""
    results = []
    for key, value in task.items():
        for one in value if isinstance(value, list) else []:
            kind = next((name for name in one if name.endswith("labels")), None)
            kind = kind or ("brushlabels" if "rle" in one else None)
            if kind is not None:
                results.append({**one, "type": kind, "value": one, "from_name": key})
    data = {key: value for key, value in task.items() if isinstance(value, str)}
    return {"data": data, "annotations": [{"result": results}]}


def _done(task: Any) -> list[Any]:
    """The annotations of a task that were not cancelled, the ground truth first."""
    done = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
    return sorted(done, key=lambda one: not one.get("ground_truth"))


def _pictures(
    task: Any, place: int, keys: dict[str, str], predicted: bool, source: Source
) -> Iterator[Picture]:
    """The images of a task, each with its own results."""
    where = f"task {task.get('id', place + 1)}"
    found = (task.get("predictions") or [{"result": []}]) if predicted else _done(task)
    if not found:
        source.skipped.add("tasks without an annotation", where)
        return
    if not predicted:
        for other in found[1:]:
            source.skipped.add("further annotations of a task", f"{where}, annotation {other.get('id')}")
    results: dict[str, list[Any]] = {}
    data = task["data"]
    for k, one in enumerate(found[0]["result"]):
        key = _key(data, keys, one.get("to_name"))
        if key is None:
            source.skipped.add("results of an unknown image", f"{where}, result {one.get('id', k + 1)}")
        else:
            results.setdefault(key, []).append(one)
    if not results and (only := _key(data, keys, None)) is not None:
        results = {only: []}
    if not results:
        raise DataError(f"expected {where} with an image in its data, got {described(list(data))}")
    for key, own in results.items():
        yield image_name(data[key]), own


def _key(data: Any, keys: dict[str, str], to_name: object) -> str | None:
    """The key of a task's data under which the image lies that a result belongs to.

    The labelling interface says it; else a key of the same name, or the only value that looks like an image.
    """
    for key in (keys.get(str(to_name)), to_name):
        if isinstance(key, str) and isinstance(data.get(key), str):
            return key
    known = list(keys.values()) or [key for key, value in data.items() if _is_image(value)]
    known = [key for key in known if key in data] or [key for key in ("image",) if key in data]
    return str(known[0]) if len(known) == 1 else None


def _is_image(value: object) -> bool:
    if not isinstance(value, str):
        return False
    return value.startswith("/data/") or PurePosixPath(image_name(value)).suffix.lower() in suffixes()


def _labels(one: Any) -> list[str]:
    return [str(label) for label in one["value"].get(one.get("type")) or []]


def _configured(path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Of a labelling interface, the key of each image by its name there, and the labels in order."""
    if not path.is_file():
        return {}, ()
    try:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    except (ElementTree.ParseError, OSError, UnicodeDecodeError):
        raise DataError(f"expected a labelling interface of Label Studio, {path} is none") from None
    keys = {one.get("name", ""): one.get("value", "").lstrip("$") for one in root.iter("Image")}
    return keys, tuple(one.attrib["value"] for one in root.iter("Label") if "value" in one.attrib)


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
    """The mask of a result, by the keys of its shape; None for a result without a region."""
    value = one["value"]
    if one.get("image_rotation"):  # its percents are of the picture as it was turned in the editor
        return None
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
