"""What can be wrong with a run's settings, said in one line before any weights are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from ovseg.errors import DataError, OvsegError, UsageError, described
from ovseg.mmseg.files import check_files, check_no_image_twice, check_nothing_is_skipped, check_some_labels
from ovseg.mmseg.metrics import check_metrics
from ovseg.mmseg.segmentor import OpenVocabularySegmentor
from ovseg.options.checks import check_integer
from ovseg.results import void_value
from ovseg.words.vocabulary import find_vocabulary

MOST_WORKERS = 1024
OMITTING = ("drop_last", "num_batch_per_epoch")
"""Fields of a data loader that leave out images; test_dataloader.dataset.indices takes some on purpose."""
LOADERS = ("LoadAnnotations", "LoadLabels")


@dataclass(frozen=True)
class Checked:
    """What the checks found out about a data set.

    Attributes:
        images: how many there are.
        classes: how many the data set has.
        turned: images that EXIF turns without exchanging their sides, so that no size tells whether the label
            is of the upright image; it is taken to be.
    """

    images: int
    classes: int
    turned: int


@contextmanager
def building(what: str) -> Iterator[None]:
    """Whatever mmengine raises while it builds ``what`` becomes a UsageError in one line."""
    try:
        yield
    except OvsegError:
        raise
    except Exception as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        reason = text.split(". Please check")[0]  # mmengine goes on with a link
        raise UsageError(f"{what} cannot be used: {type(error).__name__}: {reason}") from None


def check_dataset(config: Config) -> Checked:
    """Check the data set of ``config.test_dataloader``, its pipeline and the metrics.

    Raises:
        DataError: a folder, an image or a label is missing or no image; an image would be skipped or is
            listed twice; a label has no image, another size than its image, or, among some that are read, a
            value outside the classes.
        UsageError: the vocabulary has another number of classes than the data set; a part of the config
            cannot be built, or a field of the data loader or of a metric is wrong.
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
    """Tell the label loaders the number of classes: it decides what void is and which values are wrong."""
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
    model = config.model.get("module", config.model)  # within the model of --tta
    if model.type != OpenVocabularySegmentor.__name__ or "vocabulary" not in model:
        return
    names = find_vocabulary(model.vocabulary)
    words = model.get("background")
    count = len(names) + (words is not None and names.background is None)
    if count != classes:
        raise UsageError(f"expected {classes} classes, as {dataset} has, the vocabulary has {count}")
