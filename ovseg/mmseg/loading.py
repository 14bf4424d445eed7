"""Reading images and labels as the rest of ovseg does, under the names of MMSegmentation's own transforms.

Both replace a transform of the same name in MMSegmentation's registry, so its configs and its inference
functions follow the same rule without a change: an image is turned upright by its EXIF orientation,
transparent pixels are white, 16-bit images keep their upper byte; a label belongs to the upright image and
keeps its 16 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile as FromFile
from mmseg.datasets.transforms import LoadAnnotations as Annotations
from mmseg.registry import TRANSFORMS
from numpy.typing import NDArray

from ovseg.files.labels import load_labels
from ovseg.files.pictures import load_image
from ovseg.metrics import check_labels
from ovseg.results import void_value


@TRANSFORMS.register_module(name=["LoadImage", "LoadImageFromFile"], force=True)
class LoadImage(FromFile):
    """An image file as (H, W, 3) uint8 BGR, read by ``ovseg.load_image``.

    A pipeline that asks for something else than a colour image from a local file (``color_type``,
    ``backend_args``) gets mmcv's own loader. Raises ImageError where the file cannot be read.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        if self.color_type != "color" or self.backend_args or self.file_client_args:
            return super().transform(results)
        image = np.ascontiguousarray(load_image(results["img_path"])[..., ::-1])
        results["img"] = image.astype(np.float32) if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@TRANSFORMS.register_module(name=["LoadLabels", "LoadAnnotations"], force=True)
class LoadLabels(Annotations):
    """A label file as (H, W) uint8, or uint16 where it has 16 bits or there are more than 255 classes.

    With ``reduce_zero_label`` the file counts classes from 1: 0 becomes void, the others move down by one.

    Args:
        classes: the number of classes K, which decides what void is (``void_value``) and which values are
            wrong. None: 255 is void and values are not checked here. A data set that says "classes" itself
            comes first.
        **options: those of mmseg's LoadAnnotations.

    Raises DataError where the file cannot be read, has another size than its image, or holds a value that is
    neither a class nor void.
    """

    def __init__(self, classes: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.classes = classes

    def _load_seg_map(self, results: dict[str, Any]) -> None:
        if self.backend_args or self.file_client_args:
            super()._load_seg_map(results)
            return
        path = results["seg_map_path"]
        labels = load_labels(path, results.get("ori_shape"))
        reduced = bool(results.get("reduce_zero_label", False) or self.reduce_zero_label)
        classes = results.get("classes", self.classes)
        if classes is not None and results.get("label_map") is None:
            check_labels(labels, classes + reduced, name=str(path))
        results["gt_seg_map"] = to_classes(labels, classes, reduced, results.get("label_map"))
        results["seg_fields"].append("gt_seg_map")


def to_classes(
    labels: NDArray[np.uint8] | NDArray[np.uint16],
    classes: int | None = None,
    reduce_zero_label: bool = False,
    label_map: dict[int, int] | None = None,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A file's values as class indices.

    Args:
        labels: (H, W) as stored.
        classes: the number of classes; None stands for at most 254.
        reduce_zero_label: the file has void at 0 and class k at k + 1.
        label_map: other indices for some classes, as mmseg's data sets give it; its 255 stands for void.

    Returns:
        (H, W) uint8 or uint16, void at ``void_value(classes)``.

    >>> to_classes(np.array([[0, 1, 255]], np.uint8), 150, reduce_zero_label=True).tolist()
    [[255, 0, 255]]
    >>> to_classes(np.array([[0, 256, 65535]], np.uint16), 300, reduce_zero_label=True).tolist()
    [[65535, 255, 65535]]
    """
    void = void_value(classes or 0)
    found = labels.astype(np.uint16)
    if reduce_zero_label:
        stored_void = void_value((classes or 0) + 1)  # the file counts one value more
        outside = (found == 0) | (found == stored_void)
        found[~outside] -= 1
        found[outside] = void
    if label_map:
        before = found.copy()
        for old, new in label_map.items():
            found[before == old] = void if new == 255 else new
    narrow = labels.dtype == np.uint8 and void <= 255
    return found.astype(np.uint8) if narrow else found
