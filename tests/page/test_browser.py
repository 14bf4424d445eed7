"""The page in a real browser: words, maps, clicks, undo, accept, skip, export, errors; no foreign address.

Skipped by name where Starlette, Playwright or Chromium is missing. Playwright drives an installed Chromium
(``apt-get install chromium``) and downloads nothing.
"""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from ovseg.annotation.formats import read_annotations
from ovseg.apps.page.session import PageSession

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "picture_of_page.py"))
said, click_photo = TOOL["wait_for_line"], TOOL["click_photo"]


def test_words_clicks_undo_accept_and_export(tab, photos, scenes, model, segmenter, tmp_path):
    from ovseg.apps.page.serve import served

    asked, complaints = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    session = PageSession(model, segmenter, tmp_path / "run")
    with served(session, port=0) as address:
        tab.goto(address)
        said(tab, "Open a folder of photos")
        tab.locator("#ov-folder input, #ov-folder textarea").fill(str(tmp_path / "nowhere"))
        tab.locator("#ov-open").click()
        said(tab, "does not exist")
        tab.locator("#ov-folder input, #ov-folder textarea").fill(str(photos))
        tab.locator("#ov-open").click()
        said(tab, "Type what you are looking for")
        tab.locator("#ov-words textarea").fill(" , ")
        tab.locator("#ov-find").click()
        said(tab, "expected")
        tab.locator("#ov-words textarea").fill(f"{scenes[0].present[0]}, red star")
        tab.locator("#ov-words textarea").press("Enter")
        cards = tab.locator(".ov-card")
        cards.nth(1).wait_for()
        assert cards.count() == 2
        assert "1 mask" in cards.nth(0).inner_text()
        assert "not here" in cards.nth(1).inner_text() and "is below 0.50" in cards.nth(1).inner_text()
        assert cards.nth(1).locator("img").evaluate("one => one.naturalWidth") > 50

        cards.nth(1).click()  # clicks are for the word that was judged absent
        said(tab, "red star")
        click_photo(tab, 0.5, 0.25)
        tab.get_by_text("corrected by 1 click").wait_for()
        (click,) = session.view().answers[1].clicks
        assert click[2] and click[:2] == pytest.approx((64, 32), abs=0.3)
        tab.get_by_label("Click removes").check()
        click_photo(tab, 0.9, 0.9)
        tab.get_by_text("corrected by 2 clicks").wait_for()
        assert [click[2] for click in session.view().answers[1].clicks] == [True, False]
        tab.locator("#ov-undo").click()
        tab.get_by_text("corrected by 1 click").wait_for()
        for what in ("Map", "Photo", "Masks"):
            before = tab.locator("#ov-picture img").get_attribute("src")
            tab.get_by_label(what, exact=True).check()
            tab.wait_for_function("old => document.querySelector('#ov-picture img').src !== old", arg=before)
        wanted = [one.found[0].mask((128, 128)) for one in session.view().answers]

        tab.locator("#ov-accept").click()
        said(tab, "scene_0.png accepted")
        tab.locator("#ov-skip").click()
        said(tab, "scene_1.png skipped")
        tab.locator("#ov-back").click()
        tab.get_by_text("skipped", exact=True).wait_for()
        tab.reload()  # as another tab: it shows how things are
        tab.locator(".ov-card").first.wait_for()
        assert tab.locator("#ov-words textarea").input_value() == f"{scenes[0].present[0]}, red star"
        assert "photo 2 of 3: 1 accepted, 1 skipped, 1 left" in tab.locator("#ov-where").inner_text()

        session.move(-1)  # behind this tab's back
        tab.locator("#ov-accept").click()
        said(tab, "another tab of this page has gone on")
        assert session.view().accepted == 1

        tab.get_by_text("Export what was accepted").click()
        for name in ("yolo", "labelme"):
            tab.get_by_label(name, exact=True).check()
        tab.locator("#ov-write").click()
        said(tab, "1 photo with 2 masks written to")
        tab.get_by_label("cityscapes").check()
        tab.locator("#ov-write").click()
        said(tab, "cityscapes")
    session.close()

    run = tmp_path / "run"
    (record,) = read_annotations(run).records()
    for region, mask in zip(record.regions, wanted, strict=True):
        assert np.array_equal(region.mask.array(), mask)
    assert re.fullmatch(r"red star; \+ [\d.]+ [\d.]+", record.regions[1].prompt)
    assert len(json.loads((run / "coco/instances.json").read_text())["annotations"]) == 2
    assert len((run / "yolo/labels/scene_0.txt").read_text().splitlines()) == 2
    assert len(json.loads((run / "labelme/scene_0.json").read_text())["shapes"]) == 2
    assert not complaints
    assert len(asked) > 20 and all(url.startswith((address, "data:", "blob:")) for url in asked)


