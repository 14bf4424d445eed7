"""The functions for CVAT, driven by CVAT's own client over real HTTP against a stub of its routes."""

from __future__ import annotations

import itertools
import logging
import re
import sys

import numpy as np
import pytest
from PIL import Image

import ovseg
from ovseg.annotation.classes import read_classes
from ovseg.annotation.finder import MaskFinder
from ovseg.annotation.formats import read_annotations
from ovseg.annotation.run.annotate import annotate
from ovseg.errors import extra
from ovseg.metrics import mask_iou
from ovseg.options import AnnotateOptions
from ovseg.results.coco import Mask

if sys.version_info < (3, 11):
    pytest.skip("cvat-sdk has no release for Python 3.10", allow_module_level=True)
from cvat_cli.__main__ import main
from cvat_cli._internal import agent
from cvat_sdk.auto_annotation import BadFunctionError, InteractionResultAttributes
from cvat_sdk.masks import decode_mask, encode_mask

from ovseg.apps.cvat import create
from ovseg.apps.cvat.shapes import shape_mask

from .cvat_server import CvatServer, lead_to_cvat

SIZE = (96, 128)
WORDS = ("purple triangle", "stripes", "red star")
MODULE = ["--function-module", "ovseg.apps.cvat"]
SMALL = [
    "-p",
    "model=str:tiny",
    "-p",
    "segmenter=str:tiny",
    "-p",
    "templates=str:plain",
    "-p",
    "presence_threshold=float:0.02",
]


@pytest.fixture(scope="module")
def scenes():
    return {f"{seed}.png": ovseg.make_scene(seed, SIZE).image for seed in (3, 4, 5)}


@pytest.fixture
def cvat(scenes, monkeypatch, tmp_path):
    """Start the stub, with labels and images; cvat-cli keeps what it downloads in a folder of the test."""
    lead_to_cvat(monkeypatch, tmp_path / "cache")
    opened = []

    def start(labels=WORDS, images=scenes):
        opened.append(CvatServer(images, labels).__enter__())
        return opened[-1]

    yield start
    for server in opened:
        server.__exit__()


@pytest.fixture(autouse=True)
def quiet():
    """cvat-cli adds a handler to its logger at each call."""
    logger = logging.getLogger("cvat_cli.__main__")
    yield
    logger.handlers.clear()


@pytest.fixture(scope="module")
def expected(scenes, tmp_path_factory):
    """(frame, label, mask, score) of everything that ``ovseg annotate`` finds."""
    photos, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("run")
    for name, image in scenes.items():
        Image.fromarray(image).save(photos / name)
    options = AnnotateOptions(templates="plain", presence_threshold=0.02)
    classes = read_classes(list(WORDS))
    finder = MaskFinder(ovseg.load_model("tiny"), ovseg.load_segmenter("tiny"), classes, options)
    annotate(photos, classes, out, finder)
    found = [
        (frame, region.label, region.mask.array(), region.score)
        for frame, record in enumerate(read_annotations(out).records())
        for region in record.regions
    ]
    assert len(found) > 3 and len({label for _, label, _, _ in found}) > 1
    return found


def detect(server, *arguments, classes="purple triangle, stripes, red star"):
    command = ["task", "auto-annotate", "5", *MODULE, *SMALL, "-p", f"classes=str:{classes}"]
    return main([*server.arguments, *command, *arguments])


def decoded(shape):
    return decode_mask(shape["points"], image_width=SIZE[1], image_height=SIZE[0])


# ------------------------------------------------------------------------------------------- detection


def test_masks_that_reach_cvat_are_those_of_ovseg_annotate(cvat, expected):
    server = cvat()
    assert detect(server) == 0 and not server.refused
    ((method, _),) = server.uploads
    assert method == "PATCH"
    shapes = server.shapes()
    assert len(shapes) == len(expected)
    for (label, shape), (frame, wanted, mask, score) in zip(shapes, expected, strict=True):
        assert (shape["type"], label, shape["frame"], shape["source"]) == ("mask", wanted, frame, "auto")
        assert np.array_equal(decoded(shape), mask)
        assert shape["score"] == min(1, score) and not shape.get("attributes")


