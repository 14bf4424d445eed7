"""Read a config, change some of its fields, and check all fields and types before anything is built.

MMSegmentation ignores a misspelt field, and a value of a wrong type fails deep inside it, sometimes only after
the last image.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ovseg.clip.attention import get_method
from ovseg.errors import OvsegError, UsageError, described
from ovseg.mmseg.segmentor import FIELDS, OpenVocabularySegmentor
from ovseg.options.checks import check_flag, check_text
from ovseg.options.fields import check_known
from ovseg.weights.known import EMBEDDED

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
"""The fields of a config that a run reads. Others are variables of the config file itself."""
ENVIRONMENT = ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit")
"""The fields of env_cfg that mmengine reads; it ignores any other."""
INSTEAD = {
    "data_root": "test_dataloader.dataset.data_root",
    "test_pipeline": "test_dataloader.dataset.pipeline",
    "vocabulary": "model.vocabulary",
    "pipelines": "test_dataloader.dataset.pipeline",
    "vis_backends": "visualizer.vis_backends",
    "launcher": "--launcher",
}
"""Variable of a config file -> the field it was copied into, to be changed instead."""
DICT, LIST = "a dict", "a list of dicts"


@contextmanager
def building(what: str) -> Iterator[None]:
    """Turn any exception of mmengine while it builds ``what`` into a one-line UsageError."""
    try:
        yield
    except OvsegError:
        raise
    except Exception as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        reason = text.split(". Please check")[0]  # mmengine appends a link
        raise UsageError(f"{what} cannot be used: {type(error).__name__}: {reason}") from None


def load_config(
    path: str | Path,
    options: Mapping[str, Any] | None = None,
    method: str | None = None,
    backbone: str | None = None,
    weights: str | None = None,
) -> Config:
    """Read a config and change some of its fields.

    Args:
        path: a config file of MMSegmentation. Modules in its ``custom_imports`` are imported: they may
            register methods, data sets or transforms.
        options: new values of any fields, such as {"model.logit_scale": 40}.
        method: the name of a method, to replace the config's.
        backbone: a model, to replace the config's. "small" and "tiny" have their own weights; others keep the
            config's.
        weights: a tag of open_clip or a checkpoint, to replace the config's.

    Raises:
        UsageError: the file is missing or cannot be read, an option names an unused field, a value has a wrong
            type, or the segmentor has no such field.
    """
    if not Path(path).is_file():
        problem = "is a folder" if Path(path).is_dir() else "does not exist"
        raise UsageError(f"expected a config file, {path} {problem}")
    with building(str(path)):
        config = Config.fromfile(path)
    _check_options(options or {})
    with building("--cfg-options"):
        config.merge_from_dict(dict(options or {}))
    _check_types(config, path)
    config.pop("pipelines", None)  # the unused ones of configs/_base_
    if backbone in EMBEDDED:
        config.model.weights = None
    fields = {"method": method, "backbone": backbone, "weights": weights}
    config.model.update({name: value for name, value in fields.items() if value is not None})
    if config.model.type == OpenVocabularySegmentor.__name__:
        check_known(config.model, ("type", *FIELDS), "field of the model")
        get_method(config.model.get("method", "clip_surgery"))
    return config


def metrics_of(config: Config) -> list[Any]:
    """The settings of the metrics: ``test_evaluator`` may be one or a list of several."""
    evaluator = config.get("test_evaluator")
    found = list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]
    if not found or not all(isinstance(metric, Mapping) and "type" in metric for metric in found):
        raise UsageError(
            f"expected test_evaluator as a metric or a list of metrics, got {described(evaluator)}"
        )
    return found


def _check_options(options: Mapping[str, object]) -> None:
    """Raise UsageError if a run does not read the field of an option of --cfg-options."""
    for key in options:
        first = key.split(".")[0]
        if first not in READ:
            near = INSTEAD.get(first) or next(iter(difflib.get_close_matches(first, READ, n=1)), None)
            hint = f"did you mean {near}?" if near else f"expected one of {', '.join(sorted(READ))}"
            raise UsageError(f"--cfg-options {key}: a run reads no field {first!r}: {hint}")


def _check_types(config: Config, path: str | Path) -> None:
    """Raise UsageError if a part of the config is missing or has a type that MMSegmentation does not accept."""
    if "model" not in config or "test_dataloader" not in config:
        raise UsageError(f"expected a config with model and test_dataloader, {path} lacks one")
    for name in ("model", "test_dataloader", "test_dataloader.dataset"):
        _expect(DICT, name, _field(config, name), path)
    for name in ("model.type", "test_dataloader.dataset.type"):
        check_text(f"{name} of {path}", _field(config, name))
    loader = ("sampler", "batch_sampler", "collate_fn")
    for kind, names in (
        ("a text", TEXTS),
        (DICT, (*DICTS, *(f"test_dataloader.{name}" for name in loader))),
        (LIST, LISTS),
    ):
        for name in names:
            if _field(config, name) is not None:
                _expect(kind, name, _field(config, name), path)
    check_known(config.get("env_cfg") or {}, ENVIRONMENT, "field of env_cfg")
    if config.get("resume"):  # it would load what an earlier run left in the results folder
        raise UsageError(
            f"expected resume of {path} as False, got {described(config.resume)}: load_from names weights"
        )
    _check_dataset_types(config.test_dataloader.dataset, path)
    metrics_of(config)


def _check_dataset_types(dataset: Mapping[str, Any], path: str | Path) -> None:
    where = "test_dataloader.dataset"
    prefixes = dataset.get("data_prefix") or {}
    _expect(DICT, f"{where}.data_prefix", prefixes, path)
    paths = {"data_root": dataset.get("data_root"), "ann_file": dataset.get("ann_file"), **prefixes}
    for name, value in paths.items():
        if value is not None:
            check_text(f"{where}'s {name} of {path}", value, empty=True)
    for name in ("reduce_zero_label", "test_mode", "lazy_init"):
        if dataset.get(name) is not None:
            check_flag(f"{where}.{name} of {path}", dataset[name])
    _expect(LIST, f"{where}.pipeline", dataset.get("pipeline"), path)


def _field(config: Config, name: str) -> Any:
    """The value of a field such as "model.type", whose parents are dicts, or None."""
    found: Any = config
    for key in name.split("."):
        found = found.get(key)
    return found


def _expect(kind: str, name: str, value: object, path: str | Path) -> None:
    """Raise UsageError if the value of a field is not of this kind."""
    if kind == "a text":
        check_text(f"{name} of {path}", value)
        return
    parts = value if kind == LIST and isinstance(value, list) else [value]
    if (kind == LIST and not isinstance(value, list)) or not all(isinstance(one, Mapping) for one in parts):
        raise UsageError(f"expected {name} of {path} as {kind}, got {described(value)}")
