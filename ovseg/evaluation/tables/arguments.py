"""The arguments that the tools of the tables share. No model is imported here, so ``--help`` is quick."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ovseg.evaluation.tables.protocol import NEED_BLOCKS, SCORED_AT, SURGERY_OVER, Protocol
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
        metavar="NAME=WEIGHTS",
        help="such as ViT-B-16-quickgelu=openai; without it an embedded model: tiny for scenes, small for\n"
        f"other sets, and both where some rows need transformer blocks ({', '.join(NEED_BLOCKS)})",
    )
    parser.add_argument("--out", type=Path, default=Path("work_dirs/paper"), help="folder of the results")
    parser.add_argument("--limit", type=int, help="at most this number of images of each set, after --every")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th image of each set")
    parser.add_argument("--size", type=int, help="the encoder's input, a square; default: the model's")
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


def default_backbones(data: Sequence[str], experiments: Sequence[str]) -> list[str]:
    """The embedded models that are measured where no backbone is named.

    "tiny" knows generated scenes, "small" knows photographs. "small" has no transformer blocks, so "tiny"
    stands beside it for the rows that need them.

    Args:
        data: the data sets as the tools take them.
        experiments: the names of the experiments.

    >>> default_backbones(["scenes=20"], ["table1"])
    ['tiny']
    >>> default_backbones(["photos=photos/msrc_v2"], ["table1"])
    ['small']
    >>> default_backbones(["photos=photos/msrc_v2", "scenes=20"], ["table1", "figure5"])
    ['small', 'tiny']
    """
    if all(text.startswith("scenes=") for text in data):
        return ["tiny"]
    return ["small", "tiny"] if set(experiments) & set(NEED_BLOCKS) else ["small"]
