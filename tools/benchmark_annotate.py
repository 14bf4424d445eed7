"""How much of the models' rate a run of ovseg annotate keeps, what more words cost, and its memory; a table.

    python tools/benchmark_annotate.py                         # the two embedded models, 64 scenes
    python tools/benchmark_annotate.py --model tiny            # less of the time goes into CLIP
    python tools/benchmark_annotate.py --images 300 --rounds 1

"bare loop" is the finder alone over pictures that are in memory: CLIP in batches, the segmenter, the choice
of masks. "run" is the whole: reading files, finding, writing COCO, panoptic and YOLO files and the manifest.
Both in turn, so that other work on the machine meets both.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from benchmark import machine
from PIL import Image

import ovseg
from ovseg.annotation.classes import read_classes
from ovseg.annotation.finder import GROUP, MaskFinder
from ovseg.annotation.run.annotate import annotate
from ovseg.evaluation.data.scenes import NAMES, make_scene
from ovseg.options import AnnotateOptions

FORMATS = ("coco", "coco-panoptic", "yolo")
OPTIONS = AnnotateOptions(templates="plain")


def make_photos(folder: Path, count: int, side: int) -> list[Path]:
    """Scenes of mixed sizes, long sides from half of ``side`` to ``side``, as JPEG files."""
    rng = np.random.default_rng(0)
    files = []
    for seed in range(count):
        size = (int(rng.integers(side // 2, side + 1)), int(rng.integers(side // 2, side + 1)))
        files.append(folder / f"{seed:05d}.jpg")
        Image.fromarray(make_scene(seed, size).image).save(files[-1], quality=90)
    return files


def resident() -> float:
    """The largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


Seconds: TypeAlias = "tuple[float, float]"
"""By the clock, and of the processor in all threads; the second hardly depends on other work."""


def timed(work: Callable[[], object], images: int) -> Seconds:
    """Seconds an image of some work."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) / images, (time.process_time() - processor) / images


def bare(finder: MaskFinder, pictures: list[np.ndarray]) -> None:
    """The finder alone."""
    finder.setup.segmenter._embeddings._values.clear()
    for place in range(0, len(pictures), GROUP):
        list(finder.find(pictures[place : place + GROUP]))


def line(what: str, mine: list[Seconds], against: str, others: list[Seconds]) -> str:
    """A row of the table: medians, and the medians of the ratios within a round."""
    wall, processor = (statistics.median(one[k] for one in mine) for k in (0, 1))
    ratios = [
        statistics.median(one[k] / other[k] for one, other in zip(mine, others, strict=True)) for k in (0, 1)
    ]
    return f"| {what} | {wall:.3f} | {processor:.3f} | {against} | {ratios[0]:.2f} | {ratios[1]:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="small")
    parser.add_argument("--segmenter", default="tiny")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--side", type=int, default=640, help="the longest side of the pictures in pixels")
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    model, segmenter = ovseg.load_model(args.model), ovseg.load_segmenter(args.segmenter)
    names = list(NAMES[: args.words])
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place, "photos")
        photos.mkdir()
        files = make_photos(photos, args.images, args.side)
        pictures = [ovseg.load_image(path) for path in files[: min(args.images, 64)]]
        one, several = (
            MaskFinder(model, segmenter, read_classes(listed), OPTIONS) for listed in (names[:1], names)
        )
        list(several.find(pictures[:2]))  # warm up
        times: dict[str, list[Seconds]] = {"bare": [], "one": [], "run": []}
        memory = []
        masks = sum(len(found.regions) for found in several.find(pictures[:GROUP]) if found is not None)

        def run(out: Path) -> None:
            segmenter._embeddings._values.clear()
            annotate(photos, names, out, several, FORMATS, progress=seen)

        def seen(what: str, done: int, total: int, failed: int) -> None:
            if what == "images" and done >= total / 10:
                memory.append(resident())

        for number in range(args.rounds):  # in turn, so that other work on the machine meets all
            times["bare"].append(timed(partial(bare, several, pictures), len(pictures)))
            times["one"].append(timed(partial(bare, one, pictures), len(pictures)))
            times["run"].append(timed(partial(run, Path(place, f"run{number}")), len(files)))
    print(
        f"{machine()}; {args.model} and {segmenter.name}, {args.images} images up to {args.side} px, "
        f"{masks / min(GROUP, len(pictures)):.1f} masks an image, {args.rounds} rounds, "
        f"load {os.getloadavg()[0]:.1f}\n"
    )
    print("| measured | s an image | of the processor | against | ratio | of the processor |")
    print("|---|---|---|---|---|---|")
    print(line(f"bare loop, {args.words} words", times["bare"], "bare loop, one word", times["one"]))
    print(line(f"run, {args.words} words", times["run"], f"bare loop, {args.words} words", times["bare"]))
    print(
        f"\nResident: {memory[0]:.0f} MB after a tenth of the first run, {memory[-1]:.0f} MB at the end of the last."
    )


if __name__ == "__main__":
    main()