def test_unreadable_photos_and_long_lists_are_lines(tab, photos, model, segmenter, tmp_path):
    from ovseg.apps.page.serve import served

    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    session = PageSession(model, segmenter, tmp_path / "run")
    with served(session, port=0) as address:
        tab.goto(address)
        said(tab, "Open a folder of photos")
        tab.locator("#ov-accept").click()
        said(tab, "expected a photo first")
        tab.locator("#ov-add input[type=file], input[type=file]").first.set_input_files(str(broken))
        said(tab, "broken.png")
        for words, line in (
            (", ".join(f"word {number}" for number in range(2000)), "expected at most 100 words"),
            ("very " * 99 + "long", "expected"),
        ):
            tab.locator("#ov-words textarea").fill(words)
            tab.locator("#ov-find").click()
            said(tab, line)
            assert "\n" not in tab.locator("#ov-line").inner_text().strip()
        tab.locator("#ov-add input[type=file], input[type=file]").first.set_input_files(
            str(photos / "scene_1.png")
        )
        tab.locator("#ov-picture img").wait_for()
        assert session.view().name == "scene_1.png"
    session.close()


@pytest.fixture
def opened(tab, photos, model, segmenter, tmp_path):
    """A tab with the first photo and two words, and its session."""
    from ovseg.apps.page.serve import served

    session = PageSession(model, segmenter, tmp_path / "run")
    session.open_folder(photos)
    session.set_words("purple triangle, red star")
    with served(session, port=0) as address:
        tab.goto(address)
        tab.locator(".ov-card").nth(1).wait_for()
        yield tab, session
    session.close()


def test_everything_can_be_done_by_keys(opened):
    tab, session = opened
    keys = tab.keyboard
    keys.press("/")
    keys.press("Control+a")
    keys.type("red star, moon")  # "r", "s", "m" and so on are letters here
    keys.press("Enter")
    tab.locator('.ov-word[data-word="moon"]').wait_for()
    keys.press("2")
    tab.locator('.ov-word.chosen[data-word="moon"]').wait_for()
    click_photo(tab, 0.5, 0.5)
    tab.get_by_text("corrected by 1 click").wait_for()
    keys.press("r")
    click_photo(tab, 0.25, 0.25)
    tab.get_by_text("corrected by 2 clicks").wait_for()
    assert [step.click[2] for step in session.view().steps] == [True, False]
    keys.press("u")
    tab.get_by_text("corrected by 1 click").wait_for()
    keys.press("Control+z")
    tab.get_by_text("corrected by").wait_for(state="detached")
    keys.press("x")
    tab.get_by_text("left out").wait_for()
    for label in ("Map", "Photo", "Masks"):
        keys.press("m")
        assert tab.get_by_label(label, exact=True).is_checked()
    for key, name in (
        ("n", "scene_1"),
        ("ArrowRight", "scene_2"),
        ("p", "scene_1"),
        ("ArrowLeft", "scene_0"),
    ):
        keys.press(key)
        tab.locator("#ov-name", has_text=name).wait_for()
    tab.locator(".ov-card").first.wait_for()
    tab.wait_for_function("() => !document.body.classList.contains('busy')")
    keys.press("a")
    tab.locator("#ov-name", has_text="scene_1").wait_for()
    tab.locator(".ov-card").first.wait_for()
    tab.wait_for_function("() => !document.body.classList.contains('busy')")
    keys.press("s")
    tab.locator("#ov-name", has_text="scene_2").wait_for()
    assert (session.view().accepted, session.view().skipped) == (1, 1)


