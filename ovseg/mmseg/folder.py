"""Any folder of images and label maps as a data set; its classes are the lines of a vocabulary."""

from __future__ import annotations

from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ovseg.figures import palette
from ovseg.vocabulary import find_vocabulary


@DATASETS.register_module()
class FolderDataset(BaseSegDataset):
    """images/val/NAME.jpg and annotations/val/NAME.png: k is line k of ``vocabulary``, from 0; 255 is void.

    ``vocabulary`` as in the segmentor; folders and endings are BaseSegDataset's ``data_prefix``,
    ``img_suffix`` and ``seg_map_suffix``.
    """

    def __init__(self, vocabulary: Any, **options: Any) -> None:
        names = find_vocabulary(vocabulary).names
        metainfo = {"classes": names, "palette": palette(len(names)).tolist()}
        super().__init__(metainfo=metainfo, **options)
