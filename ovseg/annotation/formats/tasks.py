"""Tasks of Label Studio: the annotation of each that counts, and the images that its results belong to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from ovseg.annotation.formats.source import Source
from ovseg.errors import DataError, described
from ovseg.files.find import suffixes

Picture = tuple[str, list[Any]]
"""An image's name and its results."""
_UPLOAD = re.compile(r"^/data/upload/\d+/(?:[0-9a-f]{8}-)?")


def image_name(value: str) -> str:
    """The image's path by the value of a task: below the document root, or as it was uploaded.

    >>> image_name("/data/local-files/?d=sub/a%20b.jpg"), image_name("s3://bucket/sub/a.jpg?sig=1")
    ('sub/a b.jpg', 'sub/a.jpg')
    """
    if value.startswith("data:"):  # the picture itself
        return f"{hashlib.sha256(value.encode()).hexdigest()[:12]}.png"
    if "/local-files/?d=" in value:
        value = value.partition("?d=")[2]
    elif "://" in value:
        value = urlsplit(value).path
    return unquote(_UPLOAD.sub("", value)).lstrip("/")


def full(task: Any) -> Any:
    """Convert a task of JSON-MIN, which has one key per control, to a task of JSON."""
    results = []
    for key, value in task.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                kind = next((name for name in one if name.endswith("labels")), None)
                kind = kind or ("brushlabels" if "rle" in one else next(iter(one), key))
                results.append({**one, "type": kind, "value": one, "from_name": key})
    data = {key: value for key, value in task.items() if isinstance(value, str)}
    is_annotated = results or "annotator" in task or "annotation_id" in task
    return {"id": task.get("id"), "data": data, "annotations": [{"result": results}] if is_annotated else []}


def done(task: Any) -> list[Any]:
    """The annotations of a task that were not cancelled, the ground truth first."""
    found = task.get("annotations") or task.get("completions") or []
    kept = [one for one in found if not (one.get("was_cancelled") or one.get("skipped"))]
    return sorted(kept, key=lambda one: not one.get("ground_truth"))


@dataclass
class Chooser:
    """Chooses the annotation of each task that counts; counts the others.

    Attributes:
        where: the file, for messages.
        keys: the key of each image by its name in the labelling interface.
        predicted: predictions count.
        source: where the file lies.
        seen: the ids of tasks so far: JSON-MIN lists a task once for each of its annotations.
    """

    where: str
    keys: dict[str, str]
    predicted: bool
    source: Source
    seen: set[object] = field(default_factory=set)

    def pictures(self, task: Any, place: int) -> Iterator[Picture]:
        """The images of a task, each with its own results."""
        number = task.get("id")
        where = f"{self.where}, task {place if number is None else number}"
        found = done(task)
        if self.predicted:
            found = [one for one in task.get("predictions") or [] if isinstance(one, dict)]
        kind = "predictions" if self.predicted else "annotations"
        if number is not None and number in self.seen:
            self.skip(f"further {kind} of a task", where)
            return
        self.seen.add(number)
        for draft in task.get("drafts") or []:
            self.skip("drafts", f"{where}, {_id(draft)}")
        if not found:
            self.skip("tasks without an annotation", where)
            return
        for other in found[1:]:
            self.skip(f"further {kind} of a task", f"{where}, {_id(other)}")
        yield from self._parted(task["data"], found[0].get("result") or [], where)

    def _parted(self, data: Any, listed: list[Any], where: str) -> Iterator[Picture]:
        """Each image of a task's data with those of the listed results that belong to it."""
        results: dict[str, list[Any]] = {}
        for one in listed:
            key = _key(data, self.keys, one.get("to_name"))
            if "value" not in one:
                self.skip(f"results {one.get('type')!r}", f"{where}, {_id(one)}")
            elif key is None:
                self.skip("results of an unknown image", f"{where}, {_id(one)}")
            else:
                results.setdefault(key, []).append(one)
        if not results and (only := _key(data, self.keys, None)) is not None:
            results = {only: []}
        if not results:
            raise DataError(f"expected {where} with an image in its data, got {described(list(data))}")
        for key, own in results.items():
            if isinstance(data[key], str):
                yield image_name(data[key]), own
                continue
            for index, address in enumerate(data[key]):
                yield image_name(address), [one for one in own if (one.get("item_index") or 0) == index]

    def skip(self, kind: str, where: str) -> None:
        self.source.skipped.add(kind, where)


def _id(one: Any) -> str:
    return f"id {one.get('id')}" if isinstance(one, dict) else f"id {one}"


def _key(data: Any, keys: dict[str, str], to_name: object) -> str | None:
    """The key of a task's data under which the image lies that a result belongs to.

    The labelling interface says it; else a key of the same name, or the only value that looks like an image.
    """
    for key in (keys.get(str(to_name)), to_name):
        if isinstance(key, str) and (isinstance(data.get(key), str) or _is_image(data.get(key))):
            return key
    known = list(keys.values()) or [key for key, value in data.items() if _is_image(value)]
    known = [key for key in known if key in data] or [key for key in ("image",) if key in data]
    return str(known[0]) if len(known) == 1 else None


def _is_image(value: object) -> bool:
    """Whether a value looks like an image's address, or a list of such, as an album has."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, str) and _is_image(one) for one in value)
    if not isinstance(value, str):
        return False
    known = PurePosixPath(image_name(value)).suffix.lower() in suffixes()
    return known or value.startswith(("/data/", "data:image/"))


def configured(path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Of a labelling interface, the key of each image by its name there, and the labels in order."""
    if not path.is_file():
        return {}, ()
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (ElementTree.ParseError, OSError, ValueError):
        raise DataError(f"expected a labelling interface of Label Studio, {path} is none") from None
    keys = {
        one.get("name", ""): (one.get("value") or one.get("valueList") or "").lstrip("$")
        for one in root.iter("Image")
    }
    return keys, tuple(one.attrib["value"] for one in root.iter("Label") if "value" in one.attrib)
