"""A detection function of cvat-sdk: finds the objects in each image of a task, as ``ovseg annotate`` does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from cvat_sdk import models
from cvat_sdk.auto_annotation import (
    DetectionFunctionContext,
    DetectionFunctionSpec,
    label_spec,
    mask,
    polygon,
    text_attribute_spec,
)
from PIL.Image import Image

from ovseg.annotation.classes import Classes
from ovseg.annotation.finder import LabelFinder, MaskFinder
from ovseg.annotation.records import Region
from ovseg.apps.cvat.shapes import mask_points, polygon_points
from ovseg.errors import ImageError, one_line
from ovseg.files.pictures import load_image
from ovseg.model import Model
from ovseg.options import AnnotateOptions
from ovseg.segmenters.base import Segmenter

ATTRIBUTES = ("score", "prompt", "method")
"""The attributes of shapes, with the names that the CVAT writer of ``ovseg annotate`` uses."""
log = logging.getLogger(__name__)


class Detection:
    """Finds the shapes of a list of classes, for cvat-sdk's driver.

    Args:
        model: from ``ovseg.load_model``.
        segmenter: from ``ovseg.load_segmenter``; None for the task "labels".
        classes: the words; all but "background" are the labels of the function.
        options: how regions are found.
        shape: "mask" or "polygon".
        attributes: whether shapes have their score, prompt and method as attributes.

    Attributes:
        spec: the labels, which CVAT matches by name with those of a task.

    Raises:
        UsageError: as ``MaskFinder`` and ``LabelFinder`` do.
    """

    def __init__(
        self,
        model: Model,
        segmenter: Segmenter | None,
        classes: Classes,
        options: AnnotateOptions,
        shape: str = "mask",
        attributes: bool = False,
    ) -> None:
        self._finder: MaskFinder | LabelFinder
        if segmenter is None:
            self._finder = LabelFinder(model, classes, options)
        else:
            self._finder = MaskFinder(model, segmenter, classes, options)
        self._classes, self._options = classes, options
        self._other: tuple[float, MaskFinder] | None = None  # the last other threshold and its finder
        self._polygons, self._attributes = shape == "polygon", ATTRIBUTES if attributes else ()
        self._ids = {name: number for number, name in enumerate(classes.objects)}
        wanted = [text_attribute_spec(name, number) for number, name in enumerate(self._attributes)]
        self.spec = DetectionFunctionSpec(
            labels=[
                label_spec(name, number, type=shape, attributes=list(wanted))
                for name, number in self._ids.items()
            ]
        )

    def detect(self, context: DetectionFunctionContext, image: Image) -> list[models.LabeledShapeRequest]:
        """The shapes of one image.

        Args:
            context: ``conf_threshold`` replaces ``presence_threshold``; a class with a threshold of its own
                has to reach both. ``conv_mask_to_poly`` asks for polygons.
            image: of any mode.

        Returns:
            A mask for each object, or a polygon for each of its parts, which then form a group. An empty list
            for an image that cannot be read; that is logged.
        """
        try:
            picture = load_image(image)
        except ImageError as error:
            log.warning("%s: %s", context.frame_name, one_line(error))
            return []
        finder = self._finder_for(context.conf_threshold)
        (found,) = finder.find([picture])
        regions = [] if found is None else [one for one in found.regions if one.label in self._ids]
        as_polygons = self._polygons or context.conv_mask_to_poly
        return [
            shape
            for number, region in enumerate(regions, 1)
            for shape in (self._as_polygons(region, number) if as_polygons else self._as_mask(region))
        ]

    def _finder_for(self, presence: float | None) -> MaskFinder | LabelFinder:
        """The finder with the threshold ``presence``; its texts are encoded already."""
        usual = self._finder
        if presence is None or isinstance(usual, LabelFinder):
            return usual
        if self._other is None or self._other[0] != presence:
            raised = {name: max(value, presence) for name, value in self._classes.thresholds.items()}
            setup, options = usual.setup, replace(self._options, presence_threshold=presence)
            classes = self._classes.with_thresholds(raised)
            self._other = presence, MaskFinder(setup.model, setup.segmenter, classes, options)
        return self._other[1]

    def _as_mask(self, region: Region) -> Iterator[models.LabeledShapeRequest]:
        yield mask(self._ids[region.label], mask_points(region.mask.array()), **self._details(region))

    def _as_polygons(self, region: Region, number: int) -> Iterator[models.LabeledShapeRequest]:
        parts = polygon_points(region.mask.array())
        group = {"group": number} if len(parts) > 1 else {}
        for points in parts:
            yield polygon(self._ids[region.label], points, **group, **self._details(region))

    def _details(self, region: Region) -> dict[str, object]:
        details: dict[str, object] = {}
        if region.score is not None:
            details["score"] = min(1.0, max(0.0, float(region.score)))
        if self._attributes:
            values = {"score": region.score, "prompt": region.prompt, "method": region.method}
            details["attributes"] = [
                models.AttributeValRequest(spec_id=number, value=str(values[name]))
                for number, name in enumerate(self._attributes)
                if values[name] is not None
            ]
        return details
