"""The page in a real browser while its server is slow: no word and no click is lost, or goes where it should not.

``Slow`` holds the server's answers until the test has looked at the page meanwhile.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from threading import Event

import pytest

from ovseg.apps.page.desk import Desk
from ovseg.apps.page.serve import served
from ovseg.apps.page.session import PageSession

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "picture_of_page.py"))
said, click_photo = TOOL["wait_for_line"], TOOL["click_photo"]
WORDS = "purple triangle, red star"


class Slow:
    """Holds the desk's answers: ``late`` when the work is done already, else before it begins."""

    def __init__(self, monkeypatch, late):
        self.open = Event()
        self.open.set()
        answer = Desk.answer

        def slow(desk, asked):
            if late:
                found = answer(desk, asked)
                self.open.wait(60)
                return found
            self.open.wait(60)
            return answer(desk, asked)

        monkeypatch.setattr(Desk, "answer", slow)


@pytest.fixture(params=[False, True], ids=["before the work", "after the work"])
def slow(request, monkeypatch):
    found = Slow(monkeypatch, request.param)
    yield found
    found.open.set()


@pytest.fixture
def session(model, segmenter, tmp_path, photos):
    session = PageSession(model, segmenter, tmp_path / "run")
    session.open_folder(photos)
    session.set_words(WORDS)
    yield session
    session.close()


@pytest.fixture
def opened(tab, session):
    """A tab in which the first photo and its two words are shown."""
    with served(session, port=0) as address:
        tab.goto(address)
        tab.locator(".ov-card").nth(1).wait_for()
        yield tab


def shown(tab):
    """The number of the photo in sight, its name above and in the picture, and the words with a card."""
    return tab.evaluate(
        """() => {
            const picture = document.querySelector('#ov-picture img');
            const cards = [...document.querySelectorAll('.ov-word')].map(card => card.dataset.word);
            return [picture.dataset.photo, document.querySelector('#ov-name').textContent, picture.alt, cards];
        }"""
    )


def idle(tab):
    tab.wait_for_function("() => !document.body.classList.contains('busy')")


def test_words_typed_while_the_first_photo_loads_stay(tab, session, slow):
    slow.open.clear()
    with served(session, port=0) as address:
        tab.goto(address)
        assert tab.evaluate("document.body.classList.contains('busy')")
        tab.locator("#ov-typed").fill("red star, moon")
        slow.open.set()
        tab.locator(".ov-card").first.wait_for()
        idle(tab)
        assert tab.locator("#ov-typed").input_value() == "red star, moon"
        assert session.view().words == WORDS
        slow.open.clear()
        tab.locator("#ov-typed").press("Enter")
        tab.locator("#ov-typed").press_sequentially(", sun")  # goes on typing before the answer came
        slow.open.set()
        tab.locator('.ov-word[data-word="moon"]').wait_for()
        assert tab.locator("#ov-typed").input_value() == "red star, moon, sun"
        assert session.view().words == "red star, moon"


def test_a_sign_of_work_is_there_before_any_answer(opened, slow):
    slow.open.clear()
    for button in ("ov-undo", "ov-forth", "ov-find"):
        assert opened.evaluate(
            "id => { document.getElementById(id).click(); return document.body.classList.contains('busy'); }",
            button,
        )
    assert (
        opened.evaluate("getComputedStyle(document.querySelector('#ov-picture'), '::after').opacity") == "1"
    )
    assert "2 waiting" in opened.locator("#ov-picture").get_attribute("data-working")


