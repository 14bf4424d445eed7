"""The arguments that the tools of the paper's tables share, and what they print."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ovseg.checks import check_integer
from ovseg.errors import UsageError, one_line
from ovseg.evaluation.processes import World, join, leave
from ovseg.evaluation.run import Bars, Run, no_bar, parse_backbone
from ovseg.evaluation.settings import SCORED_AT, SURGERY_OVER, Protocol
from ovseg.evaluation.tables import Report
from ovseg.metrics import THRESHOLDS_PER
from ovseg.options import PRECISIONS, RESIZES
from ovseg.vocabulary import load_vocabulary

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


def run_of(args: argparse.Namespace, bars: Bars = no_bar) -> Run:
    """The run that the arguments describe. Raises UsageError."""
    if args.limit is not None:
        check_integer("limit", args.limit, 1, 2**31 - 1)
    protocol = Protocol(
        size=args.size,
        resize=args.resize,
        templates=args.templates,
        scored_at=args.scored_at,
        surgery_over=args.surgery_over,
        group=args.group,
    )
    world = join()
    return Run(
        [parse_backbone(text) for text in args.backbones],
        args.out,
        protocol,
        args.threshold_per,
        None if args.vocabulary is None else load_vocabulary(args.vocabulary),
        args.limit,
        _own_device(args.device, world),
        args.precision,
        args.offline,
        world,
        bars if world.is_first else no_bar,
    )


def _own_device(device: str, world: World) -> str:
    """The device of this process: of several GPUs the one that torchrun counts it to."""
    rank = os.environ.get("LOCAL_RANK", "")
    return f"cuda:{rank}" if device == "cuda" and world.size > 1 and rank.isdigit() else device


def register(files: Sequence[Path]) -> None:
    """Run Python files that register explanations with the decorator ``ovseg.explain.explanation``.

    Raises:
        UsageError: a file does not exist or raises an error.
    """
    for number, file in enumerate(files):
        spec = importlib.util.spec_from_file_location(f"ovseg_registered_{number}", file)
        if spec is None or spec.loader is None or not file.is_file():
            raise UsageError(f"wanted a Python file of explanations, got {file}")
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Exception as error:  # someone else's code raises anything
            raise UsageError(f"wanted {file} to register explanations, it raises {one_line(error)}") from None


def publish(makers: Sequence[Callable[[], Report]], run: Run) -> int:
    """Make each report, write and print it; every report that is made stays if a later one fails.

    Returns:
        The exit code: 1 where an image was skipped, 0 otherwise.
    """
    skipped: list[str] = []
    try:
        for make in makers:
            report = make()
            if run.world.is_first:
                paths = report.write(run.out)
                print(f"\n{report.markdown()}\n\n{paths[0]}", flush=True)
            skipped += report.skipped
    finally:
        leave()
    lines = list(dict.fromkeys(skipped))
    if run.world.is_first:
        for line in lines[:20]:
            print(f"skipped: {line}", file=sys.stderr)
        if lines:
            print(f"{len(lines)} images were skipped; the scores are those of the others", file=sys.stderr)
    return 1 if lines else 0
