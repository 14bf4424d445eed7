"""The paper's tables and figures of explainability, and what is measured beyond it.

    python tools/explain.py table1                                # generated scenes, the embedded model tiny
    python tools/explain.py table1 table2 figure4 figure5 figure6 --data voc2012=data/VOCdevkit/VOC2012 \\
        pascal_context=data/VOCdevkit/VOC2010 --backbones ViT-B-16-quickgelu=openai RN50-quickgelu=openai
    python tools/explain.py table2 --methods clip clip_surgery gem gradcam eclip=saved/eclip
    python tools/explain.py table5 --data pascal_context=data/VOCdevkit/VOC2010 --methods clip_surgery:none \\
        ReCo=saved/reco GroupViT=saved/groupvit
    python tools/explain.py table1 --register mine.py --methods clip_surgery mine
    torchrun --nproc-per-node 4 tools/explain.py table1 --data coco2017=data/coco

    table1          mIoU per positive label and mSC of CLIP and CLIP Surgery
    table2          the same of the compared explanations
    table4, depth   blocks, paths, feed-forward networks; the first block d
    table5          label maps, also of folders of other systems' predictions
    figure4         how much attention lies on the foreground (mFSR)
    figure5         how close each module is to the labels (affinity)
    figure6         how much of a label's map is there without any text
    faithful        deletion and insertion
    randomisation   how maps change as the last layers get random weights

Each result goes into --out as Markdown, JSON and, where the paper has a figure, a picture; the paper's
figures stand beside ours. Rows of single images are kept in OUT/rows: a stopped run goes on where it was, and
another method measures that method alone. Exit codes: 2 for a wrong call, 1 where something failed or an
image was skipped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ovseg.apps.cli.scripts import Parser, reported


def parse() -> argparse.Namespace:
    from ovseg.evaluation.tables.protocol import FIXED, WITH_METHODS, add_arguments

    parser = Parser(__doc__)
    known = (*WITH_METHODS, *FIXED)
    listed = ", ".join(known)
    parser.add_argument("experiments", nargs="+", choices=known, metavar="EXPERIMENT", help=listed)
    parser.add_argument(
        "--methods", nargs="+", metavar="METHOD",
        help="a method, METHOD:SURGERY, rclip, an explanation, NAME=FOLDER of saved maps or label maps",
    )  # fmt: skip
    parser.add_argument(
        "--register", nargs="+", type=Path, default=[], metavar="FILE.py",
        help="Python files that register explanations or methods of your own with ovseg's decorators",
    )  # fmt: skip
    add_arguments(parser)
    args = parser.parse_intermixed_args()
    if args.methods and not set(args.experiments) & set(WITH_METHODS):
        parser.error(f"--methods needs one of {', '.join(WITH_METHODS)}, got {', '.join(args.experiments)}")
    return args


@reported
def main() -> None:
    args = parse()
    from ovseg.apps.cli.loop import bars
    from ovseg.evaluation.data.registry import parse_sources
    from ovseg.evaluation.tables.publish import publish, register, run_experiment, run_of
    from ovseg.evaluation.tables.systems import parse_systems

    register(args.register)
    if args.methods:
        parse_systems(args.methods)
    run = run_of(args, bars)
    sets = run.open(parse_sources(args.data))
    makers = [
        lambda name=name: run_experiment(name, run, sets, args.methods)
        for name in dict.fromkeys(args.experiments)
    ]
    sys.exit(publish(makers, run))


if __name__ == "__main__":
    main()
