"""``TextToMask``: texts to masks, through CLIP's maps, point prompts and a promptable segmenter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ovseg.clip.text import Progress
from ovseg.errors import OvsegError, UsageError, described
from ovseg.files.cache import ContentCache
from ovseg.files.pictures import GROUP, ImageLike, OnError, check_several, grouped, load_image
from ovseg.masks.encoded import Asked, EncodedImage, Setup, parse_words
from ovseg.masks.find import find, text_masks
from ovseg.masks.session import Session
from ovseg.model import Model
from ovseg.options import MaskOptions
from ovseg.results.base import ImageFeatures
from ovseg.results.masks import TextMasks
from ovseg.segmenters.base import Segmenter
from ovseg.segmenters.load import load_segmenter

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ovseg.options.annotation import MaskChoices


class TextToMask:
    """Finds the masks of texts with a model and a segmenter. Nothing changes after construction.

    Args:
        model: from ``ovseg.load_model``.
        segmenter: from ``ovseg.load_segmenter``; None for its default.
        options, choices: a ``MaskOptions``, or its fields as keywords.

    Attributes:
        options: the ``MaskOptions`` in force; None is replaced by the value that was chosen for it.

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
        self.model = model
        self.segmenter = segmenter if segmenter is not None else load_segmenter()
        self._setup = Setup(model, self.segmenter, chosen)
        self.options = self._setup.options
        self._encoded: ContentCache[EncodedImage] = ContentCache()

    def predict(self, image: ImageLike, text: str) -> TextMasks:
        """The masks of one text in an image.

        Args:
            image: a picture in any form that ``ovseg.load_image`` takes.
            text: such as "bench"; "person+bench" is one combined target.

        Raises:
            UsageError: the text is too long, or has a comma (``predict_texts`` takes several texts).
            ImageError: the image cannot be read.
        """
        if isinstance(text, str) and "," in text:
            raise UsageError(
                f"expected one text, got {described(text)}: predict_texts takes several with commas between "
                "them, and a list of texts that may have commas in them"
            )
        return self.predict_texts(image, [text])[0]

    def predict_texts(self, image: ImageLike, texts: str | Sequence[str] | Asked) -> list[TextMasks]:
        """The masks of each of several texts in an image, which is encoded once.

        Args:
            image: as in ``predict``.
            texts: one string with commas between texts; a list, whose texts may contain commas; or the
                result of ``ask``.
        """
        return next(self.predict_each([image], texts))

    def predict_each(
        self,
        images: Iterable[ImageLike],
        texts: str | Sequence[str] | Asked,
        on_error: OnError | None = None,
    ) -> Iterator[list[TextMasks]]:
        """``predict_texts`` for several images in order, read a few at a time as results are consumed.

        Args:
            images, texts: as in ``predict_texts``.
            on_error: called with (position, error) for an image that fails, which is skipped. None: the
                error is raised.
        """
        check_several(images, on_error)
        asked = texts if isinstance(texts, Asked) else self.ask(texts)

        def answers(one: EncodedImage | OvsegError, index: int) -> list[TextMasks] | None:
            try:
                if isinstance(one, OvsegError):
                    raise one
                return [text_masks(found, one) for found in find(self._setup, one, asked)]
            except OvsegError as error:
                if on_error is None:
                    raise
                on_error(index, error)
                return None

        found = (answers(one, index) for index, one in enumerate(self._encode_each(images)))
        return (one for one in found if one is not None)

    def ask(self, texts: str | Sequence[str], progress: Progress | None = None) -> Asked:
        """Check and encode texts in advance, for ``predict_texts`` and ``predict_each``.

        Args:
            texts: as in ``predict_texts``.
            progress: called with (done, total) prompts while texts are encoded.

        Raises:
            UsageError: no text is given, or one is empty or too long.
        """
        return Asked.of(self._setup, parse_words(texts, self.options.presence_threshold), progress=progress)

    def session(self, image: ImageLike) -> Session:
        """Open an image for interactive use with texts, clicks and a box; each step runs the decoder only.

        Raises:
            UsageError: the image has a wrong type.
            ImageError: the image cannot be read.

        Example:
            >>> import ovseg
            >>> scene = ovseg.make_scene(3)
            >>> session = TextToMask(ovseg.load_model(), ovseg.load_segmenter("grabcut")).session(scene.image)
            >>> len(session.click(64, 64)) <= 1, len(session.undo())
            (True, 0)
        """
        return Session(self._setup, self._encode(load_image(image)))

    def _encode(self, image: NDArray[np.uint8], features: ImageFeatures | None = None) -> EncodedImage:
        """Encode an image, or take it from the cache of the last few images."""
        return self._encoded.get(image, lambda pixels: self._setup.encode(pixels, features))

    def _encode_each(self, images: Iterable[ImageLike]) -> Iterator[EncodedImage | OvsegError]:
        """Encode each image, or yield the error; CLIP encodes several in one batch."""
        for group in grouped(_loaded(images), _pixels, self.options.batch or GROUP):
            new = [one for one in group if not isinstance(one, OvsegError) and one not in self._encoded]
            try:
                made = self.model.dense_features_each(new if len(new) > 1 else [], options=self.options)
                features = {id(one): found for one, found in zip(new, made, strict=len(new) > 1)}
            except OvsegError:  # one by one below, to find the image that fails
                features = {}
            del new
            while group:
                one = group.pop(0)
                try:
                    yield one if isinstance(one, OvsegError) else self._encode(one, features.get(id(one)))
                except OvsegError as error:
                    yield error


def _loaded(images: Iterable[ImageLike]) -> Iterator[NDArray[np.uint8] | OvsegError]:
    """Each image, or why it cannot be read."""
    for image in images:
        try:
            yield load_image(image)
        except OvsegError as error:
            yield error


def _pixels(one: NDArray[np.uint8] | OvsegError) -> int:
    return 0 if isinstance(one, OvsegError) else one.shape[0] * one.shape[1]
