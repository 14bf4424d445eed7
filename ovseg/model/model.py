"""``Model``: a frozen CLIP with one method.

image ─ engine.stream ─> scores on token grids ─┬─ similarity ─> SimilarityMap   (feature surgery)
names ─ encode_text ───> text features ─────────┼─ segment ────> LabelMap        (cosines only)
                                                └─ recognize ──> Recognition     (class token)
"""

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
from ovseg.clip.towers import check_method, native_size, patch_size
from ovseg.errors import UsageError, described
from ovseg.files.pictures import ImageLike, OnError, Pictures
from ovseg.maps import recognition
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.similarity import apply_surgery, check_surgery, cosine, place_features
from ovseg.model.engine import Dense, classify, exact, label_array, on_token_grid, stream
from ovseg.model.inputs import check_window, input_size, preprocess
from ovseg.options import InputOptions, RecognitionOptions, SegmentOptions, SimilarityOptions
from ovseg.options.checks import Size, Templates, check_flag
from ovseg.results import LabelMap, Recognition, SimilarityMap
from ovseg.results.types import ImageFeatures, ImageTokens
from ovseg.words.vocabulary import Names, as_vocabulary

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ovseg.clip.loaded import Clip
    from ovseg.options.models import InputChoices, RecognitionChoices, SegmentChoices, SimilarityChoices

Result = TypeVar("Result")
Shape = tuple[int, int]
"""(height, width) of an image in pixels."""


