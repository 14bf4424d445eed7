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
    """Evaluate every config under every method.

    Args:
        paths: config files.
        methods: rows of the table of methods; "all" stands for every one, and none for each config's own.
        options: other values for fields of every config.
        backbone: another model for every config.
        weights: another tag or checkpoint for every config.
        run: the flags besides; results go to ``work_dir/CONFIG/METHOD``.

    Yields:
        (method, record) as they are finished.

    Raises:
        OvsegError: a config or a data set is wrong; all are checked before the first image is encoded.
    """
    if not paths:
        raise UsageError("expected at least one config, got none")
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
        folder = Path("work_dirs" if run.work_dir is None else run.work_dir) / stem / name
        yield name, evaluate(config, replace(run, work_dir=str(folder)))


def _known(method: str) -> str:
    return get_method(method).name
