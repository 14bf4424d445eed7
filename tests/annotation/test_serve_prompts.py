"""What Label Studio's page sends: words, clicks that add up, boxes and strokes; and what it is answered."""

from __future__ import annotations

import numpy as np
import pytest

import ovseg
from ovseg.annotation.formats.brush import decode_brush, encode_brush
from ovseg.options import AnnotateOptions, ServeOptions
from ovseg.results.coco import Mask

from .serving import ask, body_of, config, png, running, uri, words

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

SCENE = ovseg.make_scene(3)
WORD = SCENE.present[0]
IMAGE = uri(SCENE.image)
LABELS = ["animal", WORD]


@pytest.fixture(scope="module")
def core(models):
    from ovseg.apps.serve.core import Core

    return Core(*models, AnnotateOptions(presence_threshold=0))


@pytest.fixture(scope="module")
def port(core):
    from ovseg.apps.serve.app import create_app

    with running(create_app(core)) as port:
        yield port


@pytest.fixture
def session(models):
    return ovseg.TextToMask(*models, presence_threshold=0).session(SCENE.image)


def entry_of(port, labels, *context, image=IMAGE, **more):
    """The entry of the only task of a request, and its masks."""
    status, answer = ask(port, "/predict", body_of(image, labels, *context, **more))
    assert status == 200, answer
    (entry,) = answer["results"]
    masks = [
        decode_brush(one["value"]["rle"], (128, 128)) for one in entry["result"] if "rle" in one["value"]
    ]
    return entry, masks


def point(x, y, label="animal", positive=True):
    return {
        "type": "keypointlabels",
        "is_positive": positive,
        "value": {"x": x / 1.28, "y": y / 1.28, "width": 0.3, "keypointlabels": [label]},
    }


# ------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize("said", [WORD, f"the {WORD} there", WORD.upper()])
def test_a_word_takes_the_label_that_it_names(port, said):
    entry, _ = entry_of(port, LABELS, words(said))
    assert {one["value"]["brushlabels"][0] for one in entry["result"]} == {WORD} and "error" not in entry
    assert all(f"prompt: {said}" in one["meta"]["text"] for one in entry["result"])


def test_words_that_are_no_labels_are_named_in_one_line_and_others_are_answered(port):
    entry, masks = entry_of(port, LABELS, words(f"{WORD}, zebra", "unicorn"))
    assert entry["error"] == f"expected words of the labels animal, {WORD}; got 'zebra', 'unicorn'"
    assert len(masks) > 0
    entry, masks = entry_of(port, LABELS, words("zebra"))
    assert entry["result"] == [] and entry["error"].endswith("got 'zebra'")


def test_unknown_words_are_named_with_near_ones(port, core, monkeypatch):
    monkeypatch.setattr(core, "unknown", lambda texts: [f"unknown word in {texts}"])
    entry, masks = entry_of(port, LABELS, words(f"{WORD}, zebra"))
    assert entry["error"].endswith(f"got 'zebra'; unknown word in ['{WORD}']") and len(masks) > 0


def test_predicted_values_are_the_texts_of_a_label(port):
    more = {"label_config": config(["x"]).replace('"x"', f'"thing" predicted_values="nothing such, {WORD}"')}
    for context in ((), (words(WORD),)):
        entry, masks = entry_of(port, ["x"], *context, **more)
        assert {one["value"]["brushlabels"][0] for one in entry["result"]} == {"thing"} and len(masks) > 0


def test_the_configuration_of_setup_serves_where_a_request_has_none(port):
    told = {"project": "7.1", "schema": config(LABELS), "hostname": "", "access_token": "a"}
    assert ask(port, "/setup", told)[0] == 200
    _, masks = entry_of(port, [], words(WORD), label_config=None, project="7.1")
    assert len(masks) > 0


def test_pixels_belong_to_one_label_only(port):
    names = list(SCENE.present)
    _, masks = entry_of(port, names)
    assert len(masks) > 1 and np.sum(masks, axis=0).max() == 1


# ------------------------------------------------------------------------------------------------- marks


