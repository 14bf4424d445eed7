"""X-AnyLabeling's protocol, asked as its client asks."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

import ovseg
from ovseg.annotation.classes import read_classes
from ovseg.annotation.finder import MaskFinder
from ovseg.options import AnnotateOptions, ServeOptions

from .serving import TOKEN, ask, png, running, uri

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

SCENE = ovseg.make_scene(3)
WORD = SCENE.present[0]
IMAGE = uri(SCENE.image)
OPTIONS = AnnotateOptions(presence_threshold=0)
HEADERS = {"Token": TOKEN, "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def core(models):
    from ovseg.apps.serve.core import Core

    return Core(*models, OPTIONS, ServeOptions(max_pixels=1_000_000))


@pytest.fixture(scope="module")
def port(core):
    from ovseg.apps.serve.app import create_app

    with running(create_app(core, token=TOKEN)) as port:
        yield port


@pytest.fixture
def session(models):
    return ovseg.TextToMask(*models, presence_threshold=0).session(SCENE.image)


def asked(port, image=IMAGE, model="ovseg", **params):
    body = {"model": model, "image": image, "params": {"conf_threshold": 0.0, "iou_threshold": 0.0, **params}}
    return ask(port, "/v1/predict", body, HEADERS)


def predict(port, image=IMAGE, **params):
    status, answer = asked(port, image, **params)
    assert status == 200
    return answer


def shapes(answer):
    assert answer["success"] is True and answer["data"]["description"] == ""
    return answer["data"]["shapes"]


def drawn(listed, size=(128, 128)):
    """Polygons filled as LabelMe's relatives fill them, the pixels under the outline included."""
    out = np.zeros(size, np.uint8)
    for one in listed:
        cv2.fillPoly(out, [np.round(np.array(one["points"])).astype(np.int32)], 1)
    return out.astype(bool)


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def mark(kind, data, label=1):
    return {"type": kind, "data": data, "label": label}


def test_the_model_is_listed_with_its_buttons(port, core):
    status, answer = ask(port, "/v1/models", headers=HEADERS)
    (identity,) = answer["data"]
    model = answer["data"][identity]
    assert status == 200 and answer["success"] is True and identity == "ovseg"
    assert core.version in model["display_name"] and model["batch_processing_mode"] == "text_prompt"
    assert {"edit_text", "button_send", "button_add_point"} <= {one["name"] for one in model["widgets"]}
    assert all(set(one) == {"name", "value"} for one in model["widgets"])
    assert ask(port, "/v1/models/ovseg/info", headers=HEADERS)[1]["data"] == {"model_id": "ovseg", **model}
    status, other = ask(port, "/v1/models/yolo/info", headers=HEADERS)
    assert status == 404 and other["success"] is False and other["error"]["code"] == "MODEL_NOT_FOUND"


@pytest.mark.parametrize("fineness", [0.0, 0.001])
def test_a_text_becomes_polygons(port, models, fineness):
    names = f"{SCENE.present[0]}.{SCENE.present[1]}"
    listed = shapes(predict(port, text_prompt=names, epsilon_factor=fineness))
    (found,) = MaskFinder(*models, read_classes(list(SCENE.present[:2])), OPTIONS).find([SCENE.image])
    for name in SCENE.present[:2]:
        mine = [one for one in listed if one["label"] == name]
        wanted = np.any([one.mask.array() for one in found.regions if one.label == name], axis=0)
        assert mine and iou(drawn(mine), wanted) > 0.95
    for one in listed:
        assert one["shape_type"] == "polygon" and one["points"][0] == one["points"][-1]
        assert len(one["points"]) > 3 and 0 < one["score"] <= 1


def test_a_fineness_leaves_points_out(port):
    counts = [
        sum(len(one["points"]) for one in shapes(predict(port, text_prompt=WORD, epsilon_factor=share)))
        for share in (0.0, 0.005, 0.02)
    ]
    assert counts[0] > counts[1] > counts[2] > 3


def test_points_are_one_object_without_a_name(port, session):
    marks = [mark("point", [32, 32]), mark("point", [96, 20], 0)]
    session.click(32, 32)
    wanted = session.click(96, 20, foreground=False).masks[0]
    listed = shapes(predict(port, marks=marks, epsilon_factor=0.0))
    assert {one["label"] for one in listed} == {"AUTOLABEL_OBJECT"} and iou(drawn(listed), wanted) > 0.95


def test_each_rectangle_is_an_object_with_the_points_in_it(port, session):
    marks = [
        mark("rectangle", [60, 60, 10, 10]),  # from its lower right corner
        mark("rectangle", [70, 70, 120, 120]),
        mark("point", [90, 90]),
    ]
    first = session.box(10, 10, 60, 60).masks[0]
    session.reset()
    session.box(70, 70, 120, 120)
    second = session.click(90, 90).masks[0]
    listed = shapes(predict(port, marks=marks, epsilon_factor=0.0))
    assert iou(drawn(listed), first | second) > 0.95


def test_a_threshold_leaves_out_what_the_segmenter_is_not_sure_of(port):
    scores = [one["score"] for one in shapes(predict(port, text_prompt=WORD))]
    assert len(scores) > 0
    kept = shapes(predict(port, text_prompt=WORD, conf_threshold=max(scores)))
    assert {one["score"] for one in kept} == {max(scores)}
    assert shapes(predict(port, text_prompt=WORD, conf_threshold=1.0)) == []


def test_an_image_may_come_without_a_head(port):
    bare = base64.b64encode(png(SCENE.image)).decode()
    assert predict(port, bare, text_prompt=WORD) == predict(port, text_prompt=WORD)


