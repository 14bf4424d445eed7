"""Label Studio's requests to predictions: words, key points and boxes become brush regions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ovseg.annotate.brush import encode_brush
from ovseg.annotate.serve.images import read_picture
from ovseg.errors import DataError, described
from ovseg.text_to_mask import TextToMask
from ovseg.text_to_mask.results import TextMasks

LONGEST_CONFIG = 200_000
"""Characters of a labelling configuration."""


@dataclass(frozen=True)
class Labelling:
    """The brush labels of a project: the tag's name, the image's name, its key in a task, the labels."""

    from_name: str
    to_name: str
    key: str
    labels: tuple[str, ...]


def read_labelling(config: object) -> Labelling:
    """The brush labels of a labelling configuration.

    Raises:
        DataError: it is no such configuration, or has no brush labels of an image.

    >>> read_labelling('<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i">'
    ...                '<Label value="dog"/></BrushLabels></View>')
    Labelling(from_name='b', to_name='i', key='image', labels=('dog',))
    """
    if not isinstance(config, str) or len(config) > LONGEST_CONFIG or "<!" in config:
        raise DataError(f"wanted a labelling configuration as XML without DTD, got {described(config)}")
    try:
        tree = ElementTree.fromstring(config)
    except (ElementTree.ParseError, ValueError):
        raise DataError(f"wanted a labelling configuration as XML, got {described(config)}") from None
    images = {one.get("name", ""): one.get("value", "").removeprefix("$") for one in tree.iter("Image")}
    for tag in tree.iter("BrushLabels"):
        target = tag.get("toName", "")
        if target in images:
            labels = tuple(name for one in tag.iter("Label") if (name := one.get("value", "").strip()))
            return Labelling(tag.get("name", ""), target, images[target], labels)
    raise DataError("wanted a labelling configuration with BrushLabels of an Image, got none")


def predict(
    finder: TextToMask, body: Mapping[str, object], version: str, root: Path | None = None
) -> dict[str, object]:
    """The answer to ``POST /predict``: one prediction for each task.

    Args:
        finder: what makes the masks.
        body: the request, with ``tasks``, ``label_config`` and ``params``.
        version: the model version that predictions carry.
        root: the folder below which local files may be read.

    Raises:
        DataError: the request is not one of Label Studio's.
        ImageError: a picture cannot be read.
        UsageError: a word is too long.
    """
    labelling = read_labelling(body.get("label_config"))
    prompt = _prompt(body)
    drawn = prompt is not None and prompt.get("type") != "textarea"
    words = (_words(prompt) if prompt is not None and not drawn else []) or list(labelling.labels)
    tasks = body.get("tasks")
    if not isinstance(tasks, list):
        raise DataError(f"wanted a list of tasks, got {described(tasks)}")
    if not words or not labelling.labels:
        raise DataError("wanted labels in the configuration, got none")
    results: list[dict[str, object]] = []
    for task in tasks:
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict):
            raise DataError(f"wanted a task with data, got {described(task)}")
        picture = read_picture(data.get(labelling.key), root)
        found = [_object(finder, picture, prompt)] if prompt and drawn else finder.predict(picture, words)
        regions = [region for one in found for region in _regions(one, labelling)]
        scores = [float(score) for one in found for score in one.scores]
        mean = round(sum(scores) / len(scores), 4) if scores else 0.0
        results.append({"model_version": version, "score": mean, "result": regions})
    return {"results": results}


def _prompt(body: Mapping[str, object]) -> Mapping[str, object] | None:
    """The newest region of the context, which is what was just drawn or written; None without context."""
    params = body.get("params")
    context = params.get("context") if isinstance(params, dict) else None
    if context is None:
        return None
    result = context.get("result") if isinstance(context, dict) else None
    if not isinstance(result, list) or not all(isinstance(one, dict) for one in result):
        raise DataError(f"wanted a context with a list of results, got {described(context)}")
    return result[-1] if result else None


def _words(prompt: Mapping[str, object]) -> list[str]:
    """The words of a text area, split at commas."""
    value = prompt.get("value")
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, list) or not all(isinstance(part, str) for part in text):
        raise DataError(f"wanted words as a list of texts, got {described(text)}")
    return [word for part in text for raw in part.split(",") if (word := raw.strip())]


def _object(finder: TextToMask, picture: NDArray[np.uint8], prompt: Mapping[str, object]) -> TextMasks:
    """The object at a key point or in a box, whose numbers are percent of the image's sides."""
    value, kind = prompt.get("value"), prompt.get("type")
    keys = {"keypointlabels": ("x", "y"), "rectanglelabels": ("x", "y", "width", "height")}
    if not isinstance(value, dict) or kind not in keys:
        raise DataError(f"wanted a text area, a key point or a rectangle, got {described(kind)}")
    given = [value.get(key) for key in keys[kind]]
    numbers = [
        float(one)
        for one in given
        if isinstance(one, (int, float)) and not isinstance(one, bool) and 0 <= one <= 100
    ]
    if len(numbers) != len(given):
        raise DataError(f"wanted percent in 0..100, got {described(given)}")
    height, width = picture.shape[:2]
    x, y = numbers[0] * width / 100, numbers[1] * height / 100
    session = finder.session(picture)
    if kind == "rectanglelabels":
        return session.box(x, y, x + numbers[2] * width / 100, y + numbers[3] * height / 100)
    positive = prompt.get("is_positive", True) is not False
    return session.click(min(x, width - 1), min(y, height - 1), foreground=positive)


def _regions(found: TextMasks, labelling: Labelling) -> Iterator[dict[str, object]]:
    """A word that is no label of the project takes its first label: others would not be drawn."""
    label = found.text if found.text in labelling.labels else labelling.labels[0]
    for number, (mask, score) in enumerate(zip(found.masks, found.scores, strict=True)):
        rle = encode_brush(mask)
        identity = f"{found.text}\0{number}".encode() + bytes(rle)
        yield {
            "id": hashlib.sha256(identity).hexdigest()[:10],
            "type": "brushlabels",
            "from_name": labelling.from_name,
            "to_name": labelling.to_name,
            "original_width": mask.shape[1],
            "original_height": mask.shape[0],
            "image_rotation": 0,
            "value": {"format": "rle", "rle": rle, "brushlabels": [label]},
            "score": round(float(score), 4),
            "meta": {"text": [f"prompt: {found.text}"]},
        }
