"""What a session promises: texts, clicks and a box, each of which can be taken back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from ovseg.errors import UsageError
from ovseg.evaluation.data.scenes import make_scene
from ovseg.masks import TextToMask
from ovseg.masks.session import KEPT
from ovseg.segmenters.grabcut import GrabCut


def iou(one, two):
    return float((one & two).sum() / max(1, (one | two).sum()))


@pytest.fixture(scope="module")
def small(t2m):
    return t2m.session(make_scene(1, (40, 60)).image)


def test_a_session_says_and_takes_back(always, things):
    scene = make_scene(507, things=2)
    session = always.session(scene.image)
    assert len(session.result) == 0 and session.result.reason.startswith("nothing asked yet")
    name = things(scene)[0]
    first = session.text(name)
    same = always.predict(scene.image, name)
    assert (first.masks == same.masks).all()
    y, x = np.argwhere(first.masks[0])[0]
    corrected = session.click(x, y, foreground=False)
    assert not corrected.union[y, x]
    assert [int(x), int(y)] in corrected.points[0].negatives.astype(int).tolist()
    assert session.undo() is first and session.result is first
    session.reset()
    assert len(session.result) == 0
    assert session.undo() is first
    session.undo()
    assert session.undo().reason.startswith("nothing asked yet")  # at the beginning: stays there


def test_what_was_clicked_is_not_tidied_away(model, things):
    """GrabCut keeps every click; what it puts there is small, as specks and holes are."""
    scene = make_scene(501, things=2)
    session = TextToMask(model, GrabCut(), presence_threshold=0).session(scene.image)
    first = session.text(things(scene)[0])
    middle = np.argwhere(first.masks[0])
    y, x = middle[np.abs(middle - middle.mean(0)).sum(1).argmin()]
    assert not session.click(x, y, foreground=False).union[y, x]
    session.undo()
    y, x = np.argwhere(~first.union)[0]
    assert session.click(x, y).union[y, x]


def test_older_answers_are_not_kept_and_made_again(always):
    scene = make_scene(507, things=1)
    session = always.session(scene.image)
    answers = [session.click(8 * k + 4, 60, foreground=k % 2 == 0) for k in range(KEPT + 3)]
    kept = [answer is not None for answer in session._results]
    assert kept == [False] * (len(kept) - KEPT) + [True] * KEPT
    for earlier in answers[-2::-1]:
        again = session.undo()
        assert (again.masks == earlier.masks).all() and (again.scores == earlier.scores).all()
    assert session.undo().reason.startswith("nothing asked yet")


def test_clicks_and_a_box_need_no_text(always):
    scene = make_scene(507, things=1)
    truth = scene.labels >= 6
    y, x = (int(v) for v in np.argwhere(truth).mean(0))
    session = always.session(scene.image)
    clicked = session.click(x, y)
    assert len(clicked) == 1 and clicked.masks[0][y, x] and clicked.presence == {}
    taken = session.remove_click(0)
    assert len(taken) == 0
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    boxed = session.box(columns[0] - 3, rows[0] - 3, columns[-1] + 4, rows[-1] + 4)
    assert iou(boxed.masks[0], truth) > 0.6 and boxed.candidates[0].box is not None
    only_background = always.session(scene.image).click(3, 3, foreground=False)
    assert len(only_background) == 0 and only_background.reason.startswith("only background clicks")


def test_a_session_keeps_its_picture_when_the_array_is_filled_anew(always):
    """As a camera's buffer is."""
    frame = make_scene(601).image.copy()
    first = frame.copy()
    session = always.session(frame)
    frame[:] = 0
    assert (session.image == first).all() and (always.session(first).image == first).all()


def test_a_call_that_raises_changes_nothing(t2m):
    session = t2m.session(make_scene(507).image)
    before = session.click(60, 60)
    for call in (
        lambda: session.click(128, 5),
        lambda: session.click(-1, 5),
        lambda: session.box(5, 5, 5, 50),
        lambda: session.text("   "),
        lambda: session.text("bench+"),
        lambda: session.text("bench " * 90),
        lambda: session.remove_click(1),
    ):
        with pytest.raises(UsageError):
            call()
        assert session.result is before


