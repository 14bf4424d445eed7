"""From the arguments of the tools to a run, and from its reports to files and the terminal."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ovseg.errors import UsageError, one_line
from ovseg.evaluation.tables.arguments import default_backbones
from ovseg.evaluation.tables.processes import World, join, leave
from ovseg.evaluation.tables.protocol import Protocol
from ovseg.evaluation.tables.run import Bars, Run, no_bar, parse_backbone
from ovseg.evaluation.tables.tables import Report
from ovseg.files.write import make_folder
from ovseg.options.checks import check_integer
from ovseg.words.vocabulary import load_vocabulary


def run_of(args: argparse.Namespace, bars: Bars = no_bar) -> Run:
    """The run that the arguments describe. Raises UsageError."""
    check_integer("every", args.every, 1, 2**31 - 1)
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
    make_folder(args.out / "rows")  # before anything that takes time
    world = join()
    backbones = args.backbones or default_backbones(args.data, args.experiments)
    return Run(
        [parse_backbone(text) for text in backbones],
        args.out,
        protocol,
        args.threshold_per,
        None if args.vocabulary is None else load_vocabulary(args.vocabulary),
        args.every,
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
    """Run Python files that register explanations with the decorator ``ovseg.explanation.explanation``.

    Raises:
        UsageError: a file does not exist or raises an error.
    """
    for number, file in enumerate(files):
        spec = importlib.util.spec_from_file_location(f"ovseg_registered_{number}", file)
        if spec is None or spec.loader is None or not file.is_file():
            raise UsageError(f"expected a Python file of explanations, got {file}")
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Exception as error:  # someone else's code raises anything
            raise UsageError(
                f"expected {file} to register explanations, it raises {one_line(error)}"
            ) from None


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
