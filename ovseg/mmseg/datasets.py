"""Data sets that MMSegmentation lacks: two benchmarks, and any folder of images and label maps.

Class names are in ovseg's vocabulary files; ``VOCABULARIES`` maps data set classes to files, and a test compares
each with the METAINFO of MMSegmentation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset, PascalVOCDataset
from mmseg.registry import DATASETS

from ovseg.errors import DataError
from ovseg.files.find import SUFFIXES
from ovseg.results import void_value
from ovseg.results.figures import palette
from ovseg.words.vocabulary import Vocabulary, find_vocabulary, load_vocabulary

VOCABULARIES = {
    "COCOStuffDataset": "coco_stuff164k",
    "PascalContextDataset59": "pascal_context59",
    "PascalContextDataset": "pascal_context60",
    "CityscapesDataset": "cityscapes",
    "VOC20Dataset": "voc20",
    "PascalVOCDataset": "voc21",
    "ADE20KDataset": "ade20k",
    "COCOObjectDataset": "coco_object",
}
"""Data set class -> vocabulary file, for the eight benchmarks."""


def _metainfo(vocabulary: str, colours: Any = None) -> dict[str, Any]:
    names = load_vocabulary(vocabulary).names
    return {"classes": names, "palette": palette(len(names)).tolist() if colours is None else colours}


@DATASETS.register_module()
class VOC20Dataset(PascalVOCDataset):
    """PASCAL VOC 2012 without its background: label 0 is ignored, the 20 classes are shifted down by one."""

    METAINFO = _metainfo("voc20", PascalVOCDataset.METAINFO["palette"][1:])

    def __init__(self, ann_file: str, reduce_zero_label: bool = True, **options: Any) -> None:
        super().__init__(ann_file=ann_file, reduce_zero_label=reduce_zero_label, **options)


@DATASETS.register_module()
class COCOObjectDataset(BaseSegDataset):
    """COCO's 80 things and background (0), drawn from the instances of val2017."""

    METAINFO = _metainfo("coco_object")

    def __init__(self, seg_map_suffix: str = "_instanceTrainIds.png", **options: Any) -> None:
        super().__init__(seg_map_suffix=seg_map_suffix, **options)


@DATASETS.register_module()
class FolderDataset(BaseSegDataset):
    """Images below one folder and label maps of the same names below another, sub-folders included.

    A label's value k is line k of ``vocabulary``, from 0. Void is 255; beyond 255 classes, with labels of 16
    bits, it is 65535. Images may have any ending that ovseg reads, in upper or lower case; hidden files (names
    with a leading dot) are ignored.

    Args:
        vocabulary: as in the segmentor: a file, a data set's name, "sky, tree" or a list of names.
        img_suffix: the ending of the images; None for any. Images with other endings are an error that counts
            them.
        **options: those of BaseSegDataset, above all ``data_root`` and ``data_prefix``. ``ann_file`` lists
            images by their names, with or without ending.

    Raises DataError if two images share a label, or a listed image does not exist.
    """

    def __init__(
        self,
        vocabulary: str | Sequence[str] | Vocabulary,
        img_suffix: str | None = None,
        **options: Any,
    ) -> None:
        names = find_vocabulary(vocabulary).names
        self.count = len(names)
        metainfo = {"classes": names, "palette": palette(len(names)).tolist()}
        options = {"ignore_index": void_value(len(names)), **options}
        super().__init__(metainfo=metainfo, img_suffix=img_suffix, **options)

    def load_data_list(self) -> list[dict[str, Any]]:
        """An entry for each image, in the order of the list or of the names."""
        images = Path(self.data_prefix["img_path"])
        labels = self.data_prefix.get("seg_map_path")
        found = list(self._listed(images) if self.ann_file else self._all(images))
        entries: list[dict[str, Any]] = []
        owners: dict[str, str] = {}
        for name in found:
            entry = {
                "img_path": str(images / name),
                "label_map": self.label_map,
                "reduce_zero_label": self.reduce_zero_label,
                "classes": self.count,
                "seg_fields": [],
            }
            stem = name[: -len(self.img_suffix)] if self.img_suffix else os.path.splitext(name)[0]
            if owners.setdefault(stem, name) != name:
                raise DataError(f"expected one image for a label, {images} has {owners[stem]} and {name}")
            if labels:
                entry["seg_map_path"] = str(Path(labels) / (stem + self.seg_map_suffix))
            entries.append(entry)
        return entries

    def _all(self, folder: Path) -> list[str]:
        endings = (self.img_suffix,) if self.img_suffix else tuple(SUFFIXES)
        names = list(image_names(folder))
        if self.img_suffix:
            return [name for name in names if name.endswith(self.img_suffix)]
        return [name for name in names if os.path.splitext(name)[1].lower() in endings]

    def _listed(self, folder: Path) -> Iterator[str]:
        known: dict[str, str] = {}
        for name in self._all(folder):
            known[name] = name
            stem = name[: -len(self.img_suffix)] if self.img_suffix else os.path.splitext(name)[0]
            known.setdefault(stem, name)
        for line in Path(self.ann_file).read_text(encoding="utf-8-sig").splitlines():
            if line.strip():
                if line.strip() not in known:
                    raise DataError(f"expected an image {line.strip()} in {folder}, {self.ann_file} lists it")
                yield known[line.strip()]


def image_names(folder: Path) -> list[str]:
    """The image files (by ending) below a folder, relative to it, sorted.

    Hidden files and folders are ignored.
    """
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(place, folder)
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                found.append(name if inside == "." else os.path.join(inside, name))
    return sorted(found)
