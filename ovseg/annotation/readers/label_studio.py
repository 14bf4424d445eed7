"""Label Studio's tasks: its JSON export, or what is imported into it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from ovseg.annotation.brush import decode_brush
from ovseg.annotation.readers.base import (
    Annotations,
    Source,
    box_mask,
    image_size,
    number,
    polygon_mask,
    read_json,
    reading,
)
from ovseg.annotation.records import Mask, Record, Region, check_size
from ovseg.errors import DataError

WHAT = "tasks of Label Studio"
_UPLOAD = re.compile(r"^/data/upload/\d+/(?:[0-9a-f]{8}-)?")


def read_label_studio(source: Source) -> Annotations:
    """Brush, polygon and rectangle regions: of the first annotation that was not cancelled, or predictions.

    Raises:
        DataError: the file is something else.
    """
    path = source.path / "tasks.json" if source.path.is_dir() else source.path
    content: Any = read_json(path, WHAT)
    with reading(path, WHAT):
        tasks = sorted(((image_name(task), task) for task in content), key=lambda one: one[0])
        labels = dict.fromkeys(label for _, task in tasks for one in _results(task) for label in _labels(one))
    names = source.names or _configured(path) or tuple(sorted(labels))
    extra = tuple(sorted(set(labels) - set(names)))

    def records() -> Iterator[Record]:
        for name, task in tasks:
            with reading(path, WHAT):
                record = _record(name, task, source)
            yield record

    return Annotations((*names, *extra), records, format="label-studio")


def image_name(task: Any) -> str:
    """The image's path in a task: below the document root, or the name under which it was uploaded.

    >>> image_name({"data": {"image": "/data/local-files/?d=sub/a%20b.jpg"}})
    'sub/a b.jpg'
    """
    data = task["data"]
    value = str(data.get("image") or next(one for one in data.values() if isinstance(one, str)))
    if "?d=" in value:
        value = value.partition("?d=")[2]
    return unquote(_UPLOAD.sub("", value)).lstrip("/")


def _results(task: Any) -> list[Any]:
    done = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
    chosen = (done or task.get("predictions") or [{"result": []}])[0]
    return [one for one in chosen["result"] if str(one.get("type", "")).endswith("labels")]


def _labels(one: Any) -> list[str]:
    return [str(label) for label in one["value"].get(one["type"], [])]


def _configured(path: Path) -> tuple[str, ...]:
    """The labels of config.xml beside the tasks, in order."""
    from xml.etree import ElementTree

    config = path.with_name("config.xml")
    if not config.is_file():
        return ()
    try:
        found = ElementTree.fromstring(config.read_text(encoding="utf-8")).iter("Label")
    except (ElementTree.ParseError, OSError, UnicodeDecodeError):
        raise DataError(f"expected a labelling interface of Label Studio, {config} is none") from None
    return tuple(dict.fromkeys(one.attrib["value"] for one in found if "value" in one.attrib))


def _record(name: str, task: Any, source: Source) -> Record:
    results = _results(task)
    sizes = {(one["original_height"], one["original_width"]) for one in results if "original_width" in one}
    image = source.image(name)
    if len(sizes) > 1:
        raise DataError(f"expected one size of {name}, got {sorted(sizes)}")
    if sizes:
        size = check_size(sizes.pop(), name)
    elif image is not None:
        size = image_size(image)
    else:
        raise DataError(
            f"expected the size of {name}, a task without regions has none: name the images' folder"
        )
    regions = tuple(
        Region(label, _mask(one, size), number(one.get("score"))) for one in results for label in _labels(one)
    )
    return Record(name, size, regions, image=image)


def _mask(one: Any, size: tuple[int, int]) -> Mask:
    if one.get("image_rotation"):
        raise DataError(
            f"expected regions of images that are not turned, got {one['image_rotation']} degrees"
        )
    value, kind = one["value"], one["type"]
    height, width = size
    if kind == "brushlabels":
        return Mask.of(decode_brush(value["rle"], size))
    if kind == "polygonlabels":
        corners = np.array(value["points"], np.float64) / 100 * [width, height]
        return polygon_mask(size, [corners.reshape(-1).tolist()])
    if kind == "rectanglelabels":
        x, y, w, h = (float(value[key]) / 100 for key in ("x", "y", "width", "height"))
        return Mask.of(box_mask(size, [x * width, y * height, (x + w) * width, (y + h) * height]))
    raise DataError(f"expected brush, polygon or rectangle labels, got {kind}")
