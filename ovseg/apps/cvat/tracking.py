"""A tracking function of cvat-sdk: follows a shape from one image to the next.

last image, mask ── where does the object look the same? ── moved mask ── the segmenter at its box ─> new mask

It works without training, for objects that keep their look and move by at most their own size from image to
image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from cvat_sdk.auto_annotation import TrackableShape, TrackingFunctionShapeContext, TrackingFunctionSpec
from numpy.typing import NDArray

from ovseg.apps.cvat.interaction import Prompted
from ovseg.apps.cvat.shapes import KINDS, shape_mask, shape_points
from ovseg.masks.encoded import EncodedImage
from ovseg.metrics import mask_iou

COMPARED = 64
"""The longer side in pixels to which the object is scaled before its look is compared."""
FITS = 0.85
"""The segmenter's mask is used if its IoU with the moved mask is at least this; else the moved mask is."""
LOST = 40.0
"""The root mean square difference of the object's pixels, in 0..255, above which it counts as gone."""


@dataclass
class Tracked:
    """The last image in which a shape was found, and its pixels (H, W) bool there."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


class Tracking(Prompted):
    """Finds a shape in the next image, for cvat-cli's agent.

    Attributes:
        spec: masks, polygons and rectangles.
    """

    spec = TrackingFunctionSpec(supported_shape_types=KINDS)

    def init_tracking_state(
        self, context: TrackingFunctionShapeContext, pp_image: EncodedImage, shape: TrackableShape
    ) -> Tracked:
        """The state of a shape in its first image. Raises DataError if the shape has no pixels."""
        return Tracked(pp_image.image, shape_mask(shape.type, shape.points, pp_image.size))

    def track(
        self, context: TrackingFunctionShapeContext, pp_image: EncodedImage, state: Tracked
    ) -> TrackableShape | None:
        """The shape in a new image.

        Args:
            context: ``original_shape_type`` is the wanted kind of shape.
            pp_image: the new image, as large as the first.
            state: from ``init_tracking_state``; it is updated to the new image and mask.

        Returns:
            A shape of the wanted kind; None if the object is not found near its last place.
        """
        way = shift(state.image, state.mask, pp_image.image)
        moved = None if way is None else _moved(state.mask, way)
        if moved is None or not moved.any():
            return None
        found = self.find(pp_image, [], shape_points("rectangle", moved))
        masks = [one.mask(pp_image.size) for one in found]
        best = max(masks, key=lambda mask: mask_iou(mask, moved), default=moved)
        state.image, state.mask = pp_image.image, best if mask_iou(best, moved) >= FITS else moved
        kind = context.original_shape_type
        return TrackableShape(type=kind, points=shape_points(kind, state.mask))


def shift(
    before: NDArray[np.uint8], mask: NDArray[np.bool_], after: NDArray[np.uint8]
) -> tuple[int, int] | None:
    """The movement of an object between two images, by the least squared difference of its pixels.

    Args:
        before: (H, W, 3) uint8.
        mask: (H, W) bool, the object in ``before``.
        after: (H, W, 3) uint8.

    Returns:
        (x, y) in pixels, each at most the object's side; None if no place looks like the object.

    >>> before, after = np.zeros((2, 32, 32, 3), np.uint8)
    >>> before[4:9, 4:12], after[6:11, 7:15] = 200, 200
    >>> shift(before, before[..., 0] > 0, after)
    (3, 2)
    """
    x0, y0, x1, y1 = (int(side) for side in shape_points("rectangle", mask))
    width, height = x1 - x0, y1 - y0
    scale = min(1.0, COMPARED / max(width, height))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    look = cv2.resize(before[y0:y1, x0:x1], small, interpolation=cv2.INTER_AREA)
    counted = cv2.resize(mask[y0:y1, x0:x1].astype(np.float32), small, interpolation=cv2.INTER_AREA)
    around = cv2.copyMakeBorder(after, height, height, width, width, cv2.BORDER_REPLICATE)
    around = around[y0 : y1 + 2 * height, x0 : x1 + 2 * width]
    searched = cv2.resize(around, (3 * small[0], 3 * small[1]), interpolation=cv2.INTER_AREA)
    weights = np.repeat(counted[..., None], 3, axis=2)
    squares = cv2.matchTemplate(
        searched.astype(np.float32), look.astype(np.float32), cv2.TM_SQDIFF, mask=np.sqrt(weights)
    )
    row, column = np.unravel_index(int(squares.argmin()), squares.shape)
    if squares[row, column] > LOST**2 * weights.sum():
        return None
    return round((column - small[0]) * width / small[0]), round((row - small[1]) * height / small[1])


def _moved(mask: NDArray[np.bool_], way: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask shifted by (x, y) and clipped to the image."""
    matrix = np.array([[1, 0, way[0]], [0, 1, way[1]]], np.float32)
    moved = cv2.warpAffine(mask.astype(np.uint8), matrix, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    return moved.astype(bool)
