"""The fields of a config: which there are, and of which type, checked before anything is built from them.

MMSegmentation takes a misspelt field without a word, and a value of another type ends in an error from deep
inside it, in some cases only after the last image.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ovseg.clip.attention import get_method
from ovseg.errors import UsageError, described
from ovseg.mmseg.segmentor import OpenVocabularySegmentor
from ovseg.options.checks import check_flag, check_text

TEXTS = ("work_dir", "load_from", "default_scope", "protocol")
DICTS = (
    "default_hooks",
    "env_cfg",
    "log_processor",
    "model_wrapper_cfg",
    "randomness",
    "test_cfg",
    "tta_model",
    "visualizer",
)
LISTS = ("custom_hooks", "tta_pipeline")
READ = (
    "model",
    "data_preprocessor",
    "test_dataloader",
    "test_evaluator",
    "log_level",
    *TEXTS,
    *DICTS,
    *LISTS,
)
"""The fields of a config that decide a run. Others are names that the config file uses within itself."""
ENVIRONMENT = ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit")
"""The fields of env_cfg that mmengine reads; it takes any other without a word."""
INSTEAD = {
    "data_root": "test_dataloader.dataset.data_root",
    "test_pipeline": "test_dataloader.dataset.pipeline",
    "vocabulary": "model.vocabulary",
    "pipelines": "test_dataloader.dataset.pipeline",
    "vis_backends": "visualizer.vis_backends",
    "launcher": "--launcher",
}
"""What to change instead of a name that a config file has copied into a field when it was read."""


def check_options(options: Mapping[str, object]) -> None:
    """Raise UsageError for an option of --cfg-options whose field no run reads."""
    for key in options:
        first = key.split(".")[0]
        if first not in READ:
            near = INSTEAD.get(first) or next(iter(difflib.get_close_matches(first, READ, n=1)), None)
            hint = f"did you mean {near}?" if near else f"expected one of {', '.join(sorted(READ))}"
            raise UsageError(f"--cfg-options {key}: a run reads no field {first!r}: {hint}")


def check_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError for a name that is not among ``known``, with the nearest one that is."""
    known = list(known)
    for name in names:
        if name != "type" and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {near[0]}?" if near else f": expected one of {', '.join(known)}"
            raise UsageError(f"{what} has no field {name!r}{hint}")


def check_fields(model: Mapping[str, Any]) -> None:
    """Raise UsageError for a field that the segmentor lacks, or a method that does not exist."""
    known = list(inspect.signature(OpenVocabularySegmentor.__init__).parameters)[1:]
    check_known("the model", model, known)
    get_method(model.get("method", "clip_surgery"))


def metrics_of(config: Config) -> list[Any]:
    """The settings of the metrics: ``test_evaluator`` may be one or a list of several."""
    evaluator = config.get("test_evaluator")
    found = list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]
    if not found or not all(isinstance(metric, Mapping) and "type" in metric for metric in found):
        raise UsageError(
            f"expected test_evaluator as a metric or a list of metrics, got {described(evaluator)}"
        )
    return found


def check_config(config: Config, path: str | Path) -> None:
    """Raise UsageError where a part of the config is missing or of another type than MMSegmentation takes."""
    if "model" not in config or "test_dataloader" not in config:
        raise UsageError(f"expected a config with model and test_dataloader, {path} lacks one")
    for name in ("model", "test_dataloader", "test_dataloader.dataset"):
        _wanted_dict(name, _field(config, name), path)
    for name in ("model.type", "test_dataloader.dataset.type"):
        if not isinstance(_field(config, name), str):
            raise UsageError(f"expected {name} of {path} as a text, got {described(_field(config, name))}")
    _check_types(config, path)
    _check_dataset_fields(config.test_dataloader.dataset, path)
    metrics_of(config)


def _field(config: Config, name: str) -> Any:
    """The value of a field such as "model.type", whose parents are dicts; None where there is none."""
    found: Any = config
    for key in name.split("."):
        found = found.get(key)
    return found


def _wanted_dict(name: str, value: object, path: str | Path) -> None:
    if not isinstance(value, Mapping):
        raise UsageError(f"expected {name} of {path} as a dict, got {described(value)}")


def _check_types(config: Config, path: str | Path) -> None:
    """The types of everything besides the model and the data set."""
    for name in TEXTS:
        if config.get(name) is not None:
            check_text(f"{name} of {path}", config[name])
    dicts = (*DICTS, "test_dataloader.sampler", "test_dataloader.batch_sampler", "test_dataloader.collate_fn")
    for name in dicts:
        if _field(config, name) is not None:
            _wanted_dict(name, _field(config, name), path)
    for name in LISTS:
        _wanted_list(name, config.get(name), path)
    check_known("env_cfg", config.get("env_cfg") or {}, ENVIRONMENT)
    if config.get("resume"):  # it would load whatever another run left in the folder for results
        raise UsageError(
            f"expected resume of {path} as False, got {described(config.resume)}: load_from names weights"
        )


def _wanted_list(name: str, value: object, path: str | Path) -> None:
    right = isinstance(value, list) and all(isinstance(step, Mapping) for step in value)
    if value is not None and not right:
        raise UsageError(f"expected {name} of {path} as a list of dicts, got {described(value)}")


def _check_dataset_fields(dataset: Mapping[str, Any], path: str | Path) -> None:
    prefixes = dataset.get("data_prefix") or {}
    _wanted_dict("test_dataloader.dataset.data_prefix", prefixes, path)
    paths = {"data_root": dataset.get("data_root"), "ann_file": dataset.get("ann_file"), **prefixes}
    for name, value in paths.items():
        if value is not None and not isinstance(value, str):
            raise UsageError(
                f"expected test_dataloader.dataset's {name} of {path} as a text, got {described(value)}"
            )
    for name in ("reduce_zero_label", "test_mode", "lazy_init"):
        if dataset.get(name) is not None:
            check_flag(f"test_dataloader.dataset.{name} of {path}", dataset[name])
    if dataset.get("pipeline") is None:
        raise UsageError(f"expected test_dataloader.dataset.pipeline of {path} as a list of dicts, got None")
    _wanted_list("test_dataloader.dataset.pipeline", dataset["pipeline"], path)
