"""The results file: the score with everything that led to it, so that it can be met again."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ovseg.errors import UsageError
from ovseg.mmseg.scores import ExactIoUMetric
from ovseg.mmseg.segmentor import OpenVocabularySegmentor
from ovseg.paths import sha256_of

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
    runner: Any, summary: Mapping[str, float], images: int, started: datetime, seconds: float
) -> dict[str, Any]:
    """Everything about a finished run, as JSON takes it; scores in percent, None where there is none."""
    config = runner.cfg
    model = getattr(runner.model, "module", runner.model)  # from its wrapper under a launcher
    views = "module" in config.model
    segmentor = getattr(model, "module", model) if views else model
    names = list(runner.test_dataloader.dataset.metainfo["classes"])
    found = {
        "summary": {name: _number(value) for name, value in summary.items()},
        "mIoU": _mean_iou(runner),
        "classes": _classes(runner, names),
        "dataset": {
            "type": config.test_dataloader.dataset.type,
            "data_root": config.test_dataloader.dataset.get("data_root"),
            "images": images,
        },
        "protocol": protocol(config, segmentor, views),
        "weights": weights(segmentor),
        "config": {"file": config.filename, "text": config.pretty_text},
        "versions": versions(),
        "time": {
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "seconds per image": round(seconds / images, 4),
            "processes": runner.world_size,
            "device": str(next(segmentor.parameters()).device),
        },
    }
    return json.loads(json.dumps(found))  # tuples and lists alike, as whoever reads the file gets them


def protocol(config: Any, segmentor: Any, views: bool) -> dict[str, Any]:
    """The choices that decide a score, those of the segmentor read from the object that was run."""
    transforms = [dict(step) for step in config.test_dataloader.dataset.pipeline]
    found = {"name": config.get("protocol"), "pipeline": transforms, "views averaged": views}
    if isinstance(segmentor, OpenVocabularySegmentor):
        found |= segmentor.describe()
    return found


def weights(segmentor: Any) -> dict[str, Any]:
    """Which file the weights came from, and its sha256; none where they are random."""
    if not isinstance(segmentor, OpenVocabularySegmentor):
        return {}
    file = segmentor.core.loaded.file
    sha256 = None if file is None else sha256_of(file)
    return {"name": segmentor.weights, "file": None if file is None else file.name, "sha256": sha256}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_results(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``found`` as ``folder/results.json``, whole or not at all; its path is added as "file"."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / FILE
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, target)
    return {**found, "file": str(target)}


def comparison(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A markdown table of mIoU: a line per name, a column per data set, from the records of each."""
    columns = list(dict.fromkeys(_column(found) for records in rows.values() for found in records))
    if not columns:
        raise UsageError("wanted at least one result to compare, got none")
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


def _mean_iou(runner: Any) -> float | None:
    """In percent, not rounded, over the classes that occur in label or prediction."""
    metric = _metric(runner)
    known = [] if metric is None else [v for v in metric.per_class["IoU"] if not math.isnan(v)]
    return sum(known) / len(known) if known else None


def _number(value: Any) -> float | None:
    return None if math.isnan(float(value)) else float(value)