def test_clicks_of_a_label_add_up(port, session):
    clicks = [(32, 32, True), (96, 96, True), (20, 100, False)]
    for count in range(1, 4):
        given = [point(x, y, positive=on) for x, y, on in clicks[:count]]
        _, masks = entry_of(
            port, LABELS, point(5, 5, WORD), *given
        )  # the other label's click is another object
        wanted = session.click(*clicks[count - 1])
        assert len(masks) == len(wanted) == 1 and np.array_equal(masks[0], wanted.masks[0])


@pytest.mark.parametrize("how", ["context", "draft", "region"])
def test_a_background_click_alone_corrects_the_object_before_it(port, session, how):
    """Label Studio's page sends the newest region only, and the drafts of whoever asks."""
    session.click(32, 32)
    wanted = session.click(96, 96, foreground=False).masks
    draft = [{"id": 5, "user": "a@b.c", "result": []}] if how == "draft" else []
    who = {"annotation_id": 3, "user_id": 1} if how == "context" else {}
    entry, _ = asked(port, point(32, 32), project="9.1", drafts=draft, **who)
    if how == "region":  # the mask was taken over into the page, which has saved it since
        draft = [{"id": number, "user": "a@b.c", "result": entry["result"]} for number in (5, 6)]
    _, masks = asked(port, point(96, 96, positive=False), project="9.1", drafts=draft, **who)
    assert np.array_equal(masks, wanted)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"annotation_id": 4, "user_id": 1},
        {"annotation_id": 3, "user_id": 2},
        {"draft_id": 3},
        {"drafts": [{"id": 7, "user": "d@e.f", "result": []}]},
        {"annotation_id": 3, "user_id": 1, "project": "9.2"},
    ],
    ids=["unknown", "annotation", "user", "draft", "drafts", "project"],
)
def test_marks_of_another_annotation_or_user_are_not_used(port, other):
    asked(port, point(32, 32), **{"project": "9.1", "annotation_id": 3, "user_id": 1})
    asked(port, point(32, 32), project="9.1")  # nobody knows whose this is
    entry, masks = asked(port, point(96, 96, positive=False), **{"project": "9.1", **other})
    assert masks == [] and entry["error"].startswith("only background clicks")


def asked(port, region, project, drafts=(), **who):
    """The entry and the masks for a region that somebody drew."""
    body = body_of(IMAGE, LABELS, region, project=project)
    body["tasks"][0]["drafts"] = list(drafts)
    body["params"]["context"] |= who
    status, answer = ask(port, "/predict", body)
    assert status == 200
    (entry,) = answer["results"]
    return entry, [decode_brush(one["value"]["rle"], (128, 128)) for one in entry["result"]]


@pytest.mark.parametrize("turned", [90, 180, 270, -90, "90", float("nan")])
def test_a_region_on_a_picture_that_was_turned_in_the_editor_is_refused(port, turned):
    entry, masks = entry_of(port, LABELS, {**point(32, 32), "image_rotation": turned})
    assert masks == [] and "expected an upright image" in entry["error"]
    assert len(entry_of(port, LABELS, {**point(32, 32), "image_rotation": 360})[1]) > 0


def test_commas_of_other_scripts_separate_words(port):
    entry, masks = entry_of(port, LABELS, words(f"zebra，{WORD}、unicorn"))
    assert len(masks) > 0 and entry["error"].endswith("got 'zebra', 'unicorn'")


def test_a_rectangle_may_be_turned(port, session):
    value = {"x": 50, "y": 25, "width": 25, "height": 25, "rotation": 90, "rectanglelabels": [WORD]}
    _, masks = entry_of(port, LABELS, {"type": "rectanglelabels", "value": value})
    assert np.array_equal(masks, session.box(32, 32, 64, 64).masks)


def test_a_brush_stroke_becomes_points_on_it(port, models):
    from ovseg.apps.serve.drawn import spread_points

    stroke = np.zeros((128, 128), bool)
    stroke[30:36, 20:70] = True
    value = {"format": "rle", "rle": encode_brush(stroke), "brushlabels": ["animal"]}
    _, masks = entry_of(port, LABELS, {"type": "brushlabels", "value": value})
    session = ovseg.TextToMask(*models).session(SCENE.image)
    points = spread_points(stroke, 5)
    assert len(set(points)) == 5 and all(stroke[y, x] for x, y in points)
    for x, y in points:
        wanted = session.click(x, y)
    assert np.array_equal(masks, wanted.masks)