@pytest.mark.parametrize("asked", [("-p", "shape=str:polygon"), ("--conv-mask-to-poly",)])
def test_polygons_hold_the_masks_and_parts_form_a_group(cvat, expected, asked):
    server = cvat()
    assert detect(server, *asked, "--clear-existing") == 0
    ((method, _),) = server.uploads
    assert method == "PUT"
    objects: dict[tuple, list] = {}
    for number, (label, shape) in enumerate(server.shapes()):
        assert shape["type"] == "polygon" and len(shape["points"]) >= 6
        group = shape.get("group") or f"alone {number}"
        objects.setdefault((shape["frame"], label, group), []).append(shape["points"])
    assert len(objects) == len(expected)
    ious = []
    for ((frame, label, _), parts), (wanted, name, mask, _) in zip(objects.items(), expected, strict=True):
        assert (frame, label) == (wanted, name)
        ious.append(mask_iou(Mask.of_polygons(SIZE, parts).array(), mask))
    assert min(ious) > 0.8 and np.mean(ious) > 0.95


def test_labels_of_the_task_decide_what_arrives(cvat, expected):
    fewer = cvat(WORDS[:1])
    with pytest.raises(BadFunctionError, match="'stripes' is not in dataset"):
        detect(fewer)
    assert not fewer.uploads
    assert detect(fewer, "--allow-unmatched-labels") == 0
    assert len(fewer.shapes()) == sum(label == WORDS[0] for _, label, _, _ in expected) > 0
    of_polygons = cvat([{"name": name, "type": "polygon"} for name in WORDS])
    with pytest.raises(BadFunctionError, match="type 'mask' in the function, but 'polygon' in the dataset"):
        detect(of_polygons)


def test_attributes_carry_score_prompt_and_method(cvat, expected):
    attributes = [
        {
            "id": number,
            "name": name,
            "mutable": False,
            "input_type": "text",
            "values": [],
            "default_value": "",
        }
        for number, name in enumerate(("score", "prompt", "method"), 31)
    ]
    server = cvat([{"name": name, "attributes": attributes} for name in WORDS])
    lines = "; ".join(f"{name}: {name}, {name}s" for name in WORDS)
    assert detect(server, "-p", "attributes=bool:true", classes=lines) == 0
    assert server.shapes()
    for label, shape in server.shapes():
        found = {one["spec_id"]: one["value"] for one in shape["attributes"]}
        assert min(1, float(found[31])) == shape["score"] and found[32] == f"{label}, {label}s"
        assert "tiny" in found[33] and len(found) == 3


def test_a_confidence_is_the_presence_that_a_class_needs(cvat):
    counts = {}
    for threshold in ("0", "0.5", "1"):
        server = cvat()
        assert detect(server, "--conf-threshold", threshold, classes=f"{WORDS[0]}; {WORDS[1]} >= 0.999") == 0
        labels = [label for label, _ in server.shapes()]
        counts[threshold] = [labels.count(name) for name in WORDS[:2]]
    assert counts["0"][0] > counts["0.5"][0] > counts["1"][0] == 0
    assert counts["0"][1] == counts["0.5"][1], "the class's own threshold counts where it is higher"


def test_label_maps_come_as_one_mask_a_class(cvat, scenes):
    server = cvat()
    assert detect(server, "-p", "task=str:labels", "--conf-threshold", "0.5") == 0
    model = ovseg.load_model("tiny")
    compared = 0
    for frame, image in enumerate(scenes.values()):
        labels = model.segment(image, list(WORDS), templates="plain").array
        for name, shape in server.shapes():
            if shape["frame"] == frame:
                assert np.array_equal(decoded(shape), labels == WORDS.index(name)) and "score" not in shape
                compared += 1
    assert compared == len(server.shapes()) > 3


def test_an_image_that_cannot_be_read_does_not_lose_the_others(cvat, monkeypatch, caplog):
    server = cvat()
    monkeypatch.setenv("OVSEG_MAX_PIXELS", "100")
    assert detect(server) == 0
    assert server.shapes() == [] and len(server.uploads) == 1
    assert sum("expected" in line and ".png" in line for line in caplog.messages) == 3


# ------------------------------------------------------------------------------------------ parameters


