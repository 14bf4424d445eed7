"""One config to one score: checked, run by mmengine, written down with everything that led to it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

from mmengine.config import Config
from mmengine.runner import Runner

from ovseg.errors import UsageError
from ovseg.mmseg.checks import building, check_dataset
from ovseg.mmseg.environment import connect, writable_folder
from ovseg.mmseg.fields import check_config, check_fields, check_options, metrics_of
from ovseg.mmseg.metrics import ImageCount
from ovseg.mmseg.results import record, write_results
from ovseg.mmseg.runtime import progress_of
from ovseg.mmseg.segmentor import OpenVocabularySegmentor
from ovseg.options.checks import check_number
from ovseg.weights.known import EMBEDDED

WRITERS = ("ExactIoUMetric", "CityscapesIoUMetric")
"""Metrics that write predictions, each image to a file of its own."""


@dataclass(frozen=True)
class Run:
    """How a config is run: what the flags of tools/test.py say besides the config itself.

    Attributes:
        work_dir: folder for logs and results; None for ``work_dirs/NAME_OF_CONFIG``.
        out: folder for the predictions as PNG, with the images' sub-folders.
        show: show each painted image in a window.
        show_dir: folder for painted images, with the images' sub-folders.
        wait_time: seconds that a shown image stays.
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


def load_config(
    path: str | Path,
    options: Mapping[str, Any] | None = None,
    method: str | None = None,
    backbone: str | None = None,
    weights: str | None = None,
) -> Config:
    """Read a config and change some of its fields.

    Args:
        path: a config file of MMSegmentation.
        options: other values for any field, such as {"model.logit_scale": 40}.
        method: another row of the table of methods.
        backbone: another model. "small" and "tiny" have their own weights; others keep the config's.
        weights: another tag of open_clip's or a checkpoint.

    Returns:
        The config.

    Raises:
        UsageError: the file is missing or cannot be read, no run reads the field of an option, a part has
            another type than MMSegmentation takes, or the segmentor has no such field.
    """
    if not Path(path).is_file():
        problem = "is a folder" if Path(path).is_dir() else "does not exist"
        raise UsageError(f"expected a config file, {path} {problem}")
    with building(str(path)):
        config = Config.fromfile(path)
    check_options(options or {})
    with building("--cfg-options"):
        config.merge_from_dict(dict(options or {}))
    check_config(config, path)
    config.pop("pipelines", None)  # those of configs/_base_ that this config did not take
    if backbone in EMBEDDED:
        config.model.weights = None
    fields = {"method": method, "backbone": backbone, "weights": weights}
    config.model.update({name: value for name, value in fields.items() if value is not None})
    if config.model.type == OpenVocabularySegmentor.__name__:
        check_fields(config.model)
    return config


def evaluate(config: Config, run: Run | None = None) -> dict[str, Any]:
    """Segment the config's data set and score it.

    Args:
        config: of ``load_config``; it is not changed.
        run: the flags besides; None for none.

    Returns:
        The record that is also in ``results.json``. Under a launcher the first process writes the file, whose
        path is the record's "file".

    Raises:
        OvsegError: settings, data or weights are wrong, before the first image is encoded where that is
            possible.
    """
    run = run or Run()
    config = prepare(config, run)
    checked = check_dataset(config)
    with building(str(config.filename or "the config")):
        runner = Runner.from_cfg(config)
        _ = runner.test_loop  # built now, where an error is one of the config
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
    """A copy of ``config`` for the runner, with the flags in it.

    The processes of a launcher are connected, and the folders for results are made. Raises UsageError where
    that cannot be, or a flag wants something that the config lacks.
    """
    config = copy.deepcopy(config)
    stem = Path(config.filename or "config").stem
    config.launcher = run.launcher
    given = config.get("work_dir") if run.work_dir is None else run.work_dir
    config.work_dir = str(Path("work_dirs") / stem) if given is None else given
    config.experiment_name = f"{stem}_{uuid4().hex[:8]}"  # mmengine keeps one logger and visualizer a name
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
    """The transforms of a test pipeline with two views at its end: the image and its mirror image.

    Args:
        pipeline: the config's test pipeline, which ends in PackSegInputs.

    Returns:
        The same transforms, the last one packed once for each view, as ``--tta`` needs it.

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