@pytest.mark.parametrize(
    "region, line",
    [
        (point(32, 32, "cat"), "expected one of the labels"),
        ({"type": "keypointlabels", "value": {"x": 101, "y": 0}}, "expected percent in 0..100"),
        ({"type": "keypointlabels", "value": {"x": True, "y": 0}}, "expected percent in 0..100"),
        ({"type": "keypointlabels"}, "expected a region with a value"),
        (
            {"type": "rectanglelabels", "value": {"x": 5, "y": 5, "width": 0, "height": 5}},
            "expected a box with an area",
        ),
        ({"type": "brushlabels", "value": {"rle": [1, 2]}}, "expected run lengths"),
        (
            {"type": "brushlabels", "value": {"rle": encode_brush(np.ones((9, 9), bool))}},
            "of 128 x 128 pixels",
        ),
        (
            {"type": "brushlabels", "value": {"rle": encode_brush(np.zeros((128, 128), bool))}},
            "without pixels",
        ),
    ],
)
def test_marks_that_are_none_are_a_line(port, region, line):
    entry, masks = entry_of(port, LABELS, region)
    assert masks == [] and line in entry["error"] and "\n" not in entry["error"]


@pytest.mark.parametrize(
    "changed, line",
    [
        ({"label_config": "<View/>"}, "expected a configuration with brush, polygon or rectangle labels"),
        ({"label_config": "<View"}, "expected a labelling configuration as XML"),
        ({"label_config": '<!DOCTYPE a [<!ENTITY b "c">]><View/>'}, "as XML without DTD"),
        ({"label_config": config([])}, "expected a configuration with brush"),
        ({"tasks": {}}, "expected a list of at most"),
        ({"params": {"context": {"result": 5}}}, "expected a context with a list"),
        ({"params": {"context": {"result": [words()]}}}, "expected one to 2000 words"),
        (
            {"params": {"context": {"result": [{"type": "textarea", "value": {"text": 5}}]}}},
            "expected words as",
        ),
        ({"params": {"context": {"result": [{"type": "choices"}]}}}, "expected a text area, key points"),
    ],
)
def test_requests_that_are_none_are_status_400(port, changed, line):
    status, answer = ask(port, "/predict", {**body_of(IMAGE, LABELS), **changed})
    assert status == 400 and line in answer["error"]


# ----------------------------------------------------------------------------------------------- answers


def test_projects_of_polygons_and_rectangles_get_these(port):
    masks = entry_of(port, [WORD])[1]
    polygons = entry_of(port, [WORD], kind="PolygonLabels")[0]["result"]
    boxes = entry_of(port, [WORD], kind="RectangleLabels")[0]["result"]
    assert len(boxes) == len(masks) and len({one["id"] for one in polygons}) == len(polygons) >= len(masks)
    joined = np.zeros((128, 128), bool)
    for one in polygons:
        assert one["type"] == "polygonlabels" and one["value"]["polygonlabels"] == [WORD]
        corners = np.array(one["value"]["points"]) * 1.28
        joined |= Mask.of_polygons((128, 128), [corners.reshape(-1).tolist()]).array()
    union = np.any(masks, axis=0)
    assert (joined & union).sum() / (joined | union).sum() > 0.95
    for one, mask in zip(boxes, masks, strict=True):
        y, x = np.nonzero(mask)
        value = [one["value"][key] * 1.28 for key in ("x", "y", "width", "height")]
        assert value == pytest.approx([x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1])


def test_a_picture_is_encoded_once_for_all_words_and_clicks(port, core):
    image = uri(ovseg.make_scene(11).image)
    before = core.encoded
    entry_of(port, LABELS, image=image)
    entry_of(port, LABELS, words(WORD), image=image)
    entry_of(port, LABELS, point(32, 32), image=image)
    assert core.encoded == before + 1


def test_ids_differ_between_objects_and_are_the_same_at_every_call(port):
    first, again = (entry_of(port, list(SCENE.present))[0]["result"] for _ in range(2))
    drawn = entry_of(port, [WORD], point(5, 5, WORD))[0]["result"]
    assert first == again
    assert len({one["id"] for one in [*first, *drawn]}) == len(first) + len(drawn)