@pytest.mark.parametrize(
    "parameter, said",
    [
        ("clases=str:dog", "unknown option 'clases': did you mean 'classes'?"),
        ("shape=str:box", "unknown shape 'box': expected one of mask, polygon"),
        ("shape=int:3", "unknown shape 3: expected one of mask, polygon"),
        ("attributes=str:yes", "expected attributes as True or False, got 'yes'"),
        ("classes=int:5", "expected classes as a text, got 5"),
        ("classes=str:background,", "expected"),
        ("presence_threshold=float:1.5", "expected presence_threshold in 0..1, got 1.5"),
        ("size=str:224", "expected size"),
        ("segmenter=str:sam9", "unknown segmenter 'sam9'"),
        ("model=str:nothing", "nothing"),
        ("function=str:classify", "unknown function 'classify': expected one of detection"),
        ("function=str:interaction", "expected no classes for the function interaction, got 'dog, cat'"),
    ],
)
def test_a_wrong_parameter_is_one_line_and_nothing_is_uploaded(cvat, capsys, parameter, said):
    server = cvat()
    assert detect(server, "-p", parameter, classes="dog, cat") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "CRITICAL" in line]
    assert len(lines) == 1 and said in lines[0]
    assert not server.uploads


def test_from_python_the_error_is_one_of_ovseg(monkeypatch):
    monkeypatch.delitem(sys.modules, "cvat_cli._internal.common")
    with pytest.raises(ovseg.UsageError, match="the function detection needs classes, got none"):
        create()
    with pytest.raises(ovseg.UsageError, match="expected the task instances for the function tracking"):
        create(function="tracking", task="labels", model="tiny")
    monkeypatch.setitem(sys.modules, "cvat_sdk.auto_annotation", None)
    with pytest.raises(ovseg.MissingPackageError, match=re.escape(extra("cvat"))):
        create(classes="dog")


# ------------------------------------------------------------------------------ the agent: clicks, tracks


def through_agent(server, monkeypatch, function, requests):
    """What the agent sends back for requests of a function that is created first."""
    numbers = itertools.count()
    monkeypatch.setattr(agent, "_default_tracking_state_id_generator", lambda: f"state {next(numbers)}")
    given = [*MODULE, *SMALL, "-p", f"function=str:{function}"]
    assert main([*server.arguments, "function", "create-native", "ovseg", *given]) == 0
    server.requests += [("interactive", request) for request in requests]
    assert main([*server.arguments, "function", "run-agent", "0", *given, "--burst"]) == 0
    return [body for route, body in server.results if route == "complete"]


def test_clicks_and_boxes_give_the_masks_of_a_session(cvat, scenes, monkeypatch):
    finder = ovseg.TextToMask(ovseg.load_model("tiny"), ovseg.load_segmenter("tiny"))
    image = scenes["4.png"]
    asked = {"type": "interact", "frame": 1, "pos_points": [], "neg_points": [], "obj_bbox": []}
    server = cvat()
    answers = through_agent(
        server,
        monkeypatch,
        "interaction",
        [
            {**asked, "pos_points": [[64, 40]]},
            {**asked, "pos_points": [[64, 40], [200, 40]], "neg_points": [[5, 5]]},
            {**asked, "obj_bbox": [[30, 20], [90, 80]]},
            {**asked, "neg_points": [[5, 5]]},
        ],
    )
    assert server.functions[0]["kind"] == "interactor" and server.functions[0]["startswith_box_optional"]
    session = finder.session(image)
    wanted = [session.click(64, 40)]
    session.click(127, 40)
    wanted.append(session.click(5, 5, foreground=False))
    wanted.append(finder.session(image).box(30, 20, 90, 80))
    assert len(answers) == 4 and answers[3]["shapes"] == []
    for answer, one in zip(answers, wanted, strict=False):
        (shape,) = answer["shapes"]
        assert shape["type"] == "mask" and np.array_equal(decoded(shape), one.masks[0])
        (confidence,) = shape["attributes"]
        assert confidence["spec_id"] == InteractionResultAttributes.CONFIDENCE
        assert 0 <= float(confidence["value"]) <= 1


