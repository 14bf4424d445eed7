"""A folder of scenes, and pages over it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from PIL import Image

import ovseg
from ovseg.apps.page.session import PageSession

SEEDS = (3, 11, 23)


@pytest.fixture(scope="session")
def scenes():
    return [ovseg.make_scene(seed) for seed in SEEDS]


@pytest.fixture(scope="session")
def segmenter():
    return ovseg.load_segmenter("tiny")


@pytest.fixture
def photos(tmp_path, scenes):
    """A folder with scene_0.png, scene_1.png and scene_2.png."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for index, scene in enumerate(scenes):
        Image.fromarray(scene.image).save(folder / f"scene_{index}.png")
    return folder


@pytest.fixture
def pages(model, segmenter, tmp_path):
    """Makes pages with the run folder "run", which are closed at the end."""
    made = []

    def make(out="run", **named):
        made.append(PageSession(model, segmenter, tmp_path / out, **named))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def browser():
    for name in ("starlette", "uvicorn", "playwright.sync_api"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    tool = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "picture_of_page.py"))
    if tool["CHROMIUM"] is None:
        pytest.skip("Chromium is not installed")
    with tool["chromium"]() as found:
        yield found


@pytest.fixture
def tab(browser):
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    tab.set_default_timeout(60_000)  # on a busy machine, too
    yield tab
    tab.close()


@pytest.fixture
def page(pages, photos, scenes):
    """A page that shows the first scene, asked for its first two words."""
    page = pages()
    page.open_folder(photos)
    page.set_words(list_of(scenes[0].present[:2]))
    return page


def list_of(words):
    return ", ".join(words)