@pytest.mark.parametrize(
    "changed, code, line",
    [
        ({"image": "data:image/png;base64,AAAA"}, "INVALID_IMAGE", "expected"),
        ({"image": uri(np.zeros((2000, 2000, 3), np.uint8))}, "INVALID_IMAGE", "at most 1,000,000 pixels"),
        ({"text_prompt": None}, "INFERENCE_ERROR", "expected a word in the text_prompt, or marks, got none"),
        ({"text_prompt": " , "}, "INFERENCE_ERROR", "expected a word in the text_prompt"),
        ({"text_prompt": "a" * 2000}, "INFERENCE_ERROR", "expected texts of at most 1000 characters"),
        (
            {"text_prompt": "a, b," * 2000 + ",".join(map(str, range(2001)))},
            "INFERENCE_ERROR",
            "at most 2000",
        ),
        ({"marks": [mark("point", [1, 1], 0)]}, "INFERENCE_ERROR", "only background clicks"),
        ({"marks": [mark("point", [-1, 1])]}, "INFERENCE_ERROR", "expected a point inside the image"),
    ],
)
def test_what_a_person_asks_in_vain_is_status_200_and_leaves_the_image_as_it_is(port, changed, code, line):
    """At another status X-AnyLabeling clears the image, and so it does where data lacks "replace"."""
    status, answer = asked(port, **{"text_prompt": WORD, **changed})
    assert status == 200 and answer["success"] is False and answer["error"]["code"] == code
    assert line in answer["error"]["message"] and "\n" not in answer["error"]["message"]
    assert answer["data"] == {"shapes": [], "description": "", "replace": False}


@pytest.mark.parametrize(
    "changed, line",
    [
        ({"image": 5}, "expected an image as a data URI or in base64"),
        ({"image": "!"}, "expected an image in base64"),
        ({"image": "/data/local-files/?d=a.png"}, "expected an image in base64"),
        ({"text_prompt": ["a"]}, "expected a text_prompt as a text"),
        ({"text_prompt": "a" * 300_000}, "expected a text_prompt as a text of at most 200000 characters"),
        ({"conf_threshold": 2}, "expected conf_threshold in 0..1, got 2"),
        ({"epsilon_factor": "a"}, "expected epsilon_factor as a number"),
        ({"marks": {}, "text_prompt": None}, "expected a list of at most 200 marks"),
        ({"marks": [5]}, "expected a mark with type"),
        ({"marks": [mark("circle", [1, 2])]}, "expected points, or rectangles"),
        ({"marks": [mark("rectangle", [1, 2, 9, 9], 0)]}, "expected points, or rectangles"),
        ({"marks": [mark("point", [1])]}, "expected 2 numbers"),
        ({"marks": [mark("point", [1, float("nan")])]}, "expected a coordinate"),
        ({"marks": [mark("point", [500, 1])] * 201}, "expected a list of at most 200 marks"),
    ],
)
def test_malformed_bodies_are_status_400(port, changed, line):
    status, answer = asked(port, **{"text_prompt": WORD, **changed})
    assert status == 400 and answer["success"] is False and answer["error"]["code"] == "INVALID_REQUEST"
    assert line in answer["error"]["message"] and answer["data"]["replace"] is False


def test_another_model_is_status_404(port):
    status, answer = asked(port, model="yolo", text_prompt=WORD)
    assert status == 404 and answer["error"]["code"] == "MODEL_NOT_FOUND"
    assert answer["error"]["message"] == "expected the model 'ovseg', got 'yolo'"


def test_answers_to_marks_add_to_the_image_and_texts_leave_it_to_the_person(port):
    """The client's switch is on from the beginning, so that texts add as well until somebody turns it off."""
    assert predict(port, marks=[mark("point", [32, 32])])["data"]["replace"] is False
    assert "replace" not in predict(port, text_prompt=WORD)["data"]
    (model,) = ask(port, "/v1/models", headers=HEADERS)[1]["data"].values()
    assert {"name": "toggle_preserve_existing_annotations", "value": True} in model["widgets"]


@pytest.mark.parametrize("comma", ["，", "、", "،"])
def test_commas_of_other_scripts_separate_words(port, comma):
    first, second = SCENE.present[:2]
    plain = predict(port, text_prompt=f"{first}, {second}")
    assert len(shapes(plain)) > 1
    assert predict(port, text_prompt=f"{first}{comma}{second}") == plain


def test_unknown_words_are_named_with_near_ones(port, core, monkeypatch, caplog):
    from ovseg.clip.unknown import Unknown

    assert "unknown" not in predict(port, text_prompt=WORD)["data"]
    asked = []

    def unknown(texts):
        asked.extend(texts)
        return [Unknown("bycicle", ("bicycle",))]

    monkeypatch.setattr(type(core._setup.model), "unknown_words", lambda _, texts: unknown(texts))
    answer = predict(port, text_prompt=", ".join(["bycicle", *("abcdefghij" * k for k in range(1, 9))]))
    assert answer["data"]["unknown"] == ['unknown word "bycicle": did you mean bicycle?']
    assert "bycicle" in caplog.text and asked == ["bycicle", *("abcdefghij" * k for k in range(1, 6))]


def test_points_outside_all_rectangles_are_an_object_of_their_own(port, session):
    first = session.box(10, 10, 60, 60).masks[0]
    session.reset()
    second = session.click(90, 90).masks[0]
    marks = [mark("rectangle", [10, 10, 60, 60]), mark("point", [90, 90])]
    assert iou(drawn(shapes(predict(port, marks=marks, epsilon_factor=0.0))), first | second) > 0.95


def test_without_the_token_the_status_says_so(port):
    status, answer = ask(port, "/v1/models", headers={})
    assert status == 401 and answer["error"]["code"] == "UNAUTHORIZED"
