"""The arguments that the tools of the tables share. No model is imported here, so ``--help`` is quick."""

from __future__ import annotations

import argparse
from pathlib import Path

from ovseg.evaluation.protocol import SCORED_AT, SURGERY_OVER, Protocol
from ovseg.metrics import THRESHOLDS_PER
from ovseg.options import PRECISIONS, RESIZES

DATA_HELP = (
    "data sets as KIND=FOLDER or KIND=FOLDER:SPLIT; kinds: imagenet_s50, voc2012, pascal_context, coco2017,\n"
    "coco_stuff164k, cityscapes, nus_wide (labels without masks), photos=FOLDER:SPLIT:VOCABULARY,\n"
    "tags=FOLDER, scenes=COUNT"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every tool."""
    parser.add_argument("--data", nargs="+", default=["scenes=100"], metavar="KIND=FOLDER", help=DATA_HELP)
    parser.add_argument(
        "--backbones",
        nargs="+",
        default=["tiny"],
        metavar="NAME=WEIGHTS",
        help="tiny, ViT-B-16-quickgelu=openai",
    )
    parser.add_argument("--out", type=Path, default=Path("work_dirs/paper"), help="folder of the results")
    parser.add_argument("--limit", type=int, help="at most this number of images of each set")
    parser.add_argument("--size", type=int, help="the encoder's input, a square; default: its native size")
    parser.add_argument("--resize", choices=RESIZES, default=Protocol.resize)
    parser.add_argument("--templates", default="paper", help="paper, imagenet, plain, or one template")
    parser.add_argument("--vocabulary", help="texts for the names of the sets: a vocabulary's name or file")
    parser.add_argument(
        "--threshold-per", choices=THRESHOLDS_PER, default="dataset", help="what one threshold serves for"
    )
    parser.add_argument("--scored-at", choices=SCORED_AT, default=Protocol.scored_at)
    parser.add_argument("--surgery-over", choices=SURGERY_OVER, default=Protocol.surgery_over)
    parser.add_argument("--group", type=int, default=Protocol.group, help="images encoded together")
    parser.add_argument("--device", default="cpu", help="with torchrun, cuda stands for each process's own")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--offline", action="store_true", help="never ask the network for weights")
