"""What a person sees and does in Label Studio. It runs in the trial's environment, with playwright.

    python tools/label_studio/page.py URL USER PASSWORD CHROMIUM WORD FOLDER

Opens the labelling page of a task, keeps page.png and the image with its regions shown and hidden
(shown.png, hidden.png), then switches auto-annotation on and writes a word into the text area (typed.png).
Prints as JSON the regions that the page lists before and after, the errors of its scripts, and where the
image and the part of it that is seen are.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
WAIT, STILL = 180_000, 3_000
"""Milliseconds for a step of the page, and until a picture of it no longer changes."""
WIDTH, HEIGHT = 1360, 800
TITLES = ".lsf-outliner-item__title"
DRAWN, IMAGE = ".konvajs-content", ".lsf-image img"


def main() -> None:
    from playwright.sync_api import TimeoutError, sync_playwright

    url, user, password, chromium, word, kept = sys.argv[1:]
    folder = Path(kept)
    errors: list[str] = []
    with sync_playwright() as play, tempfile.TemporaryDirectory() as profile:
        context = play.chromium.launch_persistent_context(
            profile, executable_path=chromium, args=FLAGS.split(), viewport={"width": WIDTH, "height": HEIGHT}
        )
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: errors.append(str(error)[:200]))
        page.goto(url)
        page.fill("input[name=email]", user)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.goto(url)
        page.wait_for_selector(TITLES)
        page.wait_for_timeout(2 * STILL)
        page.screenshot(path=folder / "page.png")
        page.set_viewport_size(
            {"width": WIDTH, "height": 4 * HEIGHT}
        )  # a longer list is not there as a whole
        page.wait_for_timeout(STILL)
        box = page.locator(DRAWN).first.bounding_box()
        image = page.locator(IMAGE).first.bounding_box()  # larger than what is seen of it
        listed = page.locator(TITLES).all_inner_texts()
        page.mouse.move(5, 5)
        page.screenshot(path=folder / "shown.png", clip=box)
        page.get_by_label("Hide all regions").click()
        page.mouse.move(5, 5)
        page.wait_for_timeout(STILL)
        page.screenshot(path=folder / "hidden.png", clip=box)
        page.get_by_text("Auto-Annotation").click()
        page.get_by_text("Auto-Accept Suggestions").click()
        page.fill("input[name=prompt]", word)
        page.press("input[name=prompt]", "Enter")
        with suppress(TimeoutError):  # no answer: the list stays as it was, and the caller says so
            page.wait_for_function(f"document.querySelectorAll({TITLES!r}).length > {len(listed)}")
        page.wait_for_timeout(STILL)
        page.screenshot(path=folder / "typed.png")
        after = page.locator(TITLES).all_inner_texts()
        found = {"listed": listed, "typed": after, "errors": errors, "drawn": box, "image": image}
        print(json.dumps(found))
        context.close()


if __name__ == "__main__":
    main()
