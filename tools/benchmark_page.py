"""How long ``ovseg page`` takes for a word, a click, undo and accept on a photograph; prints a table.

    python tools/benchmark_page.py
    python tools/benchmark_page.py --segmenters tiny --rounds 3

Each time is that of the session and of drawing the photo and the cards of the words, without the browser.
"CPU" is the process's own time, which other work on the machine does not lengthen.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from benchmark import machine
from PIL import Image

import ovseg
from ovseg.apps.page.drawing import MASKS
from ovseg.apps.page.session import PageSession
from ovseg.apps.page.state import state_of

PHOTO = "coffee.png"
WORDS = ("spoon", "saucer", "coffee", "wood", "zebra", "plate", "cloth", "lamp", "handle", "shadow")
"""One after the other is asked for besides "cup" and "table"; none was asked for before."""


def timed(page: PageSession, act: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall clock and of CPU until what ``act`` changed is drawn."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    state_of(page.view(), MASKS, "", failed=False)
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(name: str, photo: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """The times of each step with a segmenter, ``rounds`` of each but the first."""
    with tempfile.TemporaryDirectory() as out:
        page = PageSession(ovseg.load_model(cache=False), ovseg.load_segmenter(name), out)
        page.open_folder(photo)
        found = {"photo never seen, two words": [timed(page, lambda: page.set_words("cup, table"))]}
        steps: dict[str, Callable[[int], None]] = {
            "another word, never asked": lambda k: page.set_words(f"cup, table, {WORDS[k]}"),
            "words already asked": lambda _: page.set_words("cup, table"),
            "click": lambda k: page.click(150 + 10 * k, 150),
            "undo": lambda _: page.undo(),
            "accept": lambda _: page.accept(),
        }
        for k in range(rounds):
            for what, act in steps.items():
                found.setdefault(what, []).append(timed(page, lambda act=act, k=k: act(k)))  # type: ignore[misc]
        page.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segmenters", nargs="+", default=["tiny", "grabcut"], help="As for ovseg page.")
    parser.add_argument("--rounds", type=int, default=len(WORDS), choices=range(1, len(WORDS) + 1))
    parser.add_argument("--megapixels", type=float, default=None, help="Enlarge the photograph.")
    args = parser.parse_args()
    source = Path(str(resources.files("skimage"))) / "data" / PHOTO
    with tempfile.TemporaryDirectory() as place, Image.open(source) as picture:
        scale = 1.0
        if args.megapixels is not None:
            scale = (args.megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
        photo = Path(place) / PHOTO
        size = (round(picture.width * scale), round(picture.height * scale))
        picture.resize(size).save(photo)
        print(f"{machine()}; {PHOTO} at {size[0]} x {size[1]}, medians of {args.rounds} rounds\n")
        print("| segmenter | step | seconds | CPU seconds |\n|---|---|---|---|")
        for name in args.segmenters:
            for what, times in measure(name, photo, args.rounds).items():
                wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
                print(f"| {name} | {what} | {wall:.3f} | {cpu:.3f} |", flush=True)


if __name__ == "__main__":
    main()
