"""Predictions painted over their images, in files or in a window; files keep the images' sub-folders."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from numpy.typing import NDArray
from torch import Tensor

from ovseg.errors import DataError
from ovseg.files.pictures import load_image
from ovseg.files.sizes import resize_image
from ovseg.files.write import make_folder, write_picture
from ovseg.options.checks import check_flag, check_number
from ovseg.results.figures import overlay_labels, palette


class OutputNames:
    """Gives each image an output file of its own below a folder.

    Args:
        folder: the output folder.
        image_root: the folder of the images; None uses file names only.

    >>> names = OutputNames(Path("out"), "data/images")
    >>> names.path("data/images/bonn/1.jpg", ".png").as_posix()
    'out/bonn/1.png'
    >>> names.path("data/images/1.jpg", ".png").as_posix()
    'out/1.png'
    """

    def __init__(self, folder: Path, image_root: str | Path | None = None) -> None:
        self.folder = folder
        self.image_root = None if image_root is None else os.path.abspath(image_root)
        self._taken: dict[Path, str] = {}

    def path(self, image: str | Path, ending: str) -> Path:
        """The output file of ``image``. Raises DataError if another image has it."""
        inside = Path(image).name
        if self.image_root is not None:
            relative = os.path.relpath(os.path.abspath(image), self.image_root)
            inside = inside if relative.startswith(os.pardir) else relative
        target = (self.folder / inside).with_suffix(ending)
        other = self._taken.setdefault(target, str(image))
        if other != str(image):
            raise DataError(
                f"expected a file of its own for each image, {target} belongs to {other} and {image}"
            )
        return target


def to_array(labels: Tensor | NDArray[np.integer]) -> NDArray[np.integer]:
    """Labels (1, H, W) or (H, W) of a sample, on any device, as a NumPy array (H, W)."""
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    return values[0] if values.ndim == 3 and values.shape[0] == 1 else values


@HOOKS.register_module()
class PaintHook(Hook):
    """Paints each prediction over its image.

    mmseg's own hook writes all images into one folder by file name, so images of the same name overwrite each
    other, and it does not read images as ovseg does.

    Args:
        folder: the folder of NAME.png; None writes no files.
        image_root: the folder of the images, whose sub-folders are kept; None uses file names only.
        show: show each painted image in a window.
        wait_time: seconds for which an image is shown.
    """

    def __init__(
        self,
        folder: str | None = None,
        image_root: str | None = None,
        show: bool = False,
        wait_time: float = 2.0,
    ) -> None:
        check_flag("show", show)
        check_number("wait_time", wait_time, 0, math.inf)
        self.names = None if folder is None else OutputNames(make_folder(Path(folder)), image_root)
        self.show, self.wait_time = show, wait_time

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        for sample in outputs or ():
            labels = to_array(sample.pred_sem_seg.data)
            image = resize_image(load_image(sample.img_path), labels.shape)
            colours = runner.test_dataloader.dataset.metainfo.get("palette")
            classes = len(runner.test_dataloader.dataset.metainfo["classes"])
            table = np.asarray(colours if colours else palette(classes), np.uint8)
            painted = overlay_labels(image, labels, table)
            if self.names is not None:
                target = self.names.path(sample.img_path, ".png")
                make_folder(target.parent)
                write_picture(target, painted)
            if self.show:
                runner.visualizer.show(painted, win_name=Path(sample.img_path).name, wait_time=self.wait_time)
