"""``TextToMask``: a text to masks, through CLIP's map, point prompts and a promptable segmenter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError, described
from ovseg.files.cache import ContentCache
from ovseg.files.pictures import ImageLike, OnError, each, load_image
from ovseg.masks.encoded import EncodedImage
from ovseg.masks.pipeline import Setup, encode_image, find, resolved, text_features
from ovseg.masks.prompts import Target, parse_targets
from ovseg.masks.results import TextMasks
from ovseg.masks.session import Session
from ovseg.model import Model
from ovseg.options import MaskOptions
from ovseg.segmenters.base import Segmenter
from ovseg.segmenters.load import load_segmenter

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ovseg.options.masks import MaskChoices


class TextToMask:
    """A model and a segmenter that turn texts into masks. Nothing changes after construction.

    Args:
        model: what ``ovseg.load_model`` gives.
        segmenter: what ``ovseg.load_segmenter`` gives; None for its default.
        options, choices: a ``MaskOptions``, or its fields as keywords.

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
        options: MaskOptions | None = None,
        **choices: Unpack[MaskChoices],
    ) -> None:
        if not isinstance(model, Model):
            raise UsageError(f"expected a model that load_model() gives, got {described(model)}")
        if segmenter is not None and not isinstance(segmenter, Segmenter):
            raise UsageError(f"expected a segmenter that load_segmenter() gives, got {described(segmenter)}")
        chosen = MaskOptions.make(options, choices)
        model.check_window(chosen)
        self.model = model
        self.segmenter = segmenter if segmenter is not None else load_segmenter()
        self.options = resolved(chosen, self.segmenter)
        self._setup = Setup(model, self.segmenter, self.options, model.logit_scale)
        self._encoded: ContentCache[EncodedImage] = ContentCache()

    def predict(self, image: ImageLike, text: str) -> TextMasks:
        """The masks of one text in an image.

        Args:
            image: a picture in any form that ``ovseg.load_image`` takes.
            text: a text such as "bench"; "person+bench" is one combined target.

        Raises:
            UsageError: the text is too long or has a comma: ``predict_texts`` takes several.
            ImageError: the image cannot be read.
        """
        if isinstance(text, str) and "," in text:
            raise UsageError(
                f"expected one text, got {described(text)}: predict_texts takes several with commas between "
                "them, and a list of texts that may have commas in them"
            )
        return self.predict_texts(image, [text])[0]

    def predict_texts(self, image: ImageLike, texts: str | Sequence[str]) -> list[TextMasks]:
        """The masks of each of several texts in an image, which goes through each encoder once.

        Args:
            image: as in ``predict``.
            texts: texts with commas between them, or a list of texts, each of which may have a comma in it.
        """
        return next(self.predict_each([image], texts))

    def predict_each(
        self, images: Iterable[ImageLike], texts: str | Sequence[str], on_error: OnError | None = None
    ) -> Iterator[list[TextMasks]]:
        """``predict_texts`` of several images in order, read one at a time as the results are asked for.

        Args:
            images, texts: as in ``predict_texts``.
            on_error: called with the position of an image that cannot be used and the error; the image is
                left out. None: the error is raised in its place.
        """
        targets = self.check(texts)
        features = text_features(self._setup, [name for target in targets for name in target.names])

        def answers(one: ImageLike) -> list[TextMasks]:
            encoded = self._encode(load_image(one))
            return [find(self._setup, encoded, target, features) for target in targets]

        return each(images, answers, on_error)

    def check(self, texts: str | Sequence[str]) -> list[Target]:
        """What ``predict_texts`` will be asked for, checked before any image is read.

        Raises:
            UsageError: there is no text, or one is empty or too long.
        """
        targets, _ = parse_targets(texts)
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
