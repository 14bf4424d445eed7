"""The results file: the score with everything needed to reproduce it."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ovseg.errors import UsageError
from ovseg.files.paths import sha256_of
from ovseg.files.write import make_folder, write_json
from ovseg.mmseg.checks import Checked
from ovseg.mmseg.metrics import ExactIoUMetric
from ovseg.mmseg.segmentor import OpenVocabularySegmentor
from ovseg.weights.device import has_bf16
from ovseg.weights.files import state_digest

FILE = "results.json"
PACKAGES = (
    "ovseg",
    "torch",
    "open_clip_torch",
    "mmsegmentation",
    "mmengine",
    "mmcv-lite",
    "mmcv",
    "numpy",
    "opencv-python",
)


def record(
    runner: Any,
    summary: Mapping[str, float],
    checked: Checked,
    images: int,
    started: datetime,
    seconds: float,
) -> dict[str, Any]:
    """Collect everything about a finished run as JSON content.

    Args:
        runner: mmengine's, after its test.
        summary: the result of the metrics.
        checked: facts about the data set.
        images: number of images that reached the metrics.
        started: the start time.
        seconds: the duration.

    Returns:
        Scores in percent, None if undefined, and what led to them. Weights and vocabulary are those now in the
        model, including a checkpoint that was loaded over the first weights.
    """
    config = runner.cfg
    model = getattr(runner.model, "module", runner.model)  # under a launcher it is wrapped
    views = "module" in config.model
    segmentor = getattr(model, "module", model) if views else model
    words = segmentor.vocabulary if isinstance(segmentor, OpenVocabularySegmentor) else None
    names = list(runner.test_dataloader.dataset.metainfo["classes"])
    found = {
        "summary": {name: _number(value) for name, value in summary.items()},
        "mIoU": _mean_iou(runner, summary),
        "classes": _classes(runner, names),
        "dataset": _dataset(config.test_dataloader.dataset, checked, images),
        "protocol": protocol(config, segmentor, views),
        "vocabulary": {**words.describe(), "sha256": words.digest()} if words else {},
        "weights": weights(segmentor, config.get("load_from")) if words else {},
        "config": {"file": config.filename, "text": config.pretty_text},
        "versions": versions(),
        "time": {
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "seconds per image": round(seconds / images, 4) if images else None,
            "processes": runner.world_size,
            **_device(next(segmentor.parameters()).device),
        },
    }
    return json.loads(json.dumps(found))  # tuples become lists, as for readers of the file


def _dataset(settings: Any, checked: Checked, images: int) -> dict[str, Any]:
    return {
        "type": settings.type,
        "data_root": settings.get("data_root"),
        "images": images,
        "images in the data set": checked.images,
        "classes": checked.classes,
        "turned by EXIF at the same size": checked.turned,
    }


def _device(device: torch.device) -> dict[str, str]:
    return {"device": str(device), "device name": device_name(device)}


def protocol(config: Any, segmentor: Any, views: bool) -> dict[str, Any]:
    """The choices that a score depends on; the segmentor's are read from the object that was run."""
    transforms = [dict(step) for step in config.test_dataloader.dataset.pipeline]
    found = {"name": config.get("protocol"), "pipeline": transforms, "views averaged": views}
    return found | (segmentor.describe() if isinstance(segmentor, OpenVocabularySegmentor) else {})


def weights(segmentor: OpenVocabularySegmentor, load_from: str | None = None) -> dict[str, Any]:
    """Identify the weights that were used.

    Args:
        segmentor: after its run.
        load_from: a checkpoint of mmengine that was loaded over the segmentor's own weights.

    Returns:
        "name", "file" and "sha256" of the file that was read last, None for random weights, and "state", a
        SHA-256 of the tensors in the model, which also tells of weights that were changed in memory.
    """
    file = Path(load_from) if load_from else segmentor.core.loaded.file
    return {
        "name": load_from or segmentor.weights,
        "file": None if file is None else file.name,
        "sha256": sha256_of(file) if file is not None and file.is_file() else None,
        "state": state_digest(segmentor.clip),
    }


def device_name(device: torch.device) -> str:
    """The accelerator's name as its driver gives it, or the processor's as the system does."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    return name if has_bf16() else f"{name} without bf16 instructions"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_results(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write ``found`` atomically as ``folder/results.json``; its path is added as "file"."""
    target = make_folder(folder) / FILE
    write_json(target, found)
    return {**found, "file": str(target)}


def comparison(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A markdown table of mIoU: a row per name, a column per data set."""
    columns = list(dict.fromkeys(_column(found) for records in rows.values() for found in records))
    if not columns:
        raise UsageError("expected at least one result to compare, got none")
    lines = ["| mIoU | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name, records in rows.items():
        scores = {_column(found): found["mIoU"] for found in records}
        cells = ["" if scores.get(c) is None else f"{scores[c]:.1f}" for c in columns]
        lines.append("| " + " | ".join((name, *cells)) + " |")
    return "\n".join(lines)


def _column(found: Mapping[str, Any]) -> str:
    protocol = found["protocol"]
    name = protocol.get("vocabulary") or found["dataset"]["type"]
    return f"{Path(name).stem if name.endswith('.txt') else name}, {protocol['name']}"


def _metric(runner: Any) -> ExactIoUMetric | None:
    metrics = runner.test_evaluator.metrics
    return next((m for m in metrics if isinstance(m, ExactIoUMetric) and hasattr(m, "per_class")), None)


def _classes(runner: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    metric = _metric(runner)
    if metric is None:
        return []
    scores = {field: map(_number, values) for field, values in metric.per_class.items()}
    return [{"name": name, **dict(zip(scores, row))} for name, row in zip(names, zip(*scores.values()))]


def _mean_iou(runner: Any, summary: Mapping[str, float]) -> float | None:
    """mIoU in percent over the classes that occur in labels or predictions.

    It is unrounded for ExactIoUMetric; other metrics give the value of their summary.
    """
    metric = _metric(runner)
    if metric is None:
        return _number(summary["mIoU"]) if "mIoU" in summary else None
    known = [v for v in metric.per_class["IoU"] if not math.isnan(v)]
    return sum(known) / len(known) if known else None


def _number(value: Any) -> float | None:
    return None if math.isnan(float(value)) else float(value)
