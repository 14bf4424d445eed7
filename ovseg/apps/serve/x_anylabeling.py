"""X-AnyLabeling's protocol of remote servers: a text or marks to polygons."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ovseg.annotation.formats.shapes import outlines
from ovseg.annotation.records import Region
from ovseg.apps.serve.bounds import Deadline, JsonObject, Late, Refused
from ovseg.apps.serve.core import LONGEST_WORDS, MOST_CLICKS, Core, Marks
from ovseg.apps.serve.images import from_base64, from_data_uri
from ovseg.apps.serve.labelling import COMMAS
from ovseg.errors import DataError, ImageError, OvsegError, described, one_line
from ovseg.masks.encoded import EncodedImage
from ovseg.masks.prompts import Click
from ovseg.options.checks import check_number
from ovseg.segmenters.prompts import Box

log = logging.getLogger("ovseg.serve")
MODEL = "ovseg"
UNNAMED = "AUTOLABEL_OBJECT"
"""The label of an object that was drawn; X-AnyLabeling then asks for its name."""
FINENESS = 0.001
"""How far a polygon may leave the mask, as a share of its length, if the client does not say."""
CODES = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "NOT_FOUND",
    408: "TIMEOUT",
    413: "TOO_LARGE",
    500: "SERVER_ERROR",
    503: "QUEUE_FULL",
    504: "TIMEOUT",
}
"""Statuses and the codes in the bodies of their answers."""
UNKNOWN_MODEL = "MODEL_NOT_FOUND"
WIDGETS = (
    ("edit_text", None),
    ("button_send", None),
    ("button_add_point", None),
    ("button_remove_point", None),
    ("add_pos_rect", None),
    ("button_run_rect", None),
    ("button_clear", None),
    ("button_finish_object", None),
    ("input_conf", None),
    ("edit_conf", 0.0),
    ("mask_fineness_slider", 10),
    ("mask_fineness_value_label", None),
    ("toggle_preserve_existing_annotations", True),  # else an answer to a text, or an error, clears the image
)


def models(core: Core) -> JsonObject:
    """The answer to ``GET /v1/models``: one model, with the widgets that X-AnyLabeling shows for it."""
    return {"success": True, "data": {MODEL: _model(core)}}


def about(core: Core, model: object) -> JsonObject:
    """The answer to ``GET /v1/models/MODEL/info``. Raises Refused for another model."""
    if model != MODEL:
        raise Refused(404, f"expected the model {MODEL!r}, got {described(model)}", UNKNOWN_MODEL)
    return {"success": True, "data": {"model_id": MODEL, **_model(core)}}


def _model(core: Core) -> JsonObject:
    return {
        "display_name": f"{MODEL} ({core.version})",
        "batch_processing_mode": "text_prompt",
        "widgets": [{"name": name, "value": value} for name, value in WIDGETS],
        "params": {"conf_threshold": 0.0, "epsilon_factor": FINENESS},
    }


def predict(core: Core, body: JsonObject, deadline: Deadline) -> JsonObject:
    """The answer to ``POST /v1/predict``.

    If somebody's image, words or marks cannot be answered, that is a refusal with status 200: at any other
    status X-AnyLabeling may clear the image, and the person did nothing wrong.

    Args:
        core: finds the regions.
        body: ``{"model", "image", "params"}``: the image as a data URI or in base64; of params are read
            text_prompt, marks, conf_threshold and epsilon_factor.
        deadline: the request's.

    Raises:
        Refused: the body is malformed, the model is unknown, or time has run out.
    """
    about(core, body.get("model", MODEL))
    try:
        asked = _read(body)
    except OvsegError as error:
        raise Refused(400, one_line(error)) from None
    try:
        return {"success": True, "data": _data(core, asked, deadline)}
    except Late as error:
        raise Refused(504, one_line(error)) from None
    except ImageError as error:
        return refusal("INVALID_IMAGE", one_line(error))
    except OvsegError as error:
        return refusal("INFERENCE_ERROR", one_line(error))


def refusal(code: str, message: str) -> JsonObject:
    """A refusal as X-AnyLabeling reads it: without data it would clear the image."""
    data = {"shapes": [], "description": "", "replace": False}
    return {"success": False, "error": {"code": code, "message": message}, "data": data}


@dataclass(frozen=True)
class _Asked:
    """A request.

    Attributes:
        image: the bytes of the image file.
        text: the words, or "".
        clicks, boxes: the marks, in pixels.
        least: the lowest score of an object.
        share: how far a polygon may leave the mask, as a share of its length.
    """

    image: bytes
    text: str
    clicks: tuple[Click, ...]
    boxes: tuple[Box, ...]
    least: float
    share: float


def _read(body: JsonObject) -> _Asked:
    """Read a request before any work is done. Raises OvsegError if it is malformed."""
    image, params = body.get("image"), {} if body.get("params") is None else body["params"]
    if not isinstance(params, dict):
        raise DataError(f"expected params as an object, got {described(params)}")
    given = {"text_prompt": "", "marks": [], "conf_threshold": 0.0, "epsilon_factor": FINENESS}
    given |= {key: value for key, value in params.items() if value is not None}
    text = given["text_prompt"]
    if not isinstance(text, str) or len(text) > LONGEST_WORDS:
        raise DataError(
            f"expected a text_prompt as a text of at most {LONGEST_WORDS} characters, got {described(text)}"
        )
    if not isinstance(image, str):
        raise DataError(f"expected an image as a data URI or in base64, got {described(image)}")
    least = check_number("conf_threshold", given["conf_threshold"], 0, 1)
    share = check_number("epsilon_factor", given["epsilon_factor"], 0, 1)
    clicks, boxes = read_marks(given["marks"])
    content = from_data_uri(image) if image[:5].lower() == "data:" else from_base64(image)
    return _Asked(content, text, clicks, boxes, least, share)


def _data(core: Core, asked: _Asked, deadline: Deadline) -> JsonObject:
    """Shapes for the client. Marks add to the image; for a text, the person's own switch decides."""
    picture = core.see(asked.image)
    data: JsonObject = {"shapes": [], "description": ""}
    found: list[Region] = []
    if asked.clicks or asked.boxes:
        data["replace"] = False
        for one in objects_of(asked.clicks, asked.boxes, picture.size):
            deadline.check("masks for all marks")
            found += core.marked(picture, one, UNNAMED)
    else:
        words = _words(asked.text)
        found = core.words(picture, {word: [word] for word in words}, deadline)
        unknown = core.unknown(words)
        if unknown:
            data["unknown"] = unknown
            log.warning("text_prompt: %s", "; ".join(unknown))
    kept = [one for one in found if one.score is None or one.score >= asked.least]
    data["shapes"] = [
        shape for number, one in enumerate(kept, 1) for shape in _polygons(picture, one, number, asked.share)
    ]
    return data