def test_name_cards_and_picture_change_together_and_a_click_meanwhile_is_refused(opened, session, slow):
    before = shown(opened)
    assert before[1] == "scene_0.png" and before[2].startswith("scene_0.png") and len(before[3]) == 2
    opened.evaluate(  # what is in sight in every frame
        """() => {
            window.seen = [];
            const look = () => {
                const picture = document.querySelector('#ov-picture img');
                window.seen.push([document.querySelector('#ov-name').textContent, picture.alt.split(' ')[0],
                    document.querySelectorAll('.ov-word').length, picture.naturalWidth]);
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    slow.open.clear()
    opened.locator("#ov-forth").click()
    assert shown(opened) == before  # nothing of the new photo
    click_photo(opened, 0.5, 0.5)
    said(opened, "Not done: the next photo is on its way")
    opened.locator("#ov-accept").click()
    said(opened, "Not done: the masks are still being made")
    slow.open.set()
    opened.locator("#ov-name", has_text="scene_1.png").wait_for()
    assert opened.get_by_text("Not done: the next photo").count() == 1  # the answer did not take its place
    opened.locator(".ov-card").nth(1).wait_for()
    idle(opened)
    after = shown(opened)
    assert after[0] != before[0] and after[1] == "scene_1.png" and len(after[3]) == 2
    seen = {tuple(one) for one in opened.evaluate("window.seen")}
    assert {one[:2] for one in seen} == {("scene_0.png", "scene_0.png"), ("scene_1.png", "scene_1.png")}
    assert all(width > 0 for *_, width in seen)
    assert (session.view().steps, session.view().accepted) == ((), 0)
    opened.locator("#ov-back").click()
    opened.locator("#ov-name", has_text="scene_0.png").wait_for()
    assert session.view().steps == ()


def test_clicks_before_the_answer_came_are_kept_for_the_word_that_was_chosen(opened, session, slow):
    slow.open.clear()
    opened.locator(".ov-card").nth(1).click()
    assert opened.locator(".ov-word.chosen").get_attribute("data-word") == "red star"  # at once
    click_photo(opened, 0.5, 0.25)
    opened.locator(".ov-card").nth(0).click()
    click_photo(opened, 0.25, 0.5)
    opened.get_by_label("Click removes").check()
    click_photo(opened, 0.75, 0.75)
    slow.open.set()
    opened.get_by_text("corrected by 2 clicks").wait_for()
    idle(opened)
    assert opened.locator(".ov-word.chosen").get_attribute("data-word") == "purple triangle"
    made = [(step.word, step.click[2], round(step.click[0] / 128, 2)) for step in session.view().steps]
    assert made == [
        ("red star", True, 0.5),
        ("purple triangle", True, 0.25),
        ("purple triangle", False, 0.75),
    ]
    assert "another tab" not in opened.locator("#ov-line").inner_text()


def test_a_click_during_which_the_answer_comes_is_kept(opened, session, slow):
    """A browser gives no click where the pressed element is replaced before the button is let go."""
    for target in ("#ov-picture img", '.ov-word[data-word="red star"] .ov-name'):
        slow.open.clear()
        opened.locator('.ov-word[data-word="purple triangle"]').click()
        box = opened.locator(target).bounding_box()
        opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        opened.mouse.down()
        with opened.expect_response("**/act"):
            slow.open.set()
        opened.wait_for_timeout(200)
        opened.mouse.up()
        idle(opened)
    assert session.view().steps[0].word == "purple triangle" and session.view().chosen == "red star"


def test_several_steps_forward_before_the_answer_came_are_kept(opened, session, slow):
    slow.open.clear()
    for _ in range(2):
        opened.locator("#ov-forth").click()
    opened.locator("#ov-back").click()
    slow.open.set()
    opened.locator("#ov-name", has_text="scene_1.png").wait_for()
    opened.locator(".ov-card").first.wait_for()
    assert session.view().name == "scene_1.png"


def test_accept_pressed_twice_accepts_the_photo_that_was_seen_alone(opened, session, slow):
    slow.open.clear()
    opened.locator("#ov-accept").click()
    opened.locator("#ov-accept").click()
    said(opened, "Not done: the masks are still being made")
    slow.open.set()
    opened.locator("#ov-name", has_text="scene_1.png").wait_for()
    opened.locator(".ov-card").first.wait_for()
    assert (session.view().accepted, session.view().name) == (1, "scene_1.png")


def test_a_server_that_does_not_answer_loses_no_word_and_is_found_again(opened, session):
    opened.route("**/act", lambda route: route.abort())
    opened.locator("#ov-typed").fill("red star, moon")
    opened.locator("#ov-find").click()
    said(opened, "The server does not answer; the last step may not have been done")
    opened.unroute("**/act")
    opened.locator("#ov-line .ov-next").wait_for()
    assert opened.locator("#ov-typed").input_value() == "red star, moon"
    opened.locator("#ov-find").click()
    opened.locator('.ov-word[data-word="moon"]').wait_for()
    assert session.view().words == "red star, moon"
