#!/usr/bin/env python
"""Take the picture of ``ovseg page`` that README and docs show, in an installed Chromium without a screen.

    python tools/picture_of_page.py --out docs/images/page.png

The photographs are scikit-image's. Playwright drives Chromium (``apt-get install chromium``) and downloads
nothing.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
"""As root without a screen, and without looking for Google's hosts."""
PHOTOS = ("coffee.png", "chelsea.png", "motorcycle_left.png", "astronaut.png", "rocket.jpg")
WORDS = "cup, table, cow"
CLICKS = ((0.36, 0.66, True),)
"""Corrections of the first word: x and y as shares of the photograph, and whether it is on the object."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield found
        found.close()


def wait_for_line(tab: Page, line: str) -> None:
    """Wait until the page's line of what happened holds some words."""
    tab.locator("#ov-line .ov-message").filter(has_text=re.compile(re.escape(line))).wait_for()


def click_photo(tab: Page, x: float, y: float) -> None:
    """Click on the photo, at shares of its width and height."""
    place = tab.evaluate(  # in one step: an answer may replace the picture
        """() => {
            const box = document.querySelector('#ov-picture img').getBoundingClientRect();
            return [box.x, box.y, box.width, box.height];
        }"""
    )
    tab.mouse.click(place[0] + x * place[2], place[1] + y * place[3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/page.png"), help="The PNG.")
    parser.add_argument("--segmenter", default="tiny", help="As for ovseg page.")
    parser.add_argument("--words", default=WORDS, help="What is looked for.")
    args = parser.parse_args()
    if CHROMIUM is None:
        parser.error("expected Chromium, found none: apt-get install chromium")
    import ovseg
    from ovseg.apps.page.serve import served
    from ovseg.apps.page.session import PageSession

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos"
        folder.mkdir()
        for number, name in enumerate(PHOTOS, 1):
            ending = Path(name).suffix
            shutil.copy(
                Path(str(resources.files("skimage"))) / "data" / name, folder / f"photo {number}{ending}"
            )
        session = PageSession(ovseg.load_model(), ovseg.load_segmenter(args.segmenter), Path(place) / "run")
        session.open_folder(folder)
        session.set_words(args.words)
        with served(session, port=0) as address, chromium() as browser:
            tab = browser.new_page(viewport={"width": 1360, "height": 860}, device_scale_factor=1)
            tab.goto(address)
            tab.locator(".ov-card").first.wait_for()
            for count, (x, y, on) in enumerate(CLICKS, 1):
                tab.get_by_label("Click adds" if on else "Click removes").check()
                click_photo(tab, x, y)
                tab.get_by_text(f"corrected by {count} click").wait_for()
            tab.wait_for_timeout(1000)  # until nothing fades any more
            tab.screenshot(path=args.out)
        session.close()
    print(args.out)


if __name__ == "__main__":
    main()
