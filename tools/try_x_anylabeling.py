"""Whether a real X-AnyLabeling shows the masks of ovseg serve, and keeps the labels that were there.

    python tools/try_x_anylabeling.py

Installs X-AnyLabeling from PyPI in an environment of its own (1 GB, minutes) and starts ovseg serve on a free
port. The window opens a scene that has a label already. A word is sent, an object is clicked and named, a
click is made that the server refuses, and a word is sent with a wrong token. After each step the labels of
the image are compared with those that should be there. The exit code is 0 if all of them are. It needs an X
display: without one, xvfb-run (Debian's package xvfb) gives it a hidden one. Without --work, nothing of this
is left but the picture of the window.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from label_studio.studio import START, end, free_port, make_environment, wait_for
from PIL import Image

import ovseg
from ovseg.apps.cli.scripts import Parser, reported
from ovseg.errors import OvsegError, UsageError

SCENE, SIZE = 3, (240, 320)
WORD, CLICK = "purple triangle", ("110", "170")
"""A class of the scene, and a place on it in pixels."""
KEPT, NAMED = "kept", "clicked"
EXPECTED = {
    "opened": [KEPT],
    "word": [KEPT, WORD],
    "click": ["AUTOLABEL_ADD", "AUTOLABEL_OBJECT", KEPT, WORD],
    "named": [NAMED, KEPT, WORD],
    "refused": ["AUTOLABEL_REMOVE", NAMED, KEPT, WORD],
    "error": [NAMED, KEPT, WORD],
}
"""The labels of the image after each step."""


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        "--work",
        type=Path,
        help="folder for environment, data and log, which is kept; default: a temporary one",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("x_anylabeling.png"), help="the picture of the window"
    )
    return parser.parse_args()


@reported
def main() -> None:
    args = parse()
    work = (args.work or Path(tempfile.mkdtemp(prefix="ovseg-x-anylabeling-"))).absolute()
    try:
        found = run(work, args.out.absolute())
    finally:
        if args.work is None:
            shutil.rmtree(work, ignore_errors=True)
    print("| step | labels of the image | held |\n|---|---|---|")
    for step, labels in EXPECTED.items():
        held = found.get(step) == sorted(labels)
        print(f"| {step} | {', '.join(found.get(step, []))} | {'yes' if held else 'no'} |")
    if found != {step: sorted(labels) for step, labels in EXPECTED.items()}:
        raise SystemExit(1)


def run(work: Path, picture: Path) -> dict[str, list[str]]:
    """The labels of the image after each step. Raises OvsegError if a step fails."""
    python = make_environment(work / "environment", "xanylabeling", ("x-anylabeling-cvhub",))
    image, port, token = make_image(work), free_port(), secrets.token_hex(20)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "ovseg.apps.cli", "serve", "--port", str(port), "--verbose"]
    command += ["--model", "tiny", "--templates", "plain", "--segmenter", "tiny", "--presence-threshold", "0"]
    with (work / "ovseg-serve.log").open("w") as log:
        known = {**os.environ, "OVSEG_SERVE_TOKEN": token}
        server = subprocess.Popen(command, env=known, stdout=log, stderr=log)
    try:
        wait_for(f"{url}/health", server, START)
        window = Path(__file__).parent / "x_anylabeling" / "window.py"
        steps = [*on_display(), python, window, image, url, token, WORD, *CLICK, picture]
        own = {**os.environ, "HOME": str(work)}
        done = subprocess.run(steps, env=own, capture_output=True, text=True, timeout=START, check=False)
    finally:
        end(server)
    if done.returncode:
        raise OvsegError(
            f"X-AnyLabeling ended with {done.returncode}: {' '.join(done.stderr[-400:].split())}"
        )
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def on_display() -> list[str]:
    """What starts a program on an X display. Raises UsageError if there is none."""
    if os.environ.get("DISPLAY"):
        return []
    runner = shutil.which("xvfb-run")
    if runner is None:
        raise UsageError("expected an X display, or xvfb-run for a hidden one: apt-get install xvfb")
    return [runner, "-a", "-s", "-screen 0 1400x900x24"]


def make_image(work: Path) -> Path:
    """A scene, and beside it X-AnyLabeling's file with one label."""
    path = work / "scene.png"
    work.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ovseg.make_scene(SCENE, SIZE).image).save(path)
    shape = {
        **{"label": KEPT, "shape_type": "polygon", "points": [[5, 5], [25, 5], [25, 25]], "score": None},
        **{"group_id": None, "description": "", "difficult": False, "flags": {}, "attributes": {}},
        "kie_linking": [],
    }
    content = {
        **{"version": "4.2.1", "flags": {}, "shapes": [shape], "imagePath": path.name, "imageData": None},
        **{"imageHeight": SIZE[0], "imageWidth": SIZE[1]},
    }
    path.with_suffix(".json").write_text(json.dumps(content))
    return path


if __name__ == "__main__":
    main()
