"""``TextToMask``: a text to masks, through CLIP's map, point prompts and a promptable segmenter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError, described
from ovseg.files.cache import ContentCache
from ovseg.files.pictures import ImageLike, OnError, as_images, check_on_error, each, is_one, load_image
from ovseg.masks.encoded import EncodedImage
from ovseg.masks.pipeline import Setup, encode_image, find, resolved, text_features
from ovseg.masks.prompts import Target, parse_targets
from ovseg.masks.results import TextMasks
from ovseg.masks.session import Session
from ovseg.model.model import Model
from ovseg.options import MaskOptions
from ovseg.options.checks import Size
from ovseg.segmenters.base import Segmenter
from ovseg.segmenters.load import load_segmenter

Answer: TypeAlias = "TextMasks | list[TextMasks]"


class TextToMask:
    """A model and a segmenter that turn texts into masks. Nothing changes after construction.

    Args:
        model: what ``ovseg.load_model`` gives.
        segmenter: what ``ovseg.load_segmenter`` gives; None for its default.
        rule: "components" makes a few points for each connected part of a text's map, and one mask for each
            object; "paper" makes the points of CLIP Surgery's paper, and one mask for each text.
        threshold: on the min-max map, in 0..1; None for the rule's own, 0.6 and 0.8.
        halve: halve the grid before points are picked, as the paper's code does (rule "paper").
        prompt_with: what the segmenter gets besides points: "points" nothing, "map" the part of the map as a
            first mask, "box" its bounds in place of the points. None: "map" where the segmenter was made for
            it, "points" otherwise.
        select_by: among the segmenter's candidates, by its "score", by "agreement" with the map, or "both".
            None: "score" where the segmenter learned to predict the IoU of its masks, "agreement" otherwise.
        refine: decode once more from the mask that was chosen.
        clean: specks and holes below this share of a mask are removed, in 0..1; 0 keeps them.
        presence_threshold: a text whose presence in the image is below gives no mask, in 0..1; 0 always
            answers.
        distractors: words that a text is compared with, for its presence and at every place of the map.
        size: the input of CLIP in pixels, one side of a square or (height, width); None for the model's own.
        window, stride: windows in pixels of the image resized to ``size``, so that small objects are found.
            Presence is then the largest among the windows, and a component of the map that is small in the
            image is shown to the segmenter in a crop around it.
        batch: windows in one call of CLIP's encoder; None for as many as have a million pixels together.
        resize: how an image reaches ``size``, one of ``ovseg.options.RESIZES``.
        templates: "paper", "imagenet", "plain", or templates with one ``{}`` each.

    Attributes:
        options: a ``MaskOptions`` with the choices that are in force, including those that were None.

    Raises:
        UsageError: an argument is wrong.

    Example:
        >>> import ovseg
        >>> scene = ovseg.make_scene(3)
        >>> finder = TextToMask(ovseg.load_model(), ovseg.load_segmenter("grabcut"), presence_threshold=0)
        >>> found = finder.predict(scene.image, scene.present[0])
        >>> found.masks.shape == (len(found), 128, 128)
        True
    """

    def __init__(
        self,
        model: Model,
        segmenter: Segmenter | None = None,
        *,
        rule: str = MaskOptions.rule,
        threshold: float | None = MaskOptions.threshold,
        halve: bool = MaskOptions.halve,
        prompt_with: str | None = MaskOptions.prompt_with,
        select_by: str | None = MaskOptions.select_by,
        refine: bool = MaskOptions.refine,
        clean: float = MaskOptions.clean,
        presence_threshold: float = MaskOptions.presence_threshold,
        distractors: Sequence[str] = MaskOptions.distractors,
        size: Size | None = MaskOptions.size,
        window: Size | None = MaskOptions.window,
        stride: Size | None = MaskOptions.stride,
        batch: int | None = MaskOptions.batch,
        resize: str = MaskOptions.resize,
        templates: str | Sequence[str] = MaskOptions.templates,
    ) -> None:
        options = MaskOptions(
            rule=rule,
            threshold=threshold,
            halve=halve,
            prompt_with=prompt_with,
            select_by=select_by,
            refine=refine,
            clean=clean,
            presence_threshold=presence_threshold,
            distractors=distractors,
            size=size,
            window=window,
            stride=stride,
            batch=batch,
            resize=resize,
            templates=templates,
        )
        self._set_up(model, segmenter, options)

    @classmethod
    def with_options(cls, model: Model, segmenter: Segmenter | None, options: MaskOptions) -> TextToMask:
        """The same with its choices as one object.

        Args:
            model, segmenter: as for the class itself.
            options: every other argument.

        Raises:
            UsageError: an argument is wrong.

        Example:
            >>> import ovseg
            >>> TextToMask.with_options(ovseg.load_model(), None, MaskOptions(clean=0.1)).options.clean
            0.1
        """
        made = cls.__new__(cls)
        made._set_up(model, segmenter, options)
        return made

    def _set_up(self, model: Model, segmenter: Segmenter | None, options: MaskOptions) -> None:
        if not isinstance(model, Model):
            raise UsageError(f"expected a model that load_model() gives, got {described(model)}")
        if segmenter is not None and not isinstance(segmenter, Segmenter):
            raise UsageError(f"expected a segmenter that load_segmenter() gives, got {described(segmenter)}")
        model.check_window(options)
        self.model = model
        self.segmenter = segmenter if segmenter is not None else load_segmenter()
        self.options = resolved(options, self.segmenter)
        self._setup = Setup(model, self.segmenter, self.options, model.logit_scale)
        self._encoded: ContentCache[EncodedImage] = ContentCache()

    @overload  # a str is an iterable of str too, but it is one picture
    def predict(  # type: ignore[overload-overlap]
        self, image: ImageLike, text: str
    ) -> TextMasks | list[TextMasks]: ...
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, image: ImageLike, text: list[str] | tuple[str, ...]
    ) -> list[TextMasks]: ...
    @overload
    def predict(
        self, image: Iterable[ImageLike], text: str, on_error: OnError | None = None
    ) -> Iterator[TextMasks | list[TextMasks]]: ...
    @overload
    def predict(
        self,
        image: Iterable[ImageLike],
        text: list[str] | tuple[str, ...],
        on_error: OnError | None = None,
    ) -> Iterator[list[TextMasks]]: ...

    def predict(
        self,
        image: ImageLike | Iterable[ImageLike],
        text: str | Sequence[str],
        on_error: OnError | None = None,
    ) -> Answer | Iterator[Answer]:
        """The masks of each text in an image, or in each of several images.

        However many texts there are, an image goes through each of the two encoders once.

        Args:
            image: one picture in any form that ``load_image`` takes, or an iterable of pictures (a list, a
                generator), which are read one at a time as the results are asked for.
            text: a text such as "bench"; several with commas between them, "sky, cow"; or a list of texts,
                each of which may have a comma in it. "person+bench" is one combined target.
            on_error: for several images: called with the position of an image that cannot be used and the
                error; the image is left out. None: the error is raised in its place.

        Returns:
            A ``TextMasks`` for one text without a comma, a list of them otherwise; for several images an
            iterator of such answers, in order.

        Raises:
            UsageError: there is no text, a text is too long, or an argument has a wrong type.
            ImageError: an image cannot be read.
        """
        targets, several = parse_targets(text)
        features = text_features(self._setup, [name for target in targets for name in target.names])

        def answers(one: ImageLike) -> Answer:
            encoded = self._encode(load_image(one))
            found = [find(self._setup, encoded, target, features) for target in targets]
            return found if several else found[0]

        check_on_error(on_error)
        if is_one(image):
            return answers(cast("ImageLike", image))
        return each(as_images(image), answers, on_error)

    def check(self, text: str | Sequence[str]) -> list[Target]:
        """What ``predict`` will be asked for, checked before any image is read.

        Raises:
            UsageError: there is no text, or one is empty or too long.
        """
        targets, _ = parse_targets(text)
        text_features(self._setup, [name for target in targets for name in target.names])
        return targets

    def session(self, image: ImageLike) -> Session:
        """An image that is asked about step by step: texts, clicks, a box. Each step costs the decoder only.

        Raises:
            UsageError: an argument of a wrong type.
            ImageError: the image cannot be read.

        Example:
            >>> import ovseg
            >>> scene = ovseg.make_scene(3)
            >>> session = TextToMask(ovseg.load_model(), ovseg.load_segmenter("grabcut")).session(scene.image)
            >>> len(session.click(64, 64)) <= 1, len(session.undo())
            (True, 0)
        """
        return Session(self._setup, self._encode(load_image(image)))

    def _encode(self, image: NDArray[np.uint8]) -> EncodedImage:
        """The same pixels are encoded once; the last few images are kept."""
        return self._encoded.get(image, lambda pixels: encode_image(self._setup, pixels))
