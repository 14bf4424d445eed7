"""One config to one score: checked, run by mmengine, written down with everything that led to it."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import distributed

from ovseg.clip import embedded
from ovseg.clip.attention import get_method
from ovseg.errors import UsageError
from ovseg.mmseg.checks import check_dataset
from ovseg.mmseg.results import record, write_results
from ovseg.mmseg.segmentor import OpenVocabularySegmentor


@dataclass(frozen=True)
class Run:
    """How a config is run: what the flags of tools/test.py say besides the config itself.

    ``out``: folder for predictions as PNG; ``show`` and ``show_dir``: painted images, in a window or
    in a folder; ``tta``: the image and its mirror image averaged, or the views of the config's own
    ``tta_pipeline``; ``launcher``: "none", "pytorch", "slurm" or "mpi".
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
    """The config of ``path`` with ``options`` ("model.logit_scale": 40) and the three fields of the model.

    The embedded model ("tiny") has its own weights; another ``backbone`` keeps the config's tag.
    Raises UsageError for a config that cannot be read, an option that fits nowhere, or a field of the
    segmentor that does not exist.
    """
    if not Path(path).is_file():
        raise UsageError(f"wanted a config file, {path} does not exist")
    try:
        config = Config.fromfile(path)
        config.merge_from_dict(dict(options or {}))
    except Exception as error:  # mmengine raises whatever the file or the option leads to
        raise UsageError(f"{path} cannot be used: {type(error).__name__}: {error}") from None
    if "model" not in config or "test_dataloader" not in config:
        raise UsageError(f"wanted a config with model and test_dataloader, {path} lacks one")
    config.pop("pipelines", None)  # those of configs/_base_ that this config did not take
    if backbone == embedded.NAME:
        config.model.weights = None
    fields = {"method": method, "backbone": backbone, "weights": weights}
    config.model.update({name: value for name, value in fields.items() if value is not None})
    if config.model.type == OpenVocabularySegmentor.__name__:
        check_fields(config.model)
    return config


def check_fields(model: Mapping[str, Any]) -> None:
    """Raise UsageError for a field that the segmentor lacks, or a method that does not exist."""
    known = list(inspect.signature(OpenVocabularySegmentor.__init__).parameters)[1:]
    for name in model:
        if name != "type" and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {near[0]}?" if near else f": wanted one of {', '.join(known)}"
            raise UsageError(f"the model has no field {name!r}{hint}")
    get_method(model.get("method", "clip_surgery"))


def evaluate(config: Config, run: Run | None = None) -> dict[str, Any]:
    """Segment the config's data set and score it; the record that is also in ``results.json``.

    Under a launcher the first process writes the file, whose path is the record's "file". Raises
    OvsegError, before the first image is encoded where that is possible.
    """
    run = run or Run()
    config = prepare(config, run)
    images = check_dataset(config)
    runner = Runner.from_cfg(config)
    started, clock = datetime.now(timezone.utc), perf_counter()
    summary = runner.test()
    seconds = perf_counter() - clock
    found = record(runner, summary, images, started, seconds)
    return write_results(found, Path(runner.log_dir)) if runner.rank == 0 else found


def prepare(config: Config, run: Run) -> Config:
    """A copy of ``config`` for the runner, with the flags in it; the processes of a launcher are connected."""
    config = copy.deepcopy(config)
    stem = Path(config.filename or "config").stem
    config.launcher = run.launcher
    config.work_dir = run.work_dir or config.get("work_dir") or str(Path("work_dirs") / stem)
    config.experiment_name = f"{stem}_{uuid4().hex[:8]}"  # mmengine keeps one logger and visualizer a name
    if run.launcher == "pytorch" and not torch.cuda.is_available() and not distributed.is_initialized():
        distributed.init_process_group("gloo")  # mmengine's own way asks for a GPU
    if run.out is not None:
        config.test_evaluator.update(output_dir=run.out, keep_results=True)
    if run.show or run.show_dir:
        shown = dict(draw=True, interval=1, show=run.show, wait_time=run.wait_time)
        config.default_hooks.visualization = dict(type="SegVisualizationHook", **shown)
    if run.show_dir:
        config.visualizer.save_dir = run.show_dir
    if config.model.type == OpenVocabularySegmentor.__name__:
        config.model.setdefault("keep_logits", run.tta)  # scores need classes only
    if run.tta:
        if "tta_model" not in config:
            raise UsageError("--tta wanted tta_model in the config, found none")
        dataset = config.test_dataloader.dataset
        dataset.pipeline = config.get("tta_pipeline") or mirrored(dataset.pipeline)
        config.model = dict(**config.tta_model, module=config.model)
    return config


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
        raise UsageError(f"--tta wanted a pipeline that ends in PackSegInputs, got {pack.get('type')}")
    views = [dict(type="RandomFlip", prob=prob, direction="horizontal") for prob in (0.0, 1.0)]
    return [*steps, dict(type="TestTimeAug", transforms=[views, [pack]])]
