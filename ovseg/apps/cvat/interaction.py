"""An interaction function of cvat-sdk: points and a box to a mask, as ``ovseg.TextToMask`` makes it."""

from __future__ import annotations

from collections.abc import Sequence

from cvat_sdk import models
from cvat_sdk.auto_annotation import (
    InteractionFunctionContext,
    InteractionFunctionSpec,
    InteractionPrompts,
    InteractionResultAttributes,
    InteractionResultShape,
)
from PIL.Image import Image

from ovseg.apps.cvat.shapes import mask_points
from ovseg.files.pictures import load_image
from ovseg.masks.encoded import EncodedImage, Setup
from ovseg.masks.exclusive import Found
from ovseg.masks.find import find
from ovseg.masks.prompts import Click, cut_box
from ovseg.model import Model
from ovseg.options import MaskOptions
from ovseg.segmenters.base import Segmenter


class Prompted:
    """Finds masks for clicks and a box. Each image is encoded once.

    Args:
        model: from ``ovseg.load_model``.
        segmenter: from ``ovseg.load_segmenter``.
        options: how a mask is chosen among the segmenter's candidates.
    """

    def __init__(self, model: Model, segmenter: Segmenter, options: MaskOptions) -> None:
        self._setup = Setup(model, segmenter, options)

    def preprocess_image(self, context: object, image: Image) -> EncodedImage:
        """Encode an image; cvat-cli's agent keeps the result for further calls. Raises ImageError."""
        return self._setup.encode(load_image(image))

    def find(
        self, image: EncodedImage, clicks: Sequence[Click], box: Sequence[float] | None
    ) -> tuple[Found, ...]:
        """The object at the clicks and in the box x0, y0, x1, y1, in pixels.

        Clicks outside the image are moved to its border, and the box is clipped.

        Raises:
            UsageError: the box has no area inside the image.
        """
        height, width = image.size
        inside = [(min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0), on) for x, y, on in clicks]
        cut = None if box is None else cut_box(box, image.size)
        (found,) = find(self._setup, image, None, inside, cut)
        return found.objects


class Interaction(Prompted):
    """Finds the object that points and a box describe, for cvat-cli's agent.

    Attributes:
        spec: points on the object, points beside it and a box, all optional.
    """

    spec = InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def detect(
        self, context: InteractionFunctionContext, pp_image: EncodedImage, prompts: InteractionPrompts
    ) -> list[InteractionResultShape]:
        """The mask of the object.

        Args:
            context: not used.
            pp_image: from ``preprocess_image``.
            prompts: (x, y) in pixels.

        Returns:
            One mask with the segmenter's score; none if nothing was found, or if neither a point on the
            object nor a box was given.

        Raises:
            UsageError: the box has no area inside the image.
        """
        clicks = [(float(x), float(y), True) for x, y in prompts.pos_points]
        clicks += [(float(x), float(y), False) for x, y in prompts.neg_points]
        corners = prompts.bounding_box
        found = self.find(pp_image, clicks, None if corners is None else [*corners[0], *corners[1]])
        return [
            InteractionResultShape(
                type="mask",
                points=mask_points(one.mask(pp_image.size)),
                attributes=[
                    models.AttributeValRequest(
                        spec_id=int(InteractionResultAttributes.CONFIDENCE),
                        value=f"{min(1.0, max(0.0, one.score)):.4f}",
                    )
                ],
            )
            for one in found
        ]
