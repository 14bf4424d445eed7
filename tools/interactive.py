"""Interactive segmentation by words (paper, Fig. 10): point accuracy and mIoU per positive label.

    python tools/interactive.py                                            # generated scenes
    python tools/interactive.py --photos ../shared/photos/msrc_v2 --methods clip clip_surgery
    python tools/interactive.py --voc data/VOCdevkit/VOC2012 --segmenter vit_h \\
        --segmenter-weights sam_vit_h_4b8939.pth --model ViT-B-16 --weights openai --size 512
    python tools/interactive.py --coco instances_val2017.json --images val2017
    python tools/interactive.py --photos ../shared/photos/voc2012 --truth --words --segmenter small
    python tools/interactive.py --objects ../shared/photos/coco_instances --truth

Each label of an image is asked for by its name. Nothing else of the image's labels is used. The ways to a
mask are: the map at the one threshold that is best for the whole set; the bounds of each component as a box;
the paper's points; our points; our points with the component as a first mask. Means go over samples, then
over classes, in percent. "right" is the share of points on the right side of the label's border. A second
table says how often presence is right: for labels in the image, and for names that are not in it.

Other tables, in place of these: --truth asks the segmenter with clicks and boxes made from the true masks, and
--words asks for the labels of each picture together, as ``ovseg mask`` does (truth_prompts.py).
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
from truth_prompts import measure_truth, measure_words, objects_of, parts_of

import ovseg
from ovseg.clip.attention import METHODS
from ovseg.errors import OvsegError
from ovseg.evaluation.data.coco import read_coco
from ovseg.evaluation.data.registry import read_scenes as scenes
from ovseg.evaluation.data.samples import SampleSet, read_photos, read_voc
from ovseg.files.write import make_folder, write_json, write_picture
from ovseg.maps.recognition import BORDER, WIDTH
from ovseg.metrics import MeanPerClass, PerLabelScore, mask_iou, point_accuracy
from ovseg.results import figures
from ovseg.segmenters.base import Segmenter
from ovseg.segmenters.load import DEFAULT
from ovseg.words.vocabulary import load_vocabulary

WAYS = {
    "box": {"prompt_with": "box"},
    "paper's points": {"point_rule": "paper", "prompt_with": "points"},
    "our points": {"prompt_with": "points"},
    "our points and map": {"prompt_with": "map"},
}


def measure(model: ovseg.Model, segmenter: Segmenter, samples: SampleSet, options: dict) -> dict[str, float]:
    """Scores of one method in percent: points on the right side for both rules, and the mIoU of each way."""
    inputs = {name: options.get(name) for name in ("size", "window", "stride")}
    ways = {
        way: ovseg.TextToMask(model, segmenter, presence_threshold=0, **{**options, **own})
        for way, own in WAYS.items()
    }
    right = {"paper's points": MeanPerClass(), "our points": MeanPerClass()}
    overlap = {way: MeanPerClass() for way in WAYS}
    threshold = PerLabelScore()
    for sample in samples:
        names = list(sample.masks)
        if not names:
            continue
        maps = model.similarity(sample.image, names, **inputs)
        answers = {way: t2m.predict_texts(sample.image, names) for way, t2m in ways.items()}
        for index, name in enumerate(names):
            truth = sample.masks[name]
            threshold.update(name, maps[name], truth, sample.valid)
            for way in WAYS:
                found = answers[way][index]
                overlap[way].update(name, mask_iou(found.union, truth, sample.valid))
                if way in right and len(found):
                    xy = np.concatenate([p.xy for p in found.points])
                    labels = np.concatenate([p.labels for p in found.points])
                    right[way].update(name, point_accuracy(xy, labels, truth, sample.valid))
    scores = {f"{way}, right": 100 * score.compute() for way, score in right.items()}
    scores["map"] = 100 * threshold.mean_iou()
    return scores | {way: 100 * score.compute() for way, score in overlap.items()}


def presence(model: ovseg.Model, segmenter: Segmenter, samples: SampleSet, options: dict) -> dict[str, float]:
    """How often presence is right, in percent: for labels in the image, and for names that are not in it.

    "best border" is the value of ``maps.recognition.BORDER`` at which the mean of both would be highest on this
    set, "at best" that mean.
    """
    t2m = ovseg.TextToMask(
        model, segmenter, presence_threshold=1, **options
    )  # no presence reaches 1, so nothing is decoded
    there, absent = [], []
    for sample in samples:
        for found in t2m.predict_texts(sample.image, list(samples.names)):
            (there if found.text in sample.masks else absent).append(found.presence[found.text])
    if not there or not absent:
        return {"present": float("nan"), "absent": float("nan")}
    shares = np.sort(np.concatenate([there, absent]).clip(1e-9, 1 - 1e-9))
    means = [(np.mean(np.array(there) >= share) + np.mean(np.array(absent) < share)) / 2 for share in shares]
    best = shares[int(np.argmax(means))]
    return {
        "present": 100 * float(np.mean(np.array(there) >= 0.5)),
        "absent": 100 * float(np.mean(np.array(absent) < 0.5)),
        "best border": BORDER + WIDTH * float(np.log(best / (1 - best))),
        "at best": 100 * float(max(means)),
    }


def table(rows: dict[str, dict[str, float]], corner: str) -> str:
    head = list(next(iter(rows.values())))
    lines = ["| " + " | ".join([corner, *head]) + " |", "|---" * (len(head) + 1) + "|"]
    for name, scores in rows.items():
        lines.append("| " + " | ".join([name, *(f"{value:.1f}" for value in scores.values())]) + " |")
    return "\n".join(lines)


def chosen_sets(args: argparse.Namespace) -> list[SampleSet]:
    sets = [read_photos(folder) for folder in args.photos]
    if args.voc:
        vocabulary = load_vocabulary(args.vocabulary)
        sets.append(read_voc(args.voc, vocabulary.names, args.split))
    if args.coco:
        sets.append(read_coco(args.coco, args.images or args.coco.parent))
    return sets or ([] if args.objects else [scenes(args.scenes)])


def run_truth(args: argparse.Namespace, segmenter: Segmenter) -> None:
    """Prompts made from the truth: a table for each set."""
    sets = {one.title: parts_of(one.first(args.limit)) for one in chosen_sets(args)}
    sets |= {f"{folder.name} {args.split}": objects_of(folder, args.split) for folder in args.objects}
    for title, found in sets.items():
        regions = list(itertools.islice(found, args.regions))
        print(f"\n{title}: {len(regions)} regions, segmenter {segmenter.name}\n")
        print(table(measure_truth(segmenter, regions), "prompt"), flush=True)


def run_words(args: argparse.Namespace, model: ovseg.Model, segmenter: Segmenter, options: dict) -> None:
    """The labels of each picture asked for by name: a row for each set."""
    sets = [one.first(args.limit) for one in chosen_sets(args)]
    rows = {one.title: measure_words(model, segmenter, one, options) for one in sets}
    print(f"\nwords, segmenter {segmenter.name}\n\n{table(rows, 'set')}", flush=True)


def run(args: argparse.Namespace) -> None:
    segmenter = ovseg.load_segmenter(args.segmenter, weights=args.segmenter_weights, device=args.device)
    if args.truth:
        run_truth(args, segmenter)
    if args.truth and not args.words:
        return
    sets = chosen_sets(args)
    name = args.model or ("small" if args.photos or args.voc or args.coco else "tiny")
    model = ovseg.load_model(name, args.weights, device=args.device)
    options = {"size": args.size, "window": args.window, "stride": args.stride} | (
        {"mask_choice": args.mask_choice} if args.mask_choice else {}
    )
    options |= {"refine": True} if args.refine else {}
    if args.words:
        options["keep_apart"] = not args.no_keep_apart
        run_words(args, model, segmenter, options)
        return
    everything = {}
    for samples in (one.first(args.limit) for one in sets):
        start = time.monotonic()
        rows = {m: measure(model.with_method(m), segmenter, samples, options) for m in args.methods}
        seen = {m: presence(model.with_method(m), segmenter, samples, options) for m in args.methods[-1:]}
        print(f"\n{samples.title}: {len(samples)} images, segmenter {segmenter.name}\n")
        print(table(rows, "method"), flush=True)
        print(f"\n{table(seen, 'presence is right')}\n\n{time.monotonic() - start:.0f} s", flush=True)
        everything[samples.title] = {"segmenter": segmenter.name, "scores": rows, "presence": seen}
        if args.out:
            make_folder(args.out)
            name = samples.title.replace(" ", "_")
            shown = {way: [scores[way] for scores in rows.values()] for way in ["map", *WAYS]}
            chart = figures.bar_chart(shown, list(rows), f"{samples.title}: mIoU per positive label, %")
            write_picture(args.out / f"{name}.png", chart)
            write_json(args.out / "interactive.json", everything)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--photos", type=Path, nargs="*", default=[], help="folders of images/, masks/, val.txt"
    )
    parser.add_argument("--voc", type=Path, help="a VOC folder, e.g. VOCdevkit/VOC2012")
    parser.add_argument("--vocabulary", default="voc21", help="class list of --voc")
    parser.add_argument("--split", default="val", help="of --voc and --objects")
    parser.add_argument("--coco", type=Path, help="instances JSON")
    parser.add_argument("--images", type=Path, help="COCO's image folder; default: where the JSON is")
    parser.add_argument(
        "--scenes", type=int, default=60, help="number of generated scenes, where no data set is given"
    )
    parser.add_argument(
        "--objects", type=Path, nargs="*", default=[], help="folders of images/, segments/, segments.json"
    )
    parser.add_argument("--truth", action="store_true", help="prompts made from the true masks")
    parser.add_argument("--words", action="store_true", help="the labels of a picture asked for together")
    parser.add_argument("--no-keep-apart", action="store_true", help="each word as if alone (--words)")
    parser.add_argument("--regions", type=int, help="at most this number of regions of each set")
    parser.add_argument("--limit", type=int, help="at most this number of images of each set")
    known = [m for m in METHODS if "_normalised" not in m]
    parser.add_argument("--methods", nargs="*", choices=known, default=known, metavar="METHOD")
    parser.add_argument("--model", help="default: small on photographs, tiny on scenes")
    parser.add_argument("--weights")
    parser.add_argument("--segmenter", default=DEFAULT)
    parser.add_argument("--segmenter-weights")
    parser.add_argument("--window", type=int, help="windows of CLIP's input in pixels, for small objects")
    parser.add_argument("--stride", type=int, help="distance between windows in pixels")
    parser.add_argument(
        "--mask-choice", choices=["score", "agreement", "both"], help="among the segmenter's candidates"
    )
    parser.add_argument("--refine", action="store_true", help="decode once more from the mask")
    parser.add_argument("--size", type=int, help="CLIP's input, a square; default: the model's own")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="folder for a bar chart of each set and one JSON file")
    args = parser.parse_args()
    try:
        run(args)
    except OvsegError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


if __name__ == "__main__":
    main()
