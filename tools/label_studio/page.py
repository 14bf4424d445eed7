"""What a person sees in Label Studio: the labelling page of a task as a PNG. Runs in the trial's environment.

    python tools/label_studio/page.py URL USER PASSWORD CHROMIUM out.png

Prints what the page says as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
WAIT = 180_000
"""Milliseconds for each step of the page."""


def main() -> None:
    from playwright.sync_api import sync_playwright

    url, user, password, chromium, out = sys.argv[1:]
    errors: list[str] = []
    with sync_playwright() as play, tempfile.TemporaryDirectory() as profile:
        context = play.chromium.launch_persistent_context(
            profile, executable_path=chromium, args=FLAGS.split(), viewport={"width": 1360, "height": 860}
        )
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: errors.append(str(error)[:200]))
        page.goto(url)
        if page.locator("input[name=password]").count():
            page.fill("input[name=email]", user)
            page.fill("input[name=password]", password)
            page.click("button[type=submit]")
            page.goto(url)
        page.wait_for_selector("canvas", state="attached")
        page.wait_for_timeout(8000)
        page.screenshot(path=out)
        print(json.dumps({"text": page.inner_text("body"), "errors": errors}))
        context.close()


if __name__ == "__main__":
    main()
