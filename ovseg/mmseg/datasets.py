"""Data sets that MMSegmentation lacks, and CLIP's way of resizing as a transform.

The names of classes live in ovseg's vocabulary files; ``VOCABULARIES`` says which file belongs to
which class of data set, and a test compares each with the METAINFO of MMSegmentation.
"""

from __future__ import annotations

from typing import Any

import cv2
from mmcv.transforms import BaseTransform
from mmseg.datasets import BaseSegDataset, PascalVOCDataset
from mmseg.registry import DATASETS, TRANSFORMS

from ovseg.errors import UsageError, described
from ovseg.files.sizes import resize_image
from ovseg.options import RESIZES, InputOptions
from ovseg.options.checks import MAX_SIDE, check_choice, check_integer, check_size, pair
from ovseg.results.figures import palette
from ovseg.words.vocabulary import load_vocabulary

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
"""Class of data set -> vocabulary file, the eight benchmarks."""


def _metainfo(vocabulary: str, colours: Any = None) -> dict[str, Any]:
    names = load_vocabulary(vocabulary).names
    return {"classes": names, "palette": palette(len(names)).tolist() if colours is None else colours}


@DATASETS.register_module()
class VOC20Dataset(PascalVOCDataset):
    """PASCAL VOC 2012 without its background: label 0 is ignored, the 20 classes move down by one."""

    METAINFO = _metainfo("voc20", PascalVOCDataset.METAINFO["palette"][1:])

    def __init__(self, ann_file: str, reduce_zero_label: bool = True, **options: Any) -> None:
        super().__init__(ann_file=ann_file, reduce_zero_label=reduce_zero_label, **options)


@DATASETS.register_module()
class COCOObjectDataset(BaseSegDataset):
    """COCO's 80 things and background (0), drawn from the instances of val2017."""

    METAINFO = _metainfo("coco_object")

    def __init__(self, seg_map_suffix: str = "_instanceTrainIds.png", **options: Any) -> None:
        super().__init__(seg_map_suffix=seg_map_suffix, **options)


@TRANSFORMS.register_module()
class ClipResize(BaseTransform):
    """Resizes the image to the size at which CLIP sees it; labels keep theirs unless they are scored there.

    Args:
        size: (height, width), or one side of a square; the image's ratio is not kept.
        short_side: the short side in pixels at the image's own ratio, instead of ``size``.
        long_side: the long side is at most so many pixels; it decides where the image is very narrow.
        interpolation: one of ``options.RESIZES``. "opencv" is ovseg's own, bicubic and averaging over areas
            along a side that shrinks; "pillow" is that of CLIP Surgery's demo, "bilinear" that of the peers'
            code.
        scored: "original" resizes the image alone, so predictions are compared at the label's size; "input"
            resizes the labels too, by the nearest pixel.

    Raises UsageError where not exactly one of ``size`` and ``short_side`` is given, or a value is wrong.
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        short_side: int | None = None,
        long_side: int = 2048,
        interpolation: str = InputOptions.resize,
        scored: str = "original",
    ) -> None:
        if (size is None) == (short_side is None):
            raise UsageError(f"ClipResize needs size or short_side, got {size} and {short_side}")
        check_choice("interpolation", interpolation, RESIZES)
        if scored not in ("original", "input"):
            raise UsageError(f"unknown scored {described(scored)}: expected 'original' or 'input'")
        sides = check_size("size", size)
        self.size = None if sides is None else pair(sides)
        self.short_side = None if short_side is None else check_integer("short_side", short_side, 1, MAX_SIDE)
        self.long_side = check_integer("long_side", long_side, 1, MAX_SIDE)
        self.interpolation, self.scored = interpolation, scored

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        image = results["img"]
        height, width = image.shape[:2]
        target = self.size or self._target(height, width)
        resized = resize_image(image, target, self.interpolation)
        results["img"], results["img_shape"] = resized, target
        results["scale_factor"] = (target[1] / width, target[0] / height)
        if self.scored == "input":
            results["ori_shape"] = target
            for field in results.get("seg_fields", []):
                labels = results[field]
                results[field] = cv2.resize(labels, (target[1], target[0]), interpolation=cv2.INTER_NEAREST)
        return results

    def _target(self, height: int, width: int) -> tuple[int, int]:
        assert self.short_side is not None  # one of the two was given
        ratio = min(self.short_side / min(height, width), self.long_side / max(height, width))
        return max(1, int(height * ratio + 0.5)), max(1, int(width * ratio + 0.5))

    def __repr__(self) -> str:
        return f"ClipResize({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"
