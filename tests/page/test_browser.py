"""The page in a real browser: words, maps, clicks, undo, accept, skip, export, errors; no foreign address.

Skipped by name where Gradio, Playwright or Chromium is missing. Playwright drives an installed Chromium
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
from ovseg.apps.page.screen import shown_size
from ovseg.apps.page.session import PageSession

pytest.importorskip("gradio", reason="Gradio is not installed")
pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "picture_of_page.py"))
said, click_photo = TOOL["wait_for_line"], TOOL["click_photo"]
pytestmark = [
    pytest.mark.skipif(TOOL["CHROMIUM"] is None, reason="Chromium is not installed"),
    pytest.mark.usefixtures("open_loops"),
]


@pytest.fixture(scope="module")
def browser():
    with TOOL["chromium"]() as found:
        yield found


@pytest.fixture
def tab(browser):
    """A new tab, what it asked of other addresses, and its errors."""
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    tab.set_default_timeout(20_000)
    yield tab
    tab.close()


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
        height, width = shown_size(scenes[0].image.shape[:2])
        (click,) = session.view().answers[1].clicks
        assert click[2] and click[:2] == pytest.approx((64, 32), abs=2 * 128 / min(height, width) + 0.5)
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
