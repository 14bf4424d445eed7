"""Several configs and methods, one after another, and one table of their scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ovseg.clip.attention import METHODS, get_method
from ovseg.errors import UsageError
from ovseg.mmseg.checks import check_dataset
from ovseg.mmseg.evaluate import Run, evaluate, load_config, prepare

ALL = tuple(name for name in METHODS if "_normalised" not in name)
"""The rows of the table of methods without the option of the public code for ResNets."""


def compare(
    paths: Sequence[str | Path],
    methods: Sequence[str] = (),
    *,
    options: Mapping[str, Any] | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    run: Run | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(method, record) of every config under every method, as they are finished.

    Without ``methods`` each config's own; "all" stands for every one. Results lie in
    ``work_dir/CONFIG/METHOD``. All configs and data sets are checked before the first image. Raises OvsegError.
    """
    if not paths:
        raise UsageError("wanted at least one config, got none")
    chosen: list[str | None] = [*(ALL if "all" in methods else map(_known, methods))] or [None]
    run = run or Run()
    jobs = []
    for path in paths:
        for method in chosen:
            config = load_config(path, options, method, backbone, weights)
            config.log_level = "ERROR"  # the table is the output
            jobs.append((Path(path).stem, config.model.get("method", "clip_surgery"), config))
    for _, _, config in jobs[:: len(chosen)]:
        check_dataset(prepare(config, run))
    for stem, name, config in jobs:
        folder = Path(run.work_dir or "work_dirs") / stem / name
        yield name, evaluate(config, replace(run, work_dir=str(folder)))


def _known(method: str) -> str:
    return get_method(method).name