def _words(text: str) -> list[str]:
    """The words between commas, or between full stops if there is no comma, as X-AnyLabeling's server does."""
    parts = COMMAS.split(text) if COMMAS.search(text) else text.split(".")
    words = {" ".join(part.split()).casefold(): part.strip() for part in parts if part.strip()}
    if not words:
        raise DataError("expected a word in the text_prompt, or marks, got none")
    return list(words.values())


def read_marks(marks: object) -> tuple[tuple[Click, ...], tuple[Box, ...]]:
    """Clicks and boxes.

    Args:
        marks: ``{"type": "point", "data": [x, y], "label": 1 or 0}`` and ``{"type": "rectangle", "data":
            [x0, y0, x1, y1], "label": 1}``, in pixels, at most ``MOST_CLICKS``.

    Raises:
        DataError: they are something else.

    >>> read_marks([{"type": "point", "data": [1, 2], "label": 0}])
    (((1.0, 2.0, False),), ())
    """
    if not isinstance(marks, list) or len(marks) > MOST_CLICKS:
        raise DataError(f"expected a list of at most {MOST_CLICKS} marks, got {described(marks)}")
    clicks, boxes = [], []
    for one in marks:
        if not isinstance(one, dict) or one.get("label", 1) not in (0, 1):
            raise DataError(f"expected a mark with type, data and the label 1 or 0, got {described(one)}")
        foreground = one.get("label", 1) == 1
        if one.get("type") == "point":
            x, y = _numbers(one, 2)
            clicks.append((x, y, foreground))
        elif one.get("type") == "rectangle" and foreground:
            x0, y0, x1, y1 = _numbers(one, 4)
            boxes.append((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
        else:
            raise DataError(f"expected points, or rectangles with the label 1, got {described(one)}")
    return tuple(clicks), tuple(boxes)


def objects_of(clicks: Sequence[Click], boxes: Sequence[Box], size: tuple[int, int]) -> list[Marks]:
    """The marks of each object.

    Each box is one object, with the foreground clicks inside it. Foreground clicks outside all boxes describe
    another one. Background clicks hold for every object.

    Args:
        clicks, boxes: in pixels.
        size: (height, width) of the image; clicks on its far edges are moved inside.

    >>> objects_of([(1, 2, True), (7, 7, True)], [(0, 0, 4, 4)], (9, 9))  # doctest: +NORMALIZE_WHITESPACE
    [Marks(clicks=((1, 2, True),), box=(0, 0, 4, 4)),
     Marks(clicks=((7, 7, True),), box=None)]
    """
    inside = [(min(x, size[1] - 1.0), min(y, size[0] - 1.0), on) for x, y, on in clicks]
    found = [Marks(tuple(one for one in inside if not one[2] or _is_in(one, box)), box) for box in boxes]
    rest = Marks(tuple(one for one in inside if not one[2] or not any(_is_in(one, box) for box in boxes)))
    return found if boxes and rest.is_negative else [*found, rest]


def _numbers(mark: Mapping[str, object], count: int) -> Sequence[float]:
    data = mark.get("data")
    if not isinstance(data, list) or len(data) != count:
        raise DataError(f"expected {count} numbers, got {described(data)}")
    return [check_number("a coordinate", one, -1e9, 1e9) for one in data]


def _is_in(click: Click, box: Box) -> bool:
    return box[0] <= click[0] <= box[2] and box[1] <= click[1] <= box[3]


def _polygons(picture: EncodedImage, region: Region, number: int, share: float) -> Iterator[JsonObject]:
    """A polygon for each part, closed by its first point; the parts of one object share a group."""
    parts = outlines(region.mask.array(), share=share)
    for part in parts:
        yield {
            "label": re.sub(r"\s+", " ", region.label),
            "shape_type": "polygon",
            "points": [[x, y] for x, y in [*part, part[0]]],
            "score": region.score,
            "attributes": {},
            "description": None,
            "difficult": False,
            "direction": 0,
            "flags": None,
            "group_id": number if len(parts) > 1 else None,
            "kie_linking": [],
        }
