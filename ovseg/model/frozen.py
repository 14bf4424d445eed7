"""``FrozenClip``: the encoders of one CLIP with one method, and the way of images through the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.attention import Method, get_method
from ovseg.clip.encoder import Trace, encode_image
from ovseg.clip.loaded import LoadedClip
from ovseg.clip.text import Progress, TextCache, TextEncoder
from ovseg.clip.towers import check_method, tower_of
from ovseg.errors import UsageError, described
from ovseg.files.pictures import ImageLike, OnError, Pictures
from ovseg.maps.similarity import cosine, place_features
from ovseg.model.engine import Dense, on_token_grid, stream
from ovseg.model.inputs import check_window, exact, input_size, preprocess
from ovseg.options import InputOptions, SegmentOptions
from ovseg.options.checks import Size, Templates
from ovseg.results.base import ImageFeatures, ImageTokens
from ovseg.words.background import with_background
from ovseg.words.vocabulary import Names, Vocabulary, as_vocabulary

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ovseg.clip.loaded import Clip
    from ovseg.clip.unknown import Unknown
    from ovseg.options.models import InputChoices

Result = TypeVar("Result")

Shape = tuple[int, int]
"""(height, width) of an image in pixels."""


class FrozenClip:
    """A frozen CLIP with one method: its encoders. Nothing changes after construction.

    Attributes:
        loaded: the CLIP with its tokenizer and where its weights came from.
        method: the row of the table of methods.
        size: the short side in pixels that images are brought to where no size is asked for.
        patch_size: (height, width) in pixels of one token.
    """

    def __init__(
        self,
        loaded: LoadedClip,
        method: Method,
        cache: TextCache | None = None,
        text: TextEncoder | None = None,
    ) -> None:
        check_method(loaded.clip.visual, method)
        self.loaded, self.method = loaded, method
        self.origin: Callable[..., FrozenClip] | None = None
        self.size, self.patch_size = loaded.size, tower_of(loaded.clip.visual).patch_size
        self._text = text or TextEncoder(loaded, cache)

    @property
    def clip(self) -> Clip:
        """The CLIP itself."""
        return self.loaded.clip

    @property
    def device(self) -> torch.device:
        """Where the weights are now: whoever holds the CLIP may have moved it."""
        return next(self.clip.visual.parameters()).device

    @property
    def logit_scale(self) -> float:
        """The model's own factor of its cosines before a softmax (100 for OpenAI's)."""
        return float(self.clip.logit_scale.exp())

    @property
    def logit_bias(self) -> float | None:
        """What a model of the sigmoid loss (SigLIP) adds to its scaled cosines, None for other models.

        There, ``sigmoid(logit_scale * cosine + logit_bias)`` is the probability that a text fits the image.
        """
        bias = getattr(self.clip, "logit_bias", None)
        return None if bias is None else float(bias)

    def with_method(self, method: str | Method) -> Self:
        """The same weights under another method; nothing is loaded or copied."""
        other = type(self)(
            self.loaded, get_method(method), text=self._text
        )  # texts do not depend on the method
        if self.origin is not None:
            other.origin = partial(self.origin, method=other.method)
        return other

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """A model goes to another process by its name; there, the same weights are loaded."""
        if self.origin is None or self.loaded.weights.is_random:
            raise UsageError("expected a model that can be loaded again by its name and weights")
        return self.origin, ()

    # ------------------------------------------------------------------------------------- encoders

    def encode_image(
        self, pixels: Tensor, *, patches: bool = True, trace: Trace | None = None
    ) -> ImageTokens:
        """The projected tokens of a batch of images, float32, not L2-normalised.

        Args:
            pixels: (B, 3, H, W), normalised; H and W are multiples of ``patch_size``. See ``preprocess``.
            patches: False computes the class token only.
            trace: collects attention weights and contributions.
        """
        if not isinstance(pixels, Tensor):
            raise UsageError(f"expected pixels (B, 3, H, W) as a tensor, got {described(pixels)}")
        on_device = pixels.to(self.device)
        return encode_image(self.clip.visual, on_device, self.method, patches=patches, trace=trace)

    def encode_text(
        self,
        names: str | Sequence[str],
        templates: Templates = InputOptions.templates,
        progress: Progress | None = None,
    ) -> Tensor:
        """The prompt ensemble of each name: (K, D) float32, L2-normalised, on the model's device.

        Args:
            names: texts as they are, "" included; a single text is one name.
            templates: as in ``InputOptions``.
            progress: called with (prompts done, prompts in all) while texts are encoded.
        """
        listed = [names] if isinstance(names, str) else names
        with exact(self.device):
            return self._text.encode(listed, templates, progress).to(self.device)

    def vocabulary(self, names: Names, options: SegmentOptions) -> Vocabulary:
        """The classes of ``names`` with the background words of ``options``, "auto" resolved.

        Raises:
            UsageError: ``names`` or the background words are wrong.

        Example:
            >>> import ovseg
            >>> options = ovseg.options.SegmentOptions(background="auto", templates="plain")
            >>> found = ovseg.load_model("tiny").vocabulary("dog, potted plant", options)
            >>> found.names, "grass" in found.texts[0], "plant" in found.texts[0]
            (('background', 'dog', 'potted plant'), True, False)
        """

        def encode(texts: Sequence[str]) -> NDArray[np.float32]:
            return np.asarray(self.encode_text(texts, options.templates).cpu().numpy())

        return with_background(as_vocabulary(names), options.background, encode)

    def unknown_words(self, names: str | Sequence[str]) -> list[Unknown]:
        """The words of ``names`` that the model cannot know, with near ones; see ``clip.unknown``.

        Example:
            >>> import ovseg
            >>> [str(one) for one in ovseg.load_model().unknown_words(["red bycicle", "tree"])]
            ['unknown word "bycicle": did you mean bicycle?']
        """
        from ovseg.clip.unknown import unknown_words

        with exact(self.device):
            return unknown_words(self._text, [names] if isinstance(names, str) else names)

    def preprocess(
        self,
        images: Sequence[NDArray[np.uint8]],
        size: tuple[int, int],
        resize: str = InputOptions.resize,
    ) -> Tensor:
        """Images (H, W, 3) uint8 RGB, stretched to ``size`` (height, width) and normalised: (B, 3, H, W)."""
        mean, std = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (self.loaded.mean, self.loaded.std)
        )
        return preprocess(images, size, resize, mean, std)

    def input_size(self, shape: Shape, size: Size | None = None) -> Shape:
        """The encoder's (height, width) for an image of ``shape``; see ``inputs.input_size``."""
        return input_size(shape, size, self.size, self.patch_size)

    def check_window(self, options: InputOptions) -> None:
        """Raise UsageError unless the window is made of whole patches."""
        check_window(options, self.patch_size)

    def dense_features(
        self, image: ImageLike, *, options: InputOptions | None = None, **choices: Unpack[InputChoices]
    ) -> ImageFeatures:
        """One feature for each place of an image, to be compared with any texts later.

        With windows, a place's feature is the mean over the windows that it lies in.

        Args:
            image: as in ``similarity``.
            options, choices: an ``InputOptions``, or its fields as keywords.

        Raises:
            UsageError: the window is not made of whole patches.
            ImageError: the image cannot be read.

        Example:
            >>> import ovseg
            >>> model = ovseg.load_model("tiny")
            >>> features = model.dense_features(ovseg.make_scene(11).image, size=128)
            >>> maps = features.places @ model.encode_text(["stripes", "gravel"]).T  # (N, 2)
            >>> features.grid, tuple(maps.shape)
            ((16, 16), (256, 2))
        """
        return next(self.dense_features_each([image], options=InputOptions.make(options, choices)))

    def dense_features_each(
        self,
        images: Iterable[ImageLike],
        *,
        on_error: OnError | None = None,
        options: InputOptions | None = None,
        **choices: Unpack[InputChoices],
    ) -> Iterator[ImageFeatures]:
        """``dense_features`` of several images in order; ``on_error`` as in ``similarity_each``."""
        chosen = InputOptions.make(options, choices)

        def finish(dense: Dense[Shape]) -> ImageFeatures:
            grid = on_token_grid(dense, self.patch_size)
            places = grid.flatten(1).T.contiguous()
            tokens = F.normalize(dense.class_tokens, dim=-1)
            return ImageFeatures(places, tokens, (grid.shape[1], grid.shape[2]))

        return self._stream(images, chosen, self.place_features, on_error, finish)

    # ---------------------------------------------------------------------------- towards the engine

    def place_features(self, tokens: ImageTokens) -> Tensor:
        """(B, N, D) features of the places, as the method makes them of the tokens."""
        return place_features(tokens, self.method.class_token_weight)

    def cosine_scores(self, text: Tensor) -> Callable[[ImageTokens], Tensor]:
        """For ``engine.stream``: a function from tokens to each place's cosine with each text, (B, N, K)."""
        return lambda tokens: cosine(self.place_features(tokens), text)

    def _stream(
        self,
        images: Iterable[ImageLike],
        options: InputOptions,
        score: Callable[[ImageTokens], Tensor] | None,
        on_error: OnError | None,
        finish: Callable[[Dense[Shape]], Result],
        edges: str | None = None,
    ) -> Iterator[Result]:
        """Images through the engine; the key of what ``finish`` gets is the image's (height, width).

        Without a ``score`` only class tokens are computed.
        """
        self.check_window(options)  # at once, and not when the first result is asked for
        pictures = Pictures(images, on_error)
        encode = self.encode_image if score is not None else partial(self.encode_image, patches=False)

        def pixels() -> Iterator[tuple[Shape, Tensor]]:
            for picture in pictures:
                shape = (picture.shape[0], picture.shape[1])
                yield (
                    shape,
                    self.preprocess([picture], self.input_size(shape, options.size), options.resize)[0],
                )

        dense = stream(
            encode, self.patch_size, pixels(), score, options, edges is not None, self.method.whole
        )

        def results() -> Iterator[Result]:
            while True:
                with exact(self.device):
                    one = next(dense, None)
                    if one is None:
                        break
                    result = finish(one)
                yield result
            if pictures.error is not None:  # after the results of the images before
                raise pictures.error

        return results()
