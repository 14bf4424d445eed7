"""Every method of the table on the embedded model: generated scenes, and photographs with pixel labels.

    python tools/measure_embedded.py                              # 150 scenes that training never drew
    python tools/measure_embedded.py --photos ../shared/photos    # and the val parts of msrc_v2 and camvid

mSC and IoU per label are of each image's own labels (paper, Table 1, one threshold a set), with feature
surgery over the names of the set ("set"), of the image ("own") or against the empty string ("empty"); mIoU is
argmax over all names of the set, scored at the original size, void ignored. In percent.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

import ovseg
from ovseg.clip.attention import METHODS
from ovseg.evaluation.data.scenes import NAMES, make_scene
from ovseg.metrics import VOID, PerLabelScore, SegmentationScore

Sample = tuple[np.ndarray, np.ndarray]  # (H, W, 3) uint8 RGB, (H, W) uint8 class indices, VOID unlabelled
UNUSED = {"msrc_v2": {"horse", "mountain"}, "camvid": set[str]()}
SYNONYMS = {"airplane": "aeroplane"}


def scenes(count: int) -> Iterator[Sample]:
    for seed in range(count):  # training draws from ten million on
        scene = make_scene(seed, (128, 128))
        yield scene.image, scene.labels


def photographs(folder: Path, unused: set[str]) -> tuple[list[str], Iterator[Sample]]:
    classes = [name for name in (folder / "classes.txt").read_text().split("\n") if name]
    kept = [k for k, name in enumerate(classes) if name not in unused]
    table = np.full(256, VOID, np.uint8)
    table[kept] = np.arange(len(kept))

    def samples() -> Iterator[Sample]:
        for stem in (folder / "val.txt").read_text().split():
            image = ovseg.load_image(folder / "images" / f"{stem}.jpg")
            yield image, table[cv2.imread(str(folder / "masks" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)]

    return [SYNONYMS.get(classes[k], classes[k]) for k in kept], samples()


def measure(
    model: ovseg.Model, names: list[str], samples: Iterable[Sample], size: int | None = None
) -> dict[str, float]:
    """mSC and IoU per label without and with feature surgery, and mIoU of argmax; in percent.

    Feature surgery over the set's names, over the image's own, or against the empty string.
    """
    kinds = {
        "": ("none", "own"),
        ", set": ("label_set", "all"),
        ", own": ("label_set", "own"),
        ", empty": ("empty", "own"),
    }
    per_label = {kind: PerLabelScore() for kind in kinds}
    segmented = SegmentationScore(len(names))
    for image, truth in samples:
        shape = None if size is None else _short_side(image, size)
        valid = truth != VOID
        present = [names[k] for k in np.unique(truth[valid])]
        for kind, (surgery, which) in kinds.items():
            if len(present) < 2:
                continue  # of one text surgery over a set leaves nothing; the same samples for all
            texts = names if which == "all" else present
            found = model.similarity(image, texts, surgery=surgery, size=shape)
            for name in present:
                per_label[kind].update(name, found[name], truth == names.index(name), valid)
        segmented.update(model.segment(image, names, size=shape).array, truth)
    scores = {f"mSC{kind}": 100 * score.mean_contrast() for kind, score in per_label.items()}
    scores |= {f"IoU{kind}": 100 * score.mean_iou() for kind, score in per_label.items()}
    return {**scores, "mIoU": 100 * segmented.compute()}


def _short_side(image: np.ndarray, size: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = size / min(height, width)
    return round(height * scale), round(width * scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder with msrc_v2 and camvid")
    parser.add_argument("--scenes", type=int, default=150)
    parser.add_argument(
        "--sizes", type=int, nargs="*", help="short sides in pixels; default: the model's own"
    )
    parser.add_argument("--model", default="small", choices=["small", "tiny"])
    parser.add_argument("--weights", type=Path, help="another file of the embedded kind")
    parser.add_argument("--methods", nargs="*", default=[m for m in METHODS if "_normalised" not in m])
    args = parser.parse_args()
    model = ovseg.load_model(args.model, args.weights, cache=not args.weights)
    sets = [("scenes", list(NAMES), list(scenes(args.scenes)), [128])]
    if args.photos:
        for name, unused in UNUSED.items():
            names, samples = photographs(args.photos / name, unused)
            sets.append((f"{name} val", names, list(samples), args.sizes or [model.size]))
    for title, names, samples, sizes in sets:
        for size in sizes:
            print(f"\n{title}: {len(samples)} images, {len(names)} names, short side {size}\n")
            for row, method in enumerate(args.methods):
                scores = measure(model.with_method(method), names, samples, size)
                if row == 0:
                    print("| method | " + " | ".join(scores) + " |\n|---|" + "---|" * len(scores))
                print(f"| {method} | " + " | ".join(f"{v:.1f}" for v in scores.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