def test_an_absent_text_still_takes_clicks(model, segmenter):
    strict = TextToMask(model, segmenter, presence_threshold=1.0)
    session = strict.session(make_scene(507).image)
    assert len(session.text("red circle")) == 0
    assert "presence" in session.result.reason
    assert len(session.click(64, 64)) == 1


def test_threads_lose_no_click(always):
    """Each step is made from the one before it: two at once would keep only one of their clicks."""
    session = always.session(make_scene(507).image)
    places = [(x, y) for x in range(8, 128, 16) for y in (8, 72)]

    def click(place):
        return session.click(*place, foreground=place[0] % 3 == 0)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(click, places))
    clicks = session._states[-1].clicks
    assert sorted((int(x), int(y)) for x, y, _ in clicks) == sorted(places)
    assert len(session._states) == len(places) + 1
    assert session.result in answers
    again = always.session(make_scene(507).image)
    for x, y, foreground in clicks:  # the same clicks one after the other
        last = again.click(x, y, foreground)
    assert last == session.result


def test_the_image_of_a_session_cannot_be_spoiled(always):
    """It is shared with every later session on the same pixels."""
    image = make_scene(602).image
    session = always.session(image.copy())
    with pytest.raises(ValueError, match="read-only"):
        session.image[:] = 0
    with pytest.raises(ValueError):
        session.image.flags.writeable = True
    copied = session.image.copy()
    copied[:] = 0
    assert (always.session(image.copy()).image == image).all()


def test_a_session_takes_one_text_at_a_time(t2m):
    session = t2m.session(make_scene(507).image)
    with pytest.raises(
        UsageError, match=r"expected one text at a time .* got 2: .* write 'red circle\+stripes'"
    ):
        session.text("red circle, stripes")
    assert session.text(["salt, with pepper"]).text == "salt, with pepper"
    assert session.text(None).reason.startswith("nothing asked yet")


@pytest.mark.parametrize("rule", ["components", "paper"])
def test_a_click_makes_one_mask_at_the_images_size(model, segmenter, things, rule, monkeypatch):
    """Two of three candidates are not needed; on 12 megapixels they were two thirds of the time."""
    t2m = TextToMask(model, segmenter, point_rule=rule, presence_threshold=0)
    image = cv2.resize(make_scene(507, things=2).image, (600, 450))
    session = t2m.session(image)
    enlarged, enlarge = [], segmenter._enlarge
    monkeypatch.setattr(segmenter, "_enlarge", lambda *a: enlarged.append((len(a[1]), a[2])) or enlarge(*a))
    for x, y in ((300, 225), (100, 150), (450, 350)):
        enlarged.clear()
        assert len(session.click(x, y)) == 1
        assert [one for one in enlarged if one[1] == (450, 600)] == [(1, (450, 600))]
    enlarged.clear()
    found = session.text(things(make_scene(507, things=2))[0])
    assert 1 <= sum(size == (450, 600) for _, size in enlarged) <= max(8, len(found))
    assert all(size == (450, 600) or max(size) <= 256 for _, size in enlarged)


NOTHINGS = ["3", b"3", None, float("nan"), float("inf"), -1, 60, [3], np.zeros(2), 3j, object()]


@pytest.mark.parametrize("value", NOTHINGS, ids=lambda value: type(value).__name__)
def test_wrong_clicks_boxes_and_texts_are_one_line_and_change_nothing(small, value):
    before = small.result
    calls = [
        lambda: small.click(value, 3),
        lambda: small.click(3, value),
        lambda: small.click(3, 3, value),
        lambda: small.remove_click(value),
    ]
    if not isinstance(value, (int, float)) or value != value:
        calls.append(lambda: small.box(1, 1, value, 30))
    if value is not None and not isinstance(value, str):
        calls.append(lambda: small.text(value))
    for call in calls:
        with pytest.raises(UsageError, match="expected") as caught:
            call()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert small.result is before