def test_a_click_on_an_enlarged_and_moved_photo_goes_to_the_place_that_is_seen(opened):
    tab, session = opened
    picture = tab.locator("#ov-picture img")
    before = picture.bounding_box()
    centre = (before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    tab.keyboard.press("+")
    tab.mouse.move(*centre)
    tab.mouse.wheel(0, -100)
    scale = picture.bounding_box()["width"] / before["width"]
    assert scale == pytest.approx(1.5 * 1.2, rel=0.01)
    tab.mouse.down()
    tab.mouse.move(centre[0] + 60, centre[1] - 30, steps=3)
    tab.mouse.up()
    assert session.view().steps == ()  # moving is no click
    tab.mouse.click(*centre)
    tab.get_by_text("corrected by 1 click").wait_for()
    (step,) = session.view().steps
    wanted = [64 - 60 * 128 / before["width"] / scale, 64 + 30 * 128 / before["height"] / scale]
    assert step.click == (pytest.approx(wanted[0], abs=0.5), pytest.approx(wanted[1], abs=0.5), True)
    tab.mouse.click(*centre, button="right")
    tab.get_by_text("corrected by 2 clicks").wait_for()
    assert session.view().steps[1].click[2] is False
    tab.locator("#ov-fit").click()
    assert picture.bounding_box() == before
    tab.keyboard.press("+")
    tab.locator("#ov-forth").click()
    tab.locator("#ov-name", has_text="scene_1").wait_for()
    assert picture.bounding_box() == before  # another photo is shown whole


def test_each_word_has_a_threshold(opened):
    tab, session = opened
    slider = tab.get_by_label("Threshold of purple triangle")
    slider.fill("1")
    tab.locator(".ov-word", has_text="is below 1.00").wait_for()
    assert tab.locator("#ov-typed").input_value() == "purple triangle >= 1\nred star"
    tab.locator("#ov-typed").fill("purple triangle, red star, moon")  # typed, and not yet found
    slider.fill("0.25")
    tab.locator('.ov-word[data-word="moon"]').wait_for()
    tab.wait_for_function("() => !document.body.classList.contains('busy')")
    assert [one.wanted for one in session.view().answers] == [0.25, 0.5, 0.5]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(opened, photos, width):
    """Fault 59: at 390 px the right third was cut off, the file name stood one letter a line."""
    tab, session = opened
    (photos / "scene_0.png").rename(photos / f"{'a_rather_long_name_of_a_photograph_' * 3}.png")
    session.open_folder(photos)
    tab.set_viewport_size({"width": width, "height": 844})
    tab.reload()
    tab.locator(".ov-card").first.wait_for()
    tab.get_by_text("Export what was accepted").click()
    tab.get_by_text("Keys", exact=True).click()
    outside, looked = tab.evaluate(
        """width => {
            const all = [...document.querySelectorAll('body *')].filter(one => one.getClientRects().length
                && getComputedStyle(one).opacity !== '0');
            const box = one => one.getBoundingClientRect();
            const isCut = one => box(one).right > width + 0.5 || box(one).left < -0.5;
            return [all.filter(isCut).map(one => one.outerHTML), all.length];
        }""",
        width,
    )
    assert outside == [] and looked > 60
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    name = tab.locator("#ov-name").bounding_box()
    assert name["width"] > 250 and name["height"] < 120
    assert tab.locator("#ov-picture img").bounding_box()["width"] > (300 if width == 390 else 400)


def test_what_is_shown_is_text(tab, photos, model, segmenter, tmp_path):
    from ovseg.apps.page.serve import served

    complaints, asked = [], []
    tab.on("dialog", lambda dialog: complaints.append(dialog.message))
    tab.on("request", lambda request: asked.append(request.url))
    name = "<img src=x onerror=alert(1)>.png"
    (photos / "scene_0.png").rename(photos / name)
    session = PageSession(model, segmenter, tmp_path / "<b>run")
    session.open_folder(photos / name)
    word = "<script>alert(2)</script><i onclick=alert(3)>"
    with served(session, port=0) as address:
        tab.goto(address)
        tab.locator("#ov-name", has_text=name).wait_for()
        tab.locator("#ov-typed").fill(word)
        tab.locator("#ov-find").click()
        tab.locator(".ov-name", has_text=word).wait_for()
        tab.locator("#ov-accept").click()
        said(tab, f"{name} accepted")
        tab.locator("#ov-folder input").fill('"><img src=y>')
        tab.locator("#ov-open").click()
        said(tab, '"><img src=y> does not exist')
        assert (
            tab.locator("script").count() == 1
            and tab.locator("#ov-list i[onclick], img[src=x], img[src=y]").count() == 0
        )
    session.close()
    assert not complaints and all(url.startswith((address, "data:")) for url in asked)


def test_the_message_of_an_export_is_seen_beside_an_unreadable_photo(opened, photos):
    tab, _ = opened
    tab.locator("#ov-accept").click()
    tab.locator("#ov-name", has_text="scene_1").wait_for()
    (photos / "scene_2.png").write_bytes(b"no picture")
    tab.locator("#ov-forth").click()
    tab.locator("#ov-problem", has_text="scene_2.png").wait_for()
    tab.get_by_text("Export what was accepted").click()
    tab.locator("#ov-write").click()
    said(tab, "1 photo with")
    assert tab.locator("#ov-problem").is_visible() and tab.locator("#ov-picture img").count() == 0
