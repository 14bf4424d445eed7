"""Label maps in MMSegmentation's layout, for what its own converters cannot make.

    python tools/convert_datasets.py coco-stuff stuffthingmaps/val2017 data/coco_stuff164k/annotations/val2017
    python tools/convert_datasets.py coco-object instances_val2017.json data/coco_object/annotations/val2017
    python tools/convert_datasets.py cityscapes data/cityscapes/gtFine
    python tools/convert_datasets.py context trainval --labels labels.txt data/VOCdevkit/VOC2010
    python tools/convert_datasets.py context trainval_merged.json data/VOCdevkit/VOC2010

Files that are there are never overwritten: an interrupted run is started again and goes on. Exit codes: 2 for
a wrong call, 1 for data that are not as they should be.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ovseg.apps.cli.scripts import Parser, reported


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    sets = parser.add_subparsers(dest="dataset", required=True)
    stuff = sets.add_parser("coco-stuff", help="COCO-Stuff, 171 classes, of one split")
    stuff.add_argument("source", type=Path, help="stuffthingmaps' folder of the split")
    stuff.add_argument("out", type=Path, help="folder for *_labelTrainIds.png")
    objects = sets.add_parser("coco-object", help="COCO's 80 things and background, of one split")
    objects.add_argument("source", type=Path, help="instances_val2017.json, or stuffthingmaps' folder")
    objects.add_argument("out", type=Path, help="folder for *_instanceTrainIds.png")
    cities = sets.add_parser("cityscapes", help="Cityscapes' labelTrainIds from its labelIds")
    cities.add_argument("source", type=Path, help="gtFine, or a split of it; the new files go beside the old")
    context = sets.add_parser("context", help="PASCAL Context, 59 classes and 0")
    context.add_argument("source", type=Path, help="folder of .mat files, or trainval_merged.json")
    context.add_argument("out", type=Path, help="VOCdevkit/VOC2010")
    context.add_argument("--labels", type=Path, help="labels.txt; default: beside the folder of .mat files")
    context.add_argument("--split", default="val", choices=("train", "val"))
    return parser.parse_args()


def run(args: argparse.Namespace) -> str:
    """What was converted, in words."""
    from ovseg.evaluation.data import cityscapes, coco, context

    if args.dataset == "coco-stuff":
        return str(coco.convert_coco_stuff(args.source, args.out))
    if args.dataset == "coco-object":
        return str(coco.convert_coco_object(args.source, args.out))
    if args.dataset == "cityscapes":
        return str(cityscapes.convert_cityscapes(args.source))
    if args.source.suffix == ".json":
        return str(context.convert_context_json(args.source, args.out, args.split))
    labels = args.labels or args.source.parent / "labels.txt"
    return str(context.convert_context_mat(args.source, labels, args.out, args.split))


@reported
def main() -> None:
    args = parse()
    print(f"{args.dataset}: {run(args)}")


if __name__ == "__main__":
    main()
