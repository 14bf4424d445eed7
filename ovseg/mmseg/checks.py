"""What can be wrong with a data set, said in one line before any weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg.errors import DataError, UsageError
from ovseg.mmseg.scores import check_labels
from ovseg.mmseg.segmentor import OpenVocabularySegmentor
from ovseg.vocabulary import find_vocabulary

SAMPLED = 16
"""So many labels, spread over the data set, are read beforehand; the others when their image's turn comes."""


def check_dataset(config: Config) -> int:
    """The number of images of ``config.test_dataloader``.

    Raises DataError where a folder, an image or a label is missing or no image, a label has another
    size than its image, or one of ``SAMPLED`` labels a value outside the classes; UsageError where the vocabulary has
    another number of classes than the data set.
    """
    settings = config.test_dataloader.dataset
    _check_folders(settings)
    init_default_scope(config.get("default_scope", "mmseg"))  # mmcv has a LoadAnnotations of its own
    reading = {"pipeline": [{"type": "LoadAnnotations"}], "serialize_data": False}
    dataset = DATASETS.build({**settings.to_dict(), **reading})
    classes = len(dataset.metainfo["classes"])
    _check_vocabulary(config, settings.type, classes)
    entries = [dataset.get_data_info(index) for index in range(len(dataset))]
    if not entries:
        raise DataError(
            f"wanted images {dataset.img_suffix} in {dataset.data_prefix['img_path']}, found none"
        )
    for entry in entries:
        _check_files(entry)
    for index in np.linspace(0, len(entries) - 1, min(SAMPLED, len(entries))).astype(int):
        _check_label(dataset, int(index), classes)
    return len(entries)


def _check_folders(settings: Any) -> None:
    root = Path(settings.get("data_root") or "")
    wanted: Sequence[str] = [*settings.get("data_prefix", {}).values()]
    for folder in (root, *(root / name for name in wanted)):
        if not folder.is_dir():
            raise DataError(f"wanted the folder {folder} of {settings.type}, it does not exist")
    if settings.get("ann_file") and not (root / settings.ann_file).is_file():
        raise DataError(f"wanted the list of images {root / settings.ann_file}, it does not exist")


def _check_vocabulary(config: Config, dataset: str, classes: int) -> None:
    model = config.model.get("module", config.model)  # within the model of --tta
    if model.type != OpenVocabularySegmentor.__name__ or "vocabulary" not in model:
        return
    names = find_vocabulary(model.vocabulary)
    words = model.get("background")
    count = len(names) + (isinstance(words, (str, list, tuple)) and names.background is None)
    if count != classes:
        raise UsageError(f"wanted {classes} classes, as {dataset} has, the vocabulary has {count}")


def _check_files(entry: dict[str, Any]) -> None:
    """Both files are there, are images, and have one size: only their headers are read."""
    image, label = entry["img_path"], entry.get("seg_map_path")
    size = _size(image, "an image")
    if label is not None:
        found = _size(label, f"a label for {image}")
        if found != size:
            raise DataError(
                f"wanted {label} at its image's {size[0]} x {size[1]} pixels, got {found[0]} x {found[1]}"
            )


def _size(path: str, what: str) -> tuple[int, int]:
    if not Path(path).is_file():
        raise DataError(f"wanted {what}, {path} does not exist")
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for another kind of file
        raise DataError(f"wanted {what}, {path} is not one") from None


def _check_label(dataset: Any, index: int, classes: int) -> None:
    entry = dataset.get_data_info(index)
    if "seg_map_path" not in entry:
        return
    name = entry["seg_map_path"]
    try:
        labels = dataset.pipeline(entry)["gt_seg_map"]
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"wanted a whole label, {name} cannot be decoded: {error}") from None
    if labels.ndim != 2:
        raise DataError(f"wanted labels (height, width), {name} has {labels.shape}: it holds colours")
    check_labels(labels, labels.shape, classes, dataset.ignore_index, name)
