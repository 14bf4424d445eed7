"""Pipeline transforms that read and resize images and labels, and the preprocessor that normalises them.

The two loaders replace those of MMSegmentation's registry, so its configs and inference functions read files as
the rest of ovseg does: images are turned upright by EXIF, transparent pixels become white, 16-bit images keep
their upper byte; labels belong to the upright image and keep 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms import LoadImageFromFile as FromFile
from mmengine.model import BaseDataPreprocessor
from mmseg.datasets.transforms import LoadAnnotations as Annotations
from mmseg.registry import MODELS, TRANSFORMS
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.files.labels import load_labels
from ovseg.files.pictures import load_image
from ovseg.files.sizes import resize_image
from ovseg.metrics import check_labels
from ovseg.options import RESIZES, InputOptions
from ovseg.options.checks import MAX_SIDE, check_choice, check_flag, check_integer, check_size, pair
from ovseg.results import void_value


@TRANSFORMS.register_module(name=["LoadImage", "LoadImageFromFile"], force=True)
class LoadImage(FromFile):
    """An image file as (H, W, 3) uint8 BGR, read by ``ovseg.load_image``.

    Other requests than a colour image from a local file (``color_type``, ``backend_args``) use mmcv's own loader.
    Raises ImageError if the file cannot be read.
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
        classes: the number of classes K, which defines void (``void_value``) and the valid values. None: 255
            is void and values are not checked. A data set's own "classes" takes precedence.
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
    """Convert a label file's values to class indices.

    Args:
        labels: (H, W) as stored.
        classes: the number of classes; None for at most 254.
        reduce_zero_label: the file stores void as 0 and class k as k + 1.
        label_map: class -> new index, as in mmseg's data sets; 255 is void.

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
        stored_void = void_value((classes or 0) + 1)  # the file has one value more
        outside = (found == 0) | (found == stored_void)
        found[~outside] -= 1
        found[outside] = void
    if label_map:
        before = found.copy()
        for old, new in label_map.items():
            found[before == old] = void if new == 255 else new
    narrow = labels.dtype == np.uint8 and void <= 255
    return found.astype(np.uint8) if narrow else found


@TRANSFORMS.register_module()
class ClipResize(BaseTransform):
    """Resizes the image to CLIP's input size; labels keep their size unless ``scored`` is "input".

    Args:
        size: (height, width), or one side of a square; the image's ratio is not kept.
        short_side: the short side in pixels at the image's own ratio, instead of ``size``.
        long_side: the maximum of the long side, which limits very narrow images.
        interpolation: one of ``options.RESIZES``. "opencv" is ovseg's own, bicubic and averaging over areas
            along a side that shrinks; "pillow" is that of CLIP Surgery's demo, "bilinear" that of the peers'
            code.
        scored: "original" resizes the image only, so predictions are scored at the label's size; "input"
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
        check_choice("scored", scored, ("original", "input"))
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


@MODELS.register_module()
class ClipPreProcessor(BaseDataPreprocessor):
    """uint8 images (3, H, W) to ``(x / 255 - mean) / std``, float32, each at its own size.

    Images are not padded to a common size, because attention would see the padding: a batch is a list, which the
    segmentor groups.

    Args:
        mean, std: of R, G, B in 0..1; None for the values of the loaded model.
        bgr_to_rgb: whether the images are BGR, as in mmseg's pipelines.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        bgr_to_rgb: bool = True,
    ) -> None:
        super().__init__()
        check_flag("bgr_to_rgb", bgr_to_rgb)
        if (mean is None) != (std is None):
            raise UsageError("expected mean and std of three channels, or neither, got one of them")
        self.bgr_to_rgb = bgr_to_rgb
        if mean is not None and std is not None:
            self.set(mean, std)

    @property
    def is_set(self) -> bool:
        """Whether mean and std are known."""
        return hasattr(self, "mean")

    def set(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise with these values of R, G, B."""
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UsageError(f"expected mean and std of three channels, got {list(mean)} and {list(std)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None], False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None], False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Move "inputs" (images of any sizes) and "data_samples" to the model's device, and normalise."""
        data = self.cast_data(data)
        images = [image.flip(0) if self.bgr_to_rgb else image for image in data["inputs"]]
        inputs = [(image.float() / 255 - self.mean) / self.std for image in images]
        return {"inputs": inputs, "data_samples": data.get("data_samples")}
