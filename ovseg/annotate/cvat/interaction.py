"""An interaction function of cvat-sdk: points and a box to a mask, by the step of ``ovseg.TextToMask``."""

from __future__ import annotations

from cvat_sdk import models
from cvat_sdk.auto_annotation import (
    InteractionFunctionContext,
    InteractionFunctionSpec,
    InteractionPrompts,
    InteractionResultAttributes,
    InteractionResultShape,
)
from cvat_sdk.masks import encode_mask
from PIL.Image import Image

from ovseg.io.images import load_image
from ovseg.model import Model
from ovseg.options import MaskOptions
from ovseg.segmenters.base import Segmenter
from ovseg.segmenters.prompts import Box, check_box
from ovseg.text_to_mask.encoded import EncodedImage
from ovseg.text_to_mask.pipeline import Setup, encode_image, find, resolved
from ovseg.text_to_mask.prompts import Click


class Interaction:
    """The object at points and in a box, as cvat-cli's agent asks for it.

    Args:
        model: what ``ovseg.load_model`` gives.
        segmenter: what ``ovseg.load_segmenter`` gives.
        options: how a mask is chosen among the segmenter's candidates.

    Attributes:
        spec: points on the object, points beside it and a box, each of which may be missing.
    """

    spec = InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def __init__(self, model: Model, segmenter: Segmenter, options: MaskOptions) -> None:
        self._setup = Setup(model, segmenter, resolved(options, segmenter), model.logit_scale)

    def preprocess_image(self, context: InteractionFunctionContext, image: Image) -> EncodedImage:
        """An image through the encoders; the agent keeps it for further prompts. Raises ImageError."""
        return encode_image(self._setup, load_image(image))

    def detect(
        self, context: InteractionFunctionContext, pp_image: EncodedImage, prompts: InteractionPrompts
    ) -> list[InteractionResultShape]:
        """The object that the prompts mean.

        Args:
            context: without content.
            pp_image: what ``preprocess_image`` gave.
            prompts: (x, y) in pixels; what lies outside the image is moved to its border.

        Returns:
            One mask with its score; none where nothing was found or only points beside the object were given.

        Raises:
            UsageError: the box has no area inside the image.
        """
        found = find(
            self._setup, pp_image, None, {}, _box(prompts, pp_image.size), _clicks(prompts, pp_image.size)
        )
        return [
            InteractionResultShape(
                type="mask",
                points=[float(number) for number in encode_mask(mask)],
                attributes=[
                    models.AttributeValRequest(
                        spec_id=int(InteractionResultAttributes.CONFIDENCE),
                        value=f"{min(1.0, max(0.0, float(score))):.4f}",
                    )
                ],
            )
            for mask, score in zip(found.masks, found.scores, strict=True)
        ]


def _box(prompts: InteractionPrompts, size: tuple[int, int]) -> Box | None:
    if prompts.bounding_box is None:
        return None
    (x0, y0), (x1, y1) = prompts.bounding_box
    left, top, right, bottom = check_box((x0, y0, x1, y1), size).tolist()
    return left, top, right, bottom


def _clicks(prompts: InteractionPrompts, size: tuple[int, int]) -> list[Click]:
    groups = ((prompts.pos_points, True), (prompts.neg_points, False))
    return [
        (min(max(float(x), 0.0), size[1] - 1.0), min(max(float(y), 0.0), size[0] - 1.0), on)
        for points, on in groups
        for x, y in points
    ]