class Model:
    """A frozen CLIP with one method that segments, explains and recognizes; see ``ovseg.load_model``.

    Nothing changes after construction. Every verb has two forms: ``segment(image, names)`` gives one result,
    ``segment_each(images, names)`` an iterator of results in order, in which images of one size go through
    the encoder together. Both take a vocabulary in any form (a text with commas, a list, a dictionary of name
    to synonyms, a ``Vocabulary``), and their options as one object or as keywords.

    Attributes:
        loaded: the CLIP with its tokenizer and where its weights came from.
        method: the row of the table of methods.
        origin: loads the same model again; None for one that was put together.
        size: the short side in pixels that images are brought to where no size is asked for.
        patch_size: (height, width) in pixels of one token.

    Example:
        >>> import ovseg
        >>> model = ovseg.load_model(method="naclip")
        >>> model.method.name, model.patch_size, model.with_method("gem").method.name
        ('naclip', (16, 16), 'gem')
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
        self.origin: Callable[..., Model] | None = None
        self.size, self.patch_size = loaded.size, patch_size(loaded.clip.visual)
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

    def with_method(self, method: str | Method) -> Model:
        """The same weights under another method; nothing is loaded or copied."""
        other = Model(self.loaded, get_method(method), text=self._text)  # texts do not depend on the method
        if self.origin is not None:
            other.origin = partial(self.origin, method=other.method)
        return other

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """A model goes to another process by its name; there, the same weights are loaded."""
        if self.origin is None or self.loaded.weights.is_random:
            raise UsageError("expected a model that can be loaded again by its name and weights")
        return self.origin, ()

    # ------------------------------------------------------------------------------- what it is for

    def similarity(
        self,
        image: ImageLike,
        names: Names,
        *,
        options: SimilarityOptions | None = None,
        **choices: Unpack[SimilarityChoices],
    ) -> SimilarityMap:
        """How similar each place of an image is to each name (Eq. 1 of CLIP Surgery).

        A class with several texts gets the largest of its texts' similarities at each place.

        Args:
            image: a picture in any form that ``ovseg.load_image`` takes.
            names: the classes.
            options, choices: a ``SimilarityOptions``, or its fields as keywords.

        Raises:
            UsageError: an argument is wrong.
            ImageError: the image cannot be read.

        Example:
            >>> import ovseg
            >>> maps = ovseg.load_model("tiny").similarity(ovseg.make_scene(11).image, "stripes, gravel")
            >>> maps["gravel"].shape, float(maps["gravel"].max())
            ((128, 128), 1.0)
        """
        chosen = SimilarityOptions.make(options, choices)
        return next(self.similarity_each([image], names, options=chosen))

    def similarity_each(
        self,
        images: Iterable[ImageLike],
        names: Names,
        *,
        on_error: OnError | None = None,
        options: SimilarityOptions | None = None,
        **choices: Unpack[SimilarityChoices],
    ) -> Iterator[SimilarityMap]:
        """``similarity`` of several images in order, read as they are needed.

        Args:
            images, names, options, choices: as in ``similarity``.
            on_error: called with the position of an image that cannot be read and the error; the image is
                left out. None: the error is raised after the results before it.
        """
        chosen = SimilarityOptions.make(options, choices)
        vocabulary = as_vocabulary(names)
        check_surgery(chosen.surgery, len(vocabulary.flat))
        text = self.encode_text(vocabulary.flat, chosen.templates)
        empty = self.encode_text([""], chosen.templates) if chosen.surgery == "empty" else None

        def score(tokens: ImageTokens) -> Tensor:
            return apply_surgery(self.place_features(tokens), tokens.class_token, text, chosen.surgery, empty)

        def finish(dense: Dense[Shape]) -> SimilarityMap:
            grid = merge_synonyms(on_token_grid(dense, self.patch_size), vocabulary.owners)
            return SimilarityMap(grid.cpu().numpy(), vocabulary.names, dense.key)

        return self._stream(images, chosen, score, on_error, finish)

    def segment(
        self,
        image: ImageLike,
        names: Names,
        *,
        probabilities: bool = False,
        options: SegmentOptions | None = None,
        **choices: Unpack[SegmentChoices],
    ) -> LabelMap:
        """One of the names for each pixel of an image, from cosines alone.

        Args:
            image, names: as in ``similarity``. A class that is called "background" is one.
            probabilities: also keep the probability of each class at every pixel.
            options, choices: a ``SegmentOptions``, or its fields as keywords.

        Raises:
            UsageError: an argument is wrong.
            ImageError: the image cannot be read.

        Example:
            >>> import ovseg
            >>> labels = ovseg.load_model("tiny").segment(ovseg.make_scene(11).image, "stripes, waves, gravel")
            >>> labels.array.shape, list(labels)
            ((128, 128), ['stripes', 'waves', 'gravel'])
        """
        chosen = SegmentOptions.make(options, choices)
        return next(self.segment_each([image], names, probabilities=probabilities, options=chosen))

    def segment_each(
        self,
        images: Iterable[ImageLike],
        names: Names,
        *,
        on_error: OnError | None = None,
        probabilities: bool = False,
        options: SegmentOptions | None = None,
        **choices: Unpack[SegmentChoices],
    ) -> Iterator[LabelMap]:
        """``segment`` of several images in order; ``on_error`` as in ``similarity_each``."""
        check_flag("probabilities", probabilities)
        chosen = SegmentOptions.make(options, choices)
        vocabulary = as_vocabulary(names).with_background(chosen.background)
        text = self.encode_text(vocabulary.flat, chosen.templates)

        def finish(dense: Dense[Shape]) -> LabelMap:
            labels, kept = classify(dense.scores, dense.key, vocabulary, chosen, probabilities)
            array = None if kept is None else kept.cpu().numpy()
            return LabelMap(label_array(labels, len(vocabulary)), vocabulary.names, array)

        score = self.cosine_scores(text)
        return self._stream(images, chosen, score, on_error, finish, chosen.edges)

    def recognize(
        self,
        image: ImageLike,
        names: Names,
        *,
        options: RecognitionOptions | None = None,
        **choices: Unpack[RecognitionChoices],
    ) -> Recognition:
        """One score for each name: the class token against the texts (section 4.5 and Table 6 of the paper).

        A class with several texts gets the largest of their scores.

        Args:
            image, names: as in ``similarity``.
            options, choices: a ``RecognitionOptions``, or its fields as keywords.

        Raises:
            UsageError: an argument is wrong.
            ImageError: the image cannot be read.

        Example:
            >>> import ovseg
            >>> found = ovseg.load_model("tiny").recognize(ovseg.make_scene(11).image, "stripes, waves, gravel")
            >>> len(found.best(2)), found.best(1) == found.best()[:1]
            (2, True)
        """
        chosen = RecognitionOptions.make(options, choices)
        return next(self.recognize_each([image], names, options=chosen))

    def recognize_each(
        self,
        images: Iterable[ImageLike],
        names: Names,
        *,
        on_error: OnError | None = None,
        options: RecognitionOptions | None = None,
        **choices: Unpack[RecognitionChoices],
    ) -> Iterator[Recognition]:
        """``recognize`` of several images in order; ``on_error`` as in ``similarity_each``."""
        chosen = RecognitionOptions.make(options, choices)
        surgery = chosen.surgery_in_force
        vocabulary = as_vocabulary(names)
        check_surgery(surgery, len(vocabulary.flat))
        text = self.encode_text(vocabulary.flat, chosen.templates)
        empty = self.encode_text([""], chosen.templates) if surgery == "empty" else None
        scale = self.logit_scale if chosen.scores == "softmax" else None
        score = recognition.recognizer(text, surgery, empty, scale)

        def finish(dense: Dense[Shape]) -> Recognition:
            scores = score(dense.class_tokens).T[..., None]  # (texts, 1, 1)
            return Recognition(
                merge_synonyms(scores, vocabulary.owners)[:, 0, 0].cpu().numpy(), vocabulary.names
            )

        size = chosen.size if chosen.size is not None else native_size(self.clip.visual)
        inputs = InputOptions(size=size, resize=chosen.resize)
        return self._stream(images, inputs, None, on_error, finish)

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

        dense = stream(encode, self.patch_size, pixels(), score, options, edges is not None)

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