@pytest.mark.parametrize(
    "change", [{"presence_threshold": 0.3}, {"size": 96}, {"refine": True}, {"overlap": True}]
)
def test_the_version_changes_with_options_and_weights(models, change):
    from ovseg.apps.serve.core import Core

    plain = Core(*models)
    assert plain.version == Core(*models).version != Core(*models, AnnotateOptions(**change)).version
    assert Core(*models, AnnotateOptions(batch=3)).version == plain.version
    assert Core(models[0], ovseg.load_segmenter("grabcut")).version != plain.version
    assert Core(ovseg.load_model("tiny", "random"), models[1]).version != plain.version


def test_a_server_makes_no_label_maps(models):
    from ovseg.apps.serve.core import Core

    with pytest.raises(ovseg.UsageError, match="expected the task 'instances'"):
        Core(*models, AnnotateOptions(task="labels"))


def test_a_file_of_the_folder_is_named_without_being_decoded_twice(tmp_path, core):
    """A "%" in a file's name is a letter, in an address the beginning of a code."""
    from ovseg.apps.serve.bounds import Deadline
    from ovseg.apps.serve.images import Sources, read_content

    (tmp_path / "upload" / "1").mkdir(parents=True)
    for name in ("a%20b.png", "upload/1/c d.png"):
        (tmp_path / name).write_bytes(png(SCENE.image))
    for value in ("/data/local-files/?d=a%2520b.png", "/data/upload/1/c%20d.png"):
        assert read_content(value, Sources(tmp_path), Deadline(9)) == png(SCENE.image)


def test_a_label_is_looked_for_in_the_beginning_of_a_text_alone():
    """Two requests with many words held all workers for minutes."""
    from ovseg.apps.serve.labelling import LONGEST_NAME, LONGEST_PROMPT, read_labelling

    class Counted(dict):
        asked = 0

        def get(self, key):
            self.asked += 1
            return super().get(key)

    found = read_labelling(config(["cat", "cat " * 500, "black cat"]))
    assert (
        found.label_of("the black cat there") == "black cat"
        and found.label_of("cat " * 500) == "cat " * 499 + "cat"
    )
    parts = Counted(found._parts)
    found.__dict__["_parts"] = parts
    assert found.label_of("dog " * 100_000) is None
    assert 0 < parts.asked <= LONGEST_NAME * LONGEST_PROMPT
    assert found.label_of("dog " * LONGEST_PROMPT + "cat") is None


def test_messages_show_the_beginning_of_a_label(port):
    entry, _ = entry_of(port, ["a" * 5000, WORD], words("zebra"))
    assert entry["error"] == f"expected words of the labels {'a' * 60}..., {WORD}; got 'zebra'"


def test_words_are_counted_in_letters_before_they_are_split(port):
    entry = ask(port, "/predict", body_of(IMAGE, LABELS, words("," * 200_000)))
    assert entry[0] == 400 and "expected words of at most 200000 characters" in entry[1]["error"]


def test_many_words_are_decoded_in_groups_with_the_same_masks(models, monkeypatch):
    from ovseg.annotation import finder
    from ovseg.apps.serve import core as module
    from ovseg.apps.serve.bounds import Deadline, Late

    core = module.Core(*models, AnnotateOptions(presence_threshold=0))
    picture, texts = core.see(png(SCENE.image)), {name: [name] for name in SCENE.present}
    whole = core.words(picture, texts)
    monkeypatch.setattr(finder, "WORDS", 1)
    assert core.words(picture, texts) == whole and len(whole) > 1
    with pytest.raises(Late, match=f"expected the encodings of {len(texts)} texts in time"):
        core.words(picture, texts, Deadline(0))
    monkeypatch.setattr(core, "_encode", lambda *_: None)
    with pytest.raises(Late, match=f"expected masks for {len(texts)} labels in time"):
        core.words(picture, texts, Deadline(0))
    monkeypatch.setattr(module, "MOST_HELD", 1)
    with pytest.raises(ovseg.OvsegError, match="expected masks of 0 MB at most: ask for fewer labels"):
        core.words(picture, texts)


def test_images_are_kept_up_to_a_number_of_bytes(models):
    from ovseg.apps.serve.core import Core

    core = Core(*models, limits=ServeOptions(keep_memory=0))
    for count in (1, 2):
        core.see(png(SCENE.image))
        assert core.encoded == count
    core = Core(*models, limits=ServeOptions(keep_memory=64))
    for _ in range(2):
        core.see(png(SCENE.image))
    assert core.encoded == 1
