"""Evaluate a config: check it, run it with mmengine, and record the score with everything that led to it.

``compare`` evaluates several configs and methods in turn.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

from mmengine.config import Config

from ovseg.clip.attention import METHODS, get_method
from ovseg.errors import UsageError
from ovseg.files.write import make_folder
from ovseg.mmseg.checks import check_dataset
from ovseg.mmseg.config import building, load_config, metrics_of
from ovseg.mmseg.metrics import ImageCount
from ovseg.mmseg.results import record, write_results
from ovseg.mmseg.runtime import QuietRunner, connect, progress_of
from ovseg.mmseg.segmentor import OpenVocabularySegmentor
from ovseg.options.checks import check_number

WRITERS = ("ExactIoUMetric", "CityscapesIoUMetric")
"""Metrics that write a prediction file per image."""


@dataclass(frozen=True)
class Run:
    """How a config is run: the flags of tools/test.py.

    Attributes:
        work_dir: folder for logs and results; None for ``work_dirs/NAME_OF_CONFIG``.
        out: folder for the predictions as PNG, with the images' sub-folders.
        show: show each painted image in a window.
        show_dir: folder for painted images, with the images' sub-folders.
        wait_time: seconds for which an image is shown.
        tta: average the image and its mirror image, or the views of the config's own ``tta_pipeline``.
        launcher: "none", "pytorch", "slurm" or "mpi".
    """

    work_dir: str | None = None
    out: str | None = None
    show: bool = False
    show_dir: str | None = None
    wait_time: float = 2.0
    tta: bool = False
    launcher: str = "none"


def evaluate(config: Config, run: Run | None = None) -> dict[str, Any]:
    """Segment the config's data set and score it.

    Args:
        config: from ``load_config``; it is not changed.
        run: the flags; None for the defaults.

    Returns:
        The record that is also written to ``results.json``, by the first process; its path is the record's
        "file".

    Raises:
        OvsegError: settings, data or weights are wrong; checked before the first image where possible.
    """
    run = run or Run()
    config = prepare(config, run)
    checked = check_dataset(config)
    with building(str(config.filename or "the config")):
        runner = QuietRunner.from_cfg(config)
        _ = runner.test_loop  # built here, so that its errors are reported as the config's
    if config.get("load_from"):
        with building(f"load_from {config.load_from}"):
            runner.load_or_resume()
    started, clock = datetime.now(timezone.utc), perf_counter()
    count = ImageCount()
    runner.test_evaluator.metrics.append(count)
    with progress_of(runner):
        summary = runner.test()
    seconds = perf_counter() - clock
    found = record(runner, summary, checked, count.images, started, seconds)
    return write_results(found, Path(runner.log_dir)) if runner.rank == 0 else found


def prepare(config: Config, run: Run) -> Config:
    """Copy ``config`` for the runner and apply the flags.

    Connects the processes of a launcher and creates the result folders. Raises UsageError if that fails or a flag
    needs something that the config lacks.
    """
    config = copy.deepcopy(config)
    stem = Path(config.filename or "config").stem
    config.launcher = run.launcher
    given = config.get("work_dir") if run.work_dir is None else run.work_dir
    config.work_dir = str(Path("work_dirs") / stem) if given is None else given
    config.experiment_name = f"{stem}_{uuid4().hex[:8]}"  # mmengine caches logger and visualizer by name
    check_number("--wait-time", run.wait_time, 0, math.inf)
    connect(run.launcher)
    for what, folder in (("--work-dir", config.work_dir), ("--out", run.out), ("--show-dir", run.show_dir)):
        if folder is not None:
            writable_folder(what, folder)
    checkpoint = config.get("load_from")
    if checkpoint and "://" not in checkpoint and not Path(checkpoint).is_file():
        raise UsageError(f"expected load_from as a checkpoint, {checkpoint} does not exist")
    _write_predictions(config, run)
    if config.model.type == OpenVocabularySegmentor.__name__:
        config.model.setdefault("keep_logits", run.tta)  # scores need classes only
    if run.tta:
        if "tta_model" not in config:
            raise UsageError("--tta needs tta_model in the config, found none")
        dataset = config.test_dataloader.dataset
        dataset.pipeline = config.get("tta_pipeline") or mirrored(dataset.pipeline)
        config.model = dict(**config.tta_model, module=config.model)
    return config


def writable_folder(what: str, folder: str | Path) -> Path:
    """Create a folder if needed, and check that it is writable.

    Raises:
        UsageError: it cannot be created or is not writable.
    """
    if not str(folder).strip():
        raise UsageError(f"expected {what} as a folder, got an empty text")
    made = make_folder(Path(folder))
    try:
        with tempfile.TemporaryFile(dir=made):
            pass
    except OSError as error:
        raise UsageError(f"expected {what} as a folder to write into, {folder}: {error.strerror}") from None
    return made


def _write_predictions(config: Config, run: Run) -> None:
    """Set up --out, --show and --show-dir; files keep the sub-folders of the data set's images."""
    settings = config.test_dataloader.dataset
    images = (settings.get("data_prefix") or {}).get("img_path") or ""
    image_root = str(Path(settings.get("data_root") or "") / images)
    writers = [metric for metric in metrics_of(config) if metric["type"] in WRITERS]
    for metric in writers:
        if metric["type"] == "ExactIoUMetric":
            metric.setdefault("image_root", image_root)
    if run.out is not None:
        if not writers:
            raise UsageError(f"--out needs {' or '.join(WRITERS)} in test_evaluator, found none")
        writers[0].update(output_dir=run.out)
    if run.show or run.show_dir:
        hook = dict(
            type="PaintHook",
            folder=run.show_dir,
            image_root=image_root,
            show=run.show,
            wait_time=run.wait_time,
        )
        config.custom_hooks = [*(config.get("custom_hooks") or ()), hook]


def mirrored(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make a test pipeline end in two views: the image and its mirror image.

    Args:
        pipeline: the config's test pipeline, which ends in PackSegInputs.

    Returns:
        The same transforms, with TestTimeAug around the last one, as ``--tta`` needs it.

    Raises:
        UsageError: the pipeline does not end in PackSegInputs.

    >>> [step["type"] for step in mirrored([{"type": "ClipResize", "size": 64}, {"type": "PackSegInputs"}])]
    ['ClipResize', 'TestTimeAug']
    """
    *steps, pack = (dict(step) for step in pipeline) if pipeline else ({},)
    if pack.get("type") != "PackSegInputs":
        raise UsageError(f"--tta needs a pipeline that ends in PackSegInputs, got {pack.get('type')}")
    views = [dict(type="RandomFlip", prob=prob, direction="horizontal") for prob in (0.0, 1.0)]
    return [*steps, dict(type="TestTimeAug", transforms=[views, [pack]])]


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
        methods: names of methods; "all" for every one, empty for each config's own.
        options: new values of fields, for every config.
        backbone: a model, to replace every config's.
        weights: a tag or checkpoint, to replace every config's.
        run: the flags; results go to ``work_dir/CONFIG/METHOD``.

    Yields:
        (method, record), each when it is finished.

    Raises:
        OvsegError: a config or a data set is wrong; all are checked before the first image is encoded.
    """
    if not paths:
        raise UsageError("expected at least one config, got none")
    for path in paths:  # first, because a config may register methods
        load_config(path, options)
    known = [
        name for name in METHODS if "_normalised" not in name
    ]  # the option of the public code for ResNets
    chosen = [*(known if "all" in methods else (get_method(name).name for name in methods))] or [None]
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
