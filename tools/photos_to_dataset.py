"""Photographs with masks as data sets for configs/photos.

    python tools/photos_to_dataset.py ../shared/photos              # into data/photos, which git ignores

Each set is a folder with images/*.jpg, masks/*.png, classes.txt and val.txt. Classes that the vocabulary of a
set does not name become void. Files that are there are never overwritten.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ovseg.apps.cli.scripts import Parser, reported

VOCABULARIES = Path(__file__).parents[1] / "configs" / "_base_" / "datasets"
SETS = {  # name of a set: its folder and its vocabulary
    "msrc_v2": ("msrc_v2", str(VOCABULARIES / "photos_msrc_v2.txt")),
    "camvid": ("camvid", str(VOCABULARIES / "photos_camvid.txt")),
    "coco_things_val": ("coco_things_val", "coco_object"),
    "voc20": ("voc2012", "voc20"),
    "voc21": ("voc2012", "voc21"),
    "ade20k": ("ade20k", "ade20k"),
}


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("photos", type=Path, help="folder with a folder for each set")
    parser.add_argument("--out", type=Path, default=Path("data/photos"))
    parser.add_argument("--sets", nargs="+", choices=SETS, help="default: those that are there")
    parser.add_argument("--split", default="val", help="the list of images: val (val.txt) or train")
    return parser.parse_args()


@reported
def main() -> None:
    args = parse()
    from ovseg.evaluation.data.convert import arrange_photos

    there = [name for name, (folder, _) in SETS.items() if (args.photos / folder).is_dir()]
    for name in args.sets or there or list(SETS):
        folder, vocabulary = SETS[name]
        done = arrange_photos(args.photos / folder, vocabulary, args.out / name, args.split)
        print(f"{name}: {done}")


if __name__ == "__main__":
    main()
