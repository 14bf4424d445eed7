"""Check a run's settings before any weights are read; errors are one line."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.evaluator import BaseMetric
from mmengine.registry import init_default_scope
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS, METRICS

from ovseg.errors import DataError, UsageError, described
from ovseg.mmseg.config import building, metrics_of
from ovseg.mmseg.files import check_files, check_no_image_twice, check_nothing_is_skipped, check_some_labels
from ovseg.mmseg.metrics import ExactIoUMetric, check_void
from ovseg.mmseg.segmentor import OpenVocabularySegmentor
from ovseg.options.checks import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_text,
    check_words,
)
from ovseg.options.fields import check_known
from ovseg.results import void_value
from ovseg.words.vocabulary import find_vocabulary

MOST_WORKERS = 1024
OMITTING = ("drop_last", "num_batch_per_epoch")
"""Fields of a data loader that drop images; test_dataloader.dataset.indices is the deliberate way."""
SCORES = ("mIoU", "mDice", "mFscore")
"""The scores of mmseg's IoUMetric."""
LOADERS = ("LoadAnnotations", "LoadLabels")


@dataclass(frozen=True)
class Checked:
    """Facts about a data set that was checked.

    Attributes:
        images: number of images.
        classes: number of classes.
        turned: number of images that EXIF turns without swapping their sides, so that sizes cannot show whether
            the label belongs to the upright image; this is assumed.
    """

    images: int
    classes: int
    turned: int


def check_dataset(config: Config) -> Checked:
    """Check the data set of ``config.test_dataloader``, its pipeline and the metrics.

    Raises:
        DataError: a folder, an image or a label is missing or unreadable; an image would be skipped or is listed
            twice; a label has no image, a wrong size, or (in a sample of labels) a value outside the classes.
        UsageError: vocabulary and data set differ in their number of classes; a part of the config cannot be
            built, or a field of the data loader or of a metric is wrong.
    """
    loader = config.test_dataloader
    check_integer("test_dataloader.batch_size", loader.get("batch_size", 1), 1, 2**20)
    check_integer("test_dataloader.num_workers", loader.get("num_workers", 0), 0, MOST_WORKERS)
    if loader.get("timeout") and not loader.get("num_workers"):
        raise UsageError(f"test_dataloader.timeout {described(loader.timeout)} needs num_workers above 0")
    for name in OMITTING:
        if loader.get(name):
            raise UsageError(
                f"expected no test_dataloader.{name}, got {described(loader[name])}: it omits images"
            )
    settings = loader.dataset
    init_default_scope(config.get("default_scope") or "mmseg")  # mmcv has a LoadAnnotations of its own
    with building("test_dataloader.dataset"):
        _check_folders(settings)
        whole = {key: value for key, value in settings.to_dict().items() if key != "indices"}
        dataset = DATASETS.build({**settings.to_dict(), "pipeline": [], "serialize_data": False})
        everything = dataset
        if settings.get("indices") is not None:
            everything = DATASETS.build({**whole, "pipeline": [], "serialize_data": False})
    classes = len(dataset.metainfo["classes"])
    _check_vocabulary(config, str(settings.type), classes)
    fit_to_classes(config, classes)
    with building("test_dataloader.dataset.pipeline"):
        Compose(settings.pipeline)
    with building("test_evaluator"):
        check_metrics(config, classes)
    check_nothing_is_skipped(everything)
    entries = [dataset.get_data_info(index) for index in range(len(dataset))]
    if not entries:
        ending = dataset.img_suffix or "of any kind"
        raise DataError(f"expected images {ending} in {dataset.data_prefix['img_path']}, found none")
    check_no_image_twice(entries, dataset.ann_file)
    turned = sum(check_files(entry) for entry in entries)
    check_some_labels(entries, classes)
    return Checked(len(entries), classes, turned)


def fit_to_classes(config: Config, classes: int) -> None:
    """Pass the number of classes to the label loaders: it defines void and the valid values."""
    for pipeline in (config.test_dataloader.dataset.pipeline, config.get("tta_pipeline") or ()):
        for step in pipeline:
            if step.get("type") in LOADERS:
                step.setdefault("classes", classes)
    config.test_dataloader.dataset.setdefault("ignore_index", void_value(classes))


def _check_folders(settings: Any) -> None:
    root = Path(settings.get("data_root") or "")
    for folder in (root, *(root / name for name in settings.get("data_prefix", {}).values())):
        if not folder.is_dir():
            raise DataError(f"expected the folder {folder} of {settings.type}, it does not exist")
    if settings.get("ann_file") and not (root / settings.ann_file).is_file():
        raise DataError(f"expected the list of images {root / settings.ann_file}, it does not exist")


def _check_vocabulary(config: Config, dataset: str, classes: int) -> None:
    model = config.model.get("module", config.model)  # --tta wraps the model
    if model.type != OpenVocabularySegmentor.__name__ or "vocabulary" not in model:
        return
    names = find_vocabulary(model.vocabulary)
    words = model.get("background")
    count = len(names) + (words is not None and names.background is None)
    if count != classes:
        raise UsageError(f"expected {classes} classes, as {dataset} has, the vocabulary has {count}")


# ----------------------------------------------------------------------------------------- the metrics


def check_metrics(config: Config, classes: int) -> None:
    """Build each metric of ``config.test_evaluator`` and check its fields.

    mmseg's metrics ignore unknown fields and check values only after the last image.

    Raises:
        UsageError: a field is unknown or its value is wrong, two metrics give scores of the same name, or
            mmseg's own IoUMetric is to write files.
    """
    prefixes: list[str] = []
    for settings in metrics_of(config):
        found = METRICS.get(settings["type"]) if isinstance(settings["type"], str) else settings["type"]
        if inspect.isclass(found):
            check_known(settings, ("type", *_fields(found)), f"field of the metric {found.__name__}")
        with _unlogged():  # the runner builds them again and logs the same
            made = METRICS.build(settings)
        if isinstance(made, IoUMetric):
            _check_values(made, classes)
            prefixes.append(made.prefix or "")
    if len(set(prefixes)) < len(prefixes):
        raise UsageError(f"expected a prefix of its own for each metric of IoU, got {prefixes}")


def _fields(metric: type[BaseMetric]) -> list[str]:
    """The fields that a metric's constructor accepts, base classes included."""
    found: dict[str, None] = {}
    for base in inspect.getmro(metric):
        if base is object or "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        found |= {p.name: None for p in list(parameters)[1:] if p.kind is not p.VAR_KEYWORD}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return list(found)


def _check_values(made: IoUMetric, classes: int) -> None:
    for name in check_words("iou_metrics", made.metrics):
        check_choice("iou_metrics", name, SCORES)
    check_number("beta", made.beta, 0, math.inf, above=True)
    if made.nan_to_num is not None:
        check_number("nan_to_num", made.nan_to_num, -math.inf, math.inf)
    check_flag("format_only", made.format_only)
    if made.prefix:
        check_text("prefix", made.prefix)
    check_choice("collect_device", made.collect_device, ("cpu", "gpu"))
    check_void(made.ignore_index, classes)
    if (
        not isinstance(made, ExactIoUMetric) and made.output_dir is not None
    ):  # images of one name are one file
        raise UsageError(
            f"expected ExactIoUMetric for predictions as files, got {type(made).__name__}, which writes all "
            "images into one folder"
        )


@contextmanager
def _unlogged() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
