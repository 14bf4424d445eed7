"""How long text → points → mask takes, as ratios measured in one run; prints a Markdown table.

    python tools/benchmark_masks.py                  # SAM vit_b, random weights: they do not change the time
    python tools/benchmark_masks.py --segmenter grabcut --texts 4

"first" is an image that is new to the library, "second" the same pixels again. "one by one" asks for each
text on an image of its own, which costs what a tool costs that encodes the image again for every text.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from benchmark import machine

import ovseg
from ovseg.evaluation.data.scenes import NAMES, make_scene


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pictures(side: int) -> Iterator[np.ndarray]:
    """Images that differ from each other, so that no cache holds them."""
    return (make_scene(seed, (side * 3 // 4, side)).image for seed in itertools.count(1000))


def rows(
    t2m: ovseg.TextToMask, texts: list[str], side: int, rounds: int
) -> Iterator[tuple[str, str, float, float]]:
    fresh = pictures(side)
    t2m.predict_texts(next(fresh), texts)  # warm up, and the texts' features with it
    times: dict[str, list[float]] = {"first": [], "second": [], "click": [], "together": [], "one by one": []}
    for _ in range(rounds):
        image = next(fresh)
        times["first"].append(seconds(lambda image=image: t2m.predict(image, texts[0])))
        times["second"].append(seconds(lambda image=image: t2m.predict(image, texts[0])))
        session = t2m.session(image)
        session.text(texts[0])
        times["click"].append(seconds(lambda session=session: session.click(side // 2, side // 4)))
        image = next(fresh)
        times["together"].append(seconds(lambda image=image: t2m.predict_texts(image, texts)))
        new = [next(fresh) for _ in texts]
        times["one by one"].append(
            seconds(lambda new=new: [t2m.predict(image, text) for image, text in zip(new, texts)])
        )
    median = {name: statistics.median(values) for name, values in times.items()}
    yield "a text on a picture seen before", "on a new one", median["second"], median["first"]
    yield "a click in a session", "a text on a new picture", median["click"], median["first"]
    yield f"{len(texts)} texts together", "one by one", median["together"], median["one by one"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--segmenter", default="vit_b")
    parser.add_argument(
        "--segmenter-weights", help="default: random weights, for segmenters that have weights"
    )
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--side", type=int, default=640, help="long side of the pictures in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    without = args.segmenter in ("grabcut", "tiny")
    segmenter = ovseg.load_segmenter(
        args.segmenter, weights=args.segmenter_weights or (None if without else "random")
    )
    t2m = ovseg.TextToMask(ovseg.load_model(cache=False), segmenter, presence_threshold=0)
    print(f"{machine()}; segmenter {segmenter.name}, {args.side} px, medians of {args.rounds} rounds\n")
    print("| measured | against | s | s of the other | ratio |\n|---|---|---|---|---|")
    for what, other, ours, theirs in rows(t2m, list(NAMES[: args.texts]), args.side, args.rounds):
        print(f"| {what} | {other} | {ours:.3g} | {theirs:.3g} | {ours / theirs:.3f} |", flush=True)


if __name__ == "__main__":
    main()
