"""How much of the models' rate a run of ovseg annotate keeps, what more words cost, and its memory; a table.

    python tools/benchmark_annotate.py                         # the two embedded models, 64 scenes
    python tools/benchmark_annotate.py --images 300 --rounds 1

"bare loop" is the finder alone over pictures that are in memory: CLIP in batches, the segmenter, the choice
of masks. "run" is the whole: reading files, finding, writing COCO, panoptic and YOLO files and the manifest.
Both in turn, so that other work on the machine meets both.
"""

from __future__ import annotations

import argparse
import logging
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmark import machine
from PIL import Image

import ovseg
from ovseg.annotate.api import annotate
from ovseg.annotate.classes import read_classes
from ovseg.annotate.finder import MaskFinder
from ovseg.annotate.step import GROUP
from ovseg.data.scenes import NAMES, make_scene
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


def bare(finder: MaskFinder, pictures: list[np.ndarray], segmenter: ovseg.segmenters.base.Segmenter) -> float:
    """Seconds of the finder alone."""
    segmenter._embeddings._values.clear()
    start = time.perf_counter()
    for place in range(0, len(pictures), GROUP):
        list(finder.find(pictures[place : place + GROUP]))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--segmenter", default="tiny")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--side", type=int, default=640, help="the longest side of the pictures in pixels")
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    model, segmenter = ovseg.load_model(), ovseg.load_segmenter(args.segmenter)
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
        times: dict[str, list[float]] = {"bare": [], "one": [], "run": []}
        memory = []
        for number in range(args.rounds):
            times["bare"].append(bare(several, pictures, segmenter) / len(pictures))
            times["one"].append(bare(one, pictures, segmenter) / len(pictures))
            segmenter._embeddings._values.clear()

            def seen(done: int, total: int, failed: int) -> None:
                if done in (total // 10, total):
                    memory.append(resident())

            start = time.perf_counter()
            annotate(
                photos, names, Path(place, f"run{number}"), FORMATS,
                model=model, segmenter=segmenter, options=OPTIONS, progress=seen,
            )  # fmt: skip
            times["run"].append((time.perf_counter() - start) / len(files))
    median = {name: statistics.median(values) for name, values in times.items()}
    few, many, run = median["one"], median["bare"], median["run"]
    print(f"{machine()}; segmenter {segmenter.name}, {args.images} images up to {args.side} px\n")
    print("| measured | value | against | ratio |\n|---|---|---|---|")
    print(f"| bare loop, {args.words} words, s an image | {many:.3f} | one word | {many / few:.2f} |")
    print(f"| run, {args.words} words, s an image | {run:.3f} | rate of the bare loop | {many / run:.2f} |")
    print(f"| resident MB at the end | {memory[1]:.0f} | after a tenth | {memory[1] / memory[0]:.2f} |")


if __name__ == "__main__":
    main()
