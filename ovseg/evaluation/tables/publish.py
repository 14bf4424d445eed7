"""Makes a run from the tools' arguments, runs experiments, and writes and prints their reports."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ovseg.errors import UsageError, one_line
from ovseg.evaluation.tables.faithful import faithful, randomisation
from ovseg.evaluation.tables.inside import figure4, figure5, figure6
from ovseg.evaluation.tables.maps import depth_report, table1, table2, table4_report
from ovseg.evaluation.tables.protocol import (
    Protocol,
    RunOptions,
    default_backbones,
    options_of,
    parse_backbone,
)
from ovseg.evaluation.tables.report import Report
from ovseg.evaluation.tables.rows import World, join, leave
from ovseg.evaluation.tables.run import Bars, Run, Samples, no_bar
from ovseg.evaluation.tables.semantic import table5
from ovseg.files.write import make_folder
from ovseg.words.vocabulary import load_vocabulary

COMPARING: dict[str, Callable[[Run, Samples, Sequence[str] | None], Report]] = {
    "table1": table1,
    "table2": table2,
    "table5": table5,
    "faithful": faithful,
    "randomisation": randomisation,
}
"""The experiments of ``protocol.WITH_METHODS``."""
PAPERS: dict[str, Callable[[Run, Samples], Report]] = {
    "table4": table4_report,
    "depth": depth_report,
    "figure4": figure4,
    "figure5": figure5,
    "figure6": figure6,
}
"""The experiments of ``protocol.FIXED``."""


def run_experiment(name: str, run: Run, sets: Samples, methods: Sequence[str] | None) -> Report:
    """Run an experiment by its name.

    Raises:
        UsageError: an unknown name.
    """
    if name in COMPARING:
        return COMPARING[name](run, sets, methods)
    if name not in PAPERS:
        raise UsageError(f"unknown experiment {name!r}: expected one of {', '.join((*COMPARING, *PAPERS))}")
    return PAPERS[name](run, sets)


def run_of(args: argparse.Namespace, bars: Bars = no_bar) -> Run:
    """Make the run that the arguments describe. Raises UsageError."""
    protocol, options = options_of(args, Protocol), options_of(args, RunOptions)
    make_folder(args.out / "rows")  # fails early if the folder is not writable
    world = join()
    backbones = args.backbones or default_backbones(args.data, args.experiments)
    return Run(
        [parse_backbone(text) for text in backbones],
        args.out,
        protocol,
        replace(options, device=_own_device(options.device, world)),
        None if args.vocabulary is None else load_vocabulary(args.vocabulary),
        world,
        bars if world.is_first else no_bar,
    )


def _own_device(device: str, world: World) -> str:
    """The device of this process: under torchrun, the GPU of its local rank."""
    rank = os.environ.get("LOCAL_RANK", "")
    return f"cuda:{rank}" if device == "cuda" and world.size > 1 and rank.isdigit() else device


def register(files: Sequence[Path]) -> None:
    """Run Python files that register explanations or methods with ovseg's decorators.

    Raises:
        UsageError: a file is missing or raises an error.
    """
    for number, file in enumerate(files):
        spec = importlib.util.spec_from_file_location(f"ovseg_registered_{number}", file)
        if spec is None or spec.loader is None or not file.is_file():
            raise UsageError(f"expected a Python file of explanations or methods, got {file}")
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Exception as error:  # someone else's code raises anything
            raise UsageError(
                f"expected {file} to register explanations or methods, it raises {one_line(error)}"
            ) from None


def publish(makers: Sequence[Callable[[], Report]], run: Run) -> int:
    """Make, write and print each report; finished reports are kept if a later one fails.

    Returns:
        The exit code: 1 if an image was skipped, 0 otherwise.
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
            print(f"{len(lines)} images were skipped and are not in the scores", file=sys.stderr)
    return 1 if lines else 0
