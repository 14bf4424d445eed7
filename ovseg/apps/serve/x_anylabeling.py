"""X-AnyLabeling's protocol for remote servers: a text or marks to polygons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ovseg.annotation.records import Region
from ovseg.apps.serve.bounds import Deadline, JsonObject
from ovseg.apps.serve.core import MOST_CLICKS, Core, Marks
from ovseg.apps.serve.images import from_base64, from_data_uri
from ovseg.apps.serve.outline import outlines
from ovseg.errors import DataError, ImageError, OvsegError, described, one_line
from ovseg.masks.encoded import EncodedImage
from ovseg.options.checks import check_number
from ovseg.segmenters.prompts import Box

MODEL = "ovseg"
UNNAMED = "AUTOLABEL_OBJECT"
"""The label of an object that was drawn: X-AnyLabeling asks for its name then."""
FINENESS = 0.001
"""How far a polygon may leave the mask, as a share of its length, where the client does not say."""
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
    ("toggle_preserve_existing_annotations", False),
)


def models(core: Core) -> JsonObject:
    """The answer to ``GET /v1/models``: one model, and the buttons that X-AnyLabeling shows for it."""
    return {"success": True, "data": {MODEL: _model(core)}}


def about(core: Core, model: str) -> JsonObject:
    """The answer to ``GET /v1/models/MODEL/info``."""
    if model != MODEL:
        return refusal("MODEL_NOT_FOUND", f"expected the model {MODEL!r}, got {described(model)}")
    return {"success": True, "data": {"model_id": MODEL, **_model(core)}}


def _model(core: Core) -> JsonObject:
    return {
        "display_name": f"{MODEL} ({core.version})",
        "batch_processing_mode": "text_prompt",
        "widgets": [{"name": name, "value": value} for name, value in WIDGETS],
        "params": {"conf_threshold": 0.0, "epsilon_factor": FINENESS},
    }


def predict(core: Core, body: JsonObject, deadline: Deadline) -> JsonObject:
    """The answer to ``POST /v1/predict``, a refusal included: this protocol has them with status 200.

    Args:
        core: what makes the regions.
        body: ``{"model", "image", "params"}``: the image as a data URI or in base64; of params are read
            text_prompt, marks, conf_threshold and epsilon_factor.
        deadline: of the request.
    """
    try:
        return {"success": True, "data": {"shapes": _shapes(core, body, deadline), "description": ""}}
    except ImageError as error:
        return refusal("INVALID_IMAGE", one_line(error))
    except _UnknownModel as error:
        return refusal("MODEL_NOT_FOUND", one_line(error))
    except OvsegError as error:
        return refusal("INFERENCE_ERROR", one_line(error))


def refusal(code: str, message: str) -> JsonObject:
    """A refusal as X-AnyLabeling reads it."""
    return {"success": False, "error": {"code": code, "message": message}}


class _UnknownModel(DataError):
    pass


def _shapes(core: Core, body: JsonObject, deadline: Deadline) -> list[JsonObject]:
    if body.get("model", MODEL) != MODEL:
        raise _UnknownModel(f"expected the model {MODEL!r}, got {described(body.get('model'))}")
    params, image = body.get("params") or {}, body.get("image")
    if not isinstance(params, dict):
        raise DataError(f"expected params as an object, got {described(params)}")
    least = check_number("conf_threshold", params.get("conf_threshold", 0.0), 0, 1)
    share = check_number("epsilon_factor", params.get("epsilon_factor", FINENESS), 0, 1)
    text, marks = params.get("text_prompt"), params.get("marks")
    if not text and not marks:
        raise DataError("expected a text_prompt or marks, got neither")
    if not isinstance(image, str):
        raise ImageError(f"expected an image as a data URI or in base64, got {described(image)}")
    picture = core.see(from_data_uri(image) if image[:5].lower() == "data:" else from_base64(image))
    if marks:
        found = [
            one for each in objects_of(marks, picture.size) for one in core.marked(picture, each, UNNAMED)
        ]
    else:
        words = _words(text)
        found = core.words(picture, {word: [word] for word in words}, deadline)
    kept = [one for one in found if one.score is None or one.score >= least]
    return [shape for number, one in enumerate(kept, 1) for shape in _polygons(picture, one, number, share)]


def _words(text: object) -> list[str]:
    """Words between commas, or between full stops where there is no comma, as their own server has it."""
    if not isinstance(text, str):
        raise DataError(f"expected a text_prompt as a text, got {described(text)}")
    parts = text.split("," if "," in text else ".")
    words = {" ".join(part.split()).casefold(): part.strip() for part in parts if part.strip()}
    if not words:
        raise DataError("expected a word in the text_prompt, got none")
    return list(words.values())


def objects_of(marks: object, size: tuple[int, int]) -> list[Marks]:
    """What was drawn on each object: every rectangle is one, with the points in it; else all points are one.

    Args:
        marks: ``{"type": "point", "data": [x, y], "label": 1 or 0}`` and ``{"type": "rectangle", "data":
            [x0, y0, x1, y1], "label": 1}``, in pixels.
        size: (height, width) of the image in pixels; points on its far edges count as inside.

    Raises:
        DataError: they are something else.

    >>> objects_of([{"type": "point", "data": [1, 2], "label": 1}], (9, 9))
    [Marks(clicks=((1.0, 2.0, True),), box=None)]
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
            clicks.append((min(x, size[1] - 1.0), min(y, size[0] - 1.0), foreground))
        elif one.get("type") == "rectangle" and foreground:
            x0, y0, x1, y1 = _numbers(one, 4)
            boxes.append((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
        else:
            raise DataError(f"expected points, or rectangles with the label 1, got {described(one)}")
    if not boxes:
        return [Marks(tuple(clicks))]
    return [Marks(tuple(one for one in clicks if not one[2] or _inside(one, box)), box) for box in boxes]


def _numbers(mark: Mapping[str, object], count: int) -> Sequence[float]:
    data = mark.get("data")
    if not isinstance(data, list) or len(data) != count:
        raise DataError(f"expected {count} numbers, got {described(data)}")
    return [check_number("a coordinate", one, -1e9, 1e9) for one in data]


def _inside(click: tuple[float, float, bool], box: Box) -> bool:
    return box[0] <= click[0] <= box[2] and box[1] <= click[1] <= box[3]


def _polygons(picture: EncodedImage, region: Region, number: int, share: float) -> Iterator[JsonObject]:
    """A polygon for each part; the parts of one object have one group. The first point is there twice."""
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