def test_a_box_without_area_fails_its_request_only(cvat, monkeypatch):
    server = cvat()
    asked = {"type": "interact", "frame": 0, "pos_points": [], "neg_points": []}
    answers = through_agent(
        server,
        monkeypatch,
        "interaction",
        [{**asked, "obj_bbox": [[5, 5], [5, 9]]}, {**asked, "obj_bbox": [[5, 5], [50, 90]]}],
    )
    assert [route for route, _ in server.results] == ["fail", "complete"] and len(answers) == 1


def moving(seed=3, steps=3):
    """A disk that moves over a scene, and its mask on each image."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    images, masks = {}, []
    for step in range(steps):
        mask = (rows - 40 - 2 * step) ** 2 + (columns - 50 - 4 * step) ** 2 <= 18**2
        image = ovseg.make_scene(seed, SIZE).image.copy()
        image[mask] = (250, 30, 30)
        images[f"{step}.png"] = image
        masks.append(mask)
    return images, masks


@pytest.mark.parametrize("kind", ["mask", "polygon", "rectangle"])
def test_a_shape_is_followed_over_the_images(cvat, monkeypatch, kind):
    images, masks = moving()
    points = {
        "mask": encode_mask(masks[0]),
        "polygon": [
            side
            for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False)
            for side in (50.5 + 18.5 * np.cos(angle), 40.5 + 18.5 * np.sin(angle))
        ],
        "rectangle": [32, 22, 69, 59],
    }[kind]
    server = cvat(images=images)
    first = {"type": "init_tracking", "frame": 0, "shapes": [{"type": kind, "points": points}]}

    later = [{"type": "track", "frame": frame, "states": ["state 0"]} for frame in (1, 2)]
    answers = through_agent(server, monkeypatch, "tracking", [first, *later])
    assert server.functions[0]["supported_shape_types"] == ["mask", "polygon", "rectangle"]
    for answer, mask in zip(answers[1:], masks[1:], strict=True):
        (shape,) = answer["shapes"]
        assert shape["type"] == kind
        if kind == "mask":
            found = decoded(shape)
        elif kind == "polygon":
            found = Mask.of_polygons(SIZE, [shape["points"]]).array()
        else:
            x0, y0, x1, y1 = (round(side) for side in shape["points"])
            found, mask = np.zeros(SIZE, bool), box_of(mask)
            found[y0:y1, x0:x1] = True
        assert mask_iou(found, mask) > 0.8


def test_a_shape_that_is_gone_is_said_to_be(cvat, monkeypatch):
    images, masks = moving(steps=2)
    images["1.png"] = 255 - images["0.png"]
    server = cvat(images=images)
    first = {"type": "mask", "points": encode_mask(masks[0])}
    answers = through_agent(
        server,
        monkeypatch,
        "tracking",
        [
            {"type": "init_tracking", "frame": 0, "shapes": [first]},
            {"type": "track", "frame": 1, "states": ["state 0"]},
            {"type": "track", "frame": 0, "states": ["state 0"]},
        ],
    )
    (found,) = answers[2]["shapes"]
    assert answers[1]["shapes"] == [None]
    assert mask_iou(decoded(found), masks[0]) > 0.8


@pytest.mark.parametrize(
    "kind, points",
    [
        ("mask", [3, 2, 0, 0, 1, 1]),
        ("mask", [0, 4, 200, 0, 201, 1]),
        ("mask", [1.5, 2.5, 0, 0, 1, 1]),
        ("mask", [2**63 - 1, 2**63 - 1, 6, 0, 0, 1, 1]),  # their sum wraps around to 4
        ("mask", [-4, 8, 0, 0, 1, 1]),
        ("polygon", [1, 1]),
        ("polygon", [1, 1, 1, 1, 1, 1]),
        ("rectangle", [5, 5, 5, 9]),
        ("rectangle", [float("nan"), 5, 5, 9]),
        ("rectangle", []),
    ],
)
def test_a_shape_that_is_none_is_one_line(kind, points):
    with pytest.raises(ovseg.DataError, match=f"expected a {kind} inside 8 x 8 pixels, got"):
        shape_mask(kind, points, (8, 8))


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    out = np.zeros_like(mask)
    out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return out
