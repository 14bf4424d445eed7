"""``load_model(...)``: a frozen CLIP, a method and a text encoder behind one object.

image ─ dense.stream ─> scores on token grids ─┬─ similarity ─> SimilarityMap   (feature surgery)
names ─ encode_text ──> text features ─────────┼─ segment ────> LabelMap        (cosines only)
                                               └─ recognize ──> Recognition     (class token)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TypeAlias, TypeVar, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import CLIP, CustomTextCLIP
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.attention import Method, get_method
from ovseg.clip.encoder import Trace, encode_image
from ovseg.clip.models import LoadedClip, load_clip
from ovseg.clip.text import TextCache, TextEncoder
from ovseg.clip.towers import native_size, patch_size
from ovseg.dense import Dense, classify, on_token_grid, stream, whole_patches
from ovseg.errors import OvsegError, UsageError
from ovseg.io.images import ImageLike, load_image, resize_image
from ovseg.maps import recognition
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.similarity import apply_surgery, cosine, place_features
from ovseg.options import (
    InputOptions,
    LoadOptions,
    RecognitionOptions,
    SegmentOptions,
    SimilarityOptions,
    Size,
    pair,
)
from ovseg.results import LabelMap, Recognition, SimilarityMap
from ovseg.types import ImageFeatures, ImageTokens
from ovseg.vocabulary import Names, Vocabulary, as_vocabulary

OnError: TypeAlias = "Callable[[int, OvsegError], None]"
"""Called with the position of an image that cannot be read and what is wrong with it."""
Result = TypeVar("Result")


def load_model(
    name: str = "tiny",
    weights: str | PathLike[str] | None = LoadOptions.weights,
    *,
    method: str | Method = "clip_surgery",
    device: str = LoadOptions.device,
    precision: str = LoadOptions.precision,
    cache: bool = LoadOptions.cache,
    offline: bool = LoadOptions.offline,
) -> Model:
    """A model that is ready to use: the embedded one, or any model of open_clip's.

    Args:
        name: "tiny" for the embedded model, or a name of open_clip's such as "ViT-B-16".
        weights: a tag of open_clip's such as "openai", the path of a file, or "random" for untrained weights. The
            embedded model needs none, every other model needs one of them.
        method: how dense tokens are made, a name of ``ovseg.list_methods()``.
        device: "cpu", "cuda", "cuda:1" …
        precision: "fp32", "bf16" or "fp16" (not on a CPU) of the image tower. Texts are always encoded in fp32.
        cache: keep text features on disk.
        offline: never ask the network.

    Returns:
        The model, in evaluation mode, on ``device``.

    Raises:
        UsageError: a name, tag, method, device or precision is unknown, or weights are missing.
        WeightsError: the weights cannot be had or do not fit.

    Example:
        >>> model = load_model()
        >>> model.segment(np.zeros((60, 80, 3), np.uint8), "sky, grass").labels.shape
        (60, 80)
    """
    row = get_method(method)
    options = LoadOptions(weights=weights, device=device, precision=precision, cache=cache, offline=offline)
    given = None if options.weights is None else str(options.weights)
    loaded = load_clip(name, given, device=device, precision=precision, offline=offline)
    return Model(loaded, row, TextCache() if options.cache else None)


class Model:
    """A frozen CLIP with one method; see ``load_model``. Nothing changes after construction.

    Attributes:
        method: the row of the table of methods.
        size: the short side in pixels that images are brought to where no size is asked for.
        patch_size: (height, width) in pixels of one token.
    """

    def __init__(self, loaded: LoadedClip, method: Method, cache: TextCache | None = None) -> None:
        self.loaded = loaded
        self.method = method
        self.size = loaded.size
        self.patch_size = patch_size(loaded.clip.visual)
        self._text = TextEncoder(loaded.clip, loaded.tokenizer, cache)
        self._mean = torch.tensor(loaded.mean)[:, None, None]
        self._std = torch.tensor(loaded.std)[:, None, None]

    @property
    def clip(self) -> CLIP | CustomTextCLIP:
        """The untouched open_clip model."""
        return self.loaded.clip

    @property
    def device(self) -> torch.device:
        """Where the weights are now: whoever holds the open_clip model may have moved it."""
        return next(self.clip.visual.parameters()).device

    @property
    def logit_scale(self) -> float:
        """The model's own factor of its cosines before a softmax (100 for OpenAI's)."""
        return float(self.clip.logit_scale.exp())

    def with_method(self, method: str | Method) -> Model:
        """The same weights under another method; nothing is loaded or copied."""
        other = Model(self.loaded, get_method(method))
        other._text = self._text  # texts do not depend on the method
        return other

    # -------------------------------------------------------------------------------- encoders

    def encode_image(
        self, pixels: Tensor, *, patches: bool = True, trace: Trace | None = None
    ) -> ImageTokens:
        """The projected tokens of a batch of images, not L2-normalised.

        Args:
            pixels: (B, 3, H, W), normalised; H and W are multiples of ``patch_size``. See ``preprocess``.
            patches: False computes the class token only.
            trace: collects attention weights and contributions.

        Returns:
            Tokens in float32. Gradients flow unless the caller switches them off.
        """
        return encode_image(
            self.clip.visual, pixels.to(self.device), self.method, patches=patches, trace=trace
        )

    def encode_text(
        self, names: str | Sequence[str], templates: str | Sequence[str] = InputOptions.templates
    ) -> Tensor:
        """The prompt ensemble of each name: (K, D) float32, L2-normalised, on the model's device.

        Args:
            names: texts as they are, "" included; a single text is one name.
            templates: "paper" (85), "imagenet" (80), "plain", or templates with one ``{}`` each.
        """
        if isinstance(names, str):
            names = [names]
        return self._text.encode(names, templates).to(self.device)

    def preprocess(
        self,
        images: Sequence[NDArray[np.uint8]],
        size: tuple[int, int],
        resize: str = InputOptions.resize,
    ) -> Tensor:
        """Images (H, W, 3) uint8 RGB, stretched to ``size`` (height, width) and normalised: (B, 3, height, width)."""
        resized = np.stack([resize_image(image, size, resize) for image in images])
        pixels = torch.from_numpy(resized).to(self.device).permute(0, 3, 1, 2).float() / 255
        return (pixels - self._mean.to(self.device)) / self._std.to(self.device)

    def dense_features(self, image: ImageLike, options: InputOptions | None = None) -> ImageFeatures:
        """One feature for each place of an image, to be compared with any texts later.

        With windows, a place's feature is the mean over the windows that it lies in.

        Args:
            image: a picture in any form that ``load_image`` takes.
            options: size, window, stride and resize.

        Raises:
            UsageError: the window is not made of whole patches.
            ImageError: the image cannot be read.
        """
        options = options or InputOptions()
        (dense,) = self._stream([image], options, self._features, None)
        grid = on_token_grid(dense, self.patch_size)
        places = grid.flatten(1).T.contiguous()
        return ImageFeatures(places, F.normalize(dense.class_tokens, dim=-1), (grid.shape[1], grid.shape[2]))

    # ------------------------------------------------------------------------------- what it is for

    @overload  # a str is an iterable of str too, but it is one picture
    def similarity(  # type: ignore[overload-overlap]
        self,
        image: ImageLike,
        names: Names,
        *,
        surgery: str | None = ...,
        size: Size | None = ...,
        window: Size | None = ...,
        stride: Size | None = ...,
        batch: int | None = ...,
        resize: str = ...,
        templates: str | Sequence[str] = ...,
    ) -> SimilarityMap: ...
    @overload
    def similarity(
        self,
        image: Iterable[ImageLike],
        names: Names,
        *,
        surgery: str | None = ...,
        size: Size | None = ...,
        window: Size | None = ...,
        stride: Size | None = ...,
        batch: int | None = ...,
        resize: str = ...,
        templates: str | Sequence[str] = ...,
        on_error: OnError | None = ...,
    ) -> Iterator[SimilarityMap]: ...

    def similarity(
        self,
        image: ImageLike | Iterable[ImageLike],
        names: Names,
        *,
        surgery: str | None = SimilarityOptions.surgery,
        size: Size | None = SimilarityOptions.size,
        window: Size | None = SimilarityOptions.window,
        stride: Size | None = SimilarityOptions.stride,
        batch: int | None = SimilarityOptions.batch,
        resize: str = SimilarityOptions.resize,
        templates: str | Sequence[str] = SimilarityOptions.templates,
        on_error: OnError | None = None,
    ) -> SimilarityMap | Iterator[SimilarityMap]:
        """Where each name is in an image (Eq. 1 of CLIP Surgery).

        A class with several texts gets, at each place, the largest of its texts' similarities.

        Args:
            image: one picture, or an iterable of pictures, which are read as they are needed.
            names: a text with commas, a list, a dictionary of name to synonyms, or a vocabulary.
            surgery: "empty" removes the feature of the empty string and treats every text on its own; "label_set"
                (the paper) and "label_set_code" (the public code) remove what the texts have in common and need
                at least two; None leaves the cosines.
            size: the encoder's input in pixels, one side of a square or (height, width); None for the model's own
                short side at the image's aspect ratio.
            window, stride: sliding windows in pixels of the resized image.
            batch: images or windows in one call of the encoder.
            resize: "opencv", "pillow" or "bilinear" (``options.RESIZES``).
            templates: "paper" (85), "imagenet" (80), "plain", or templates with one ``{}`` each.
            on_error: called with the position of an image that cannot be read and the error; the image is left out.
                None: the error is raised after the results of all images before it.

        Returns:
            A SimilarityMap, or for several images an iterator of them in order.

        Raises:
            UsageError: an argument is wrong.
            ImageError: an image cannot be read.
        """
        options = SimilarityOptions(
            surgery=surgery,
            size=size,
            window=window,
            stride=stride,
            batch=batch,
            resize=resize,
            templates=templates,
        )
        vocabulary = as_vocabulary(names)
        self.check_surgery(options.surgery, vocabulary)
        text = self.encode_text(vocabulary.flat, options.templates)
        empty = self.encode_text([""], options.templates) if options.surgery == "empty" else None

        def score(tokens: ImageTokens) -> Tensor:
            return apply_surgery(self._features(tokens), tokens.class_token, text, options.surgery, empty)

        def finish(dense: Dense[tuple[int, int]]) -> SimilarityMap:
            grid = merge_synonyms(on_token_grid(dense, self.patch_size), vocabulary.owners)
            return SimilarityMap(grid.cpu().numpy(), vocabulary.names, dense.key)

        found = self._stream(_images(image), options, score, on_error)
        return _one_or_all(image, (finish(dense) for dense in found))

    @staticmethod
    def check_surgery(surgery: str | None, names: Vocabulary) -> None:
        """Raise UsageError for a surgery that these names are too few for."""
        if surgery in ("label_set", "label_set_code") and len(names.flat) < 2:
            raise UsageError(f"surgery={surgery!r} wanted at least two names, got one: use surgery='empty'")

    @overload  # a str is an iterable of str too, but it is one picture
    def segment(  # type: ignore[overload-overlap]
        self,
        image: ImageLike,
        names: Names,
        *,
        size: Size | None = ...,
        window: Size | None = ...,
        stride: Size | None = ...,
        batch: int | None = ...,
        resize: str = ...,
        logit_scale: float = ...,
        background: float | str | Sequence[str] | None = ...,
        area_threshold: float = ...,
        synonyms: str = ...,
        templates: str | Sequence[str] = ...,
        probabilities: bool = ...,
    ) -> LabelMap: ...
    @overload
    def segment(
        self,
        image: Iterable[ImageLike],
        names: Names,
        *,
        size: Size | None = ...,
        window: Size | None = ...,
        stride: Size | None = ...,
        batch: int | None = ...,
        resize: str = ...,
        logit_scale: float = ...,
        background: float | str | Sequence[str] | None = ...,
        area_threshold: float = ...,
        synonyms: str = ...,
        templates: str | Sequence[str] = ...,
        probabilities: bool = ...,
        on_error: OnError | None = ...,
    ) -> Iterator[LabelMap]: ...

    def segment(
        self,
        image: ImageLike | Iterable[ImageLike],
        names: Names,
        *,
        size: Size | None = SegmentOptions.size,
        window: Size | None = SegmentOptions.window,
        stride: Size | None = SegmentOptions.stride,
        batch: int | None = SegmentOptions.batch,
        resize: str = SegmentOptions.resize,
        logit_scale: float = SegmentOptions.logit_scale,
        background: float | str | Sequence[str] | None = SegmentOptions.background,
        area_threshold: float = SegmentOptions.area_threshold,
        synonyms: str = SegmentOptions.synonyms,
        templates: str | Sequence[str] = SegmentOptions.templates,
        probabilities: bool = False,
        on_error: OnError | None = None,
    ) -> LabelMap | Iterator[LabelMap]:
        """The best name for every pixel, from cosines alone; feature surgery is never used here.

        Args:
            image: one picture, or an iterable of pictures, which are read as they are needed.
            names: a text with commas, a list, a dictionary of name to synonyms, or a vocabulary. A class named
                "background" takes the pixels that no other class is sure of.
            size, window, stride, batch, resize, templates: as in ``similarity``. The windows' maps are averaged
                where they overlap.
            logit_scale: times cosine before the softmax over the texts, above 0.
            background: None; a probability in 0..1 below which a pixel goes to the class "background", or to void
                where there is none; or words that become one class "background" in front of the others.
            area_threshold: classes with at most this share of the foreground's pixels are removed, in 0..1; 0
                switches the rule off (SCLIP's area rule).
            synonyms: "probability" takes the largest of a class's texts after the softmax, "cosine" before it.
            probabilities: also return the class probabilities, (K, H, W) float32 at the image's size.
            on_error: as in ``similarity``.

        Returns:
            A LabelMap at the image's size, or for several images an iterator of them in order.

        Raises:
            UsageError: an argument is wrong.
            ImageError: an image cannot be read.
        """
        options = SegmentOptions(
            size=size,
            window=window,
            stride=stride,
            batch=batch,
            resize=resize,
            logit_scale=logit_scale,
            background=background,
            area_threshold=area_threshold,
            synonyms=synonyms,
            templates=templates,
        )
        vocabulary = with_background(as_vocabulary(names), options)
        text = self.encode_text(vocabulary.flat, options.templates)

        def finish(dense: Dense[tuple[int, int]]) -> LabelMap:
            labels, kept = classify(dense.scores, dense.key, vocabulary, options, probabilities)
            array = labels.cpu().numpy()
            return LabelMap(
                array.astype(np.uint8) if len(vocabulary) <= 255 else array.astype(np.uint16),
                vocabulary.names,
                None if kept is None else kept.cpu().numpy(),
            )

        found = self._stream(_images(image), options, self.cosine_scores(text), on_error)
        return _one_or_all(image, (finish(dense) for dense in found))

    @overload  # a str is an iterable of str too, but it is one picture
    def recognize(  # type: ignore[overload-overlap]
        self,
        image: ImageLike,
        names: Names,
        *,
        surgery: str | None = ...,
        size: Size | None = ...,
        resize: str = ...,
        templates: str | Sequence[str] = ...,
    ) -> Recognition: ...
    @overload
    def recognize(
        self,
        image: Iterable[ImageLike],
        names: Names,
        *,
        surgery: str | None = ...,
        size: Size | None = ...,
        resize: str = ...,
        templates: str | Sequence[str] = ...,
        on_error: OnError | None = ...,
    ) -> Iterator[Recognition]: ...

    def recognize(
        self,
        image: ImageLike | Iterable[ImageLike],
        names: Names,
        *,
        surgery: str | None = RecognitionOptions.surgery,
        size: Size | None = RecognitionOptions.size,
        resize: str = RecognitionOptions.resize,
        templates: str | Sequence[str] = RecognitionOptions.templates,
        on_error: OnError | None = None,
    ) -> Recognition | Iterator[Recognition]:
        """One score for each name: the class token against the texts (paper, section 4.5 and Table 6).

        A class with several texts gets the largest of their scores.

        Args:
            image: one picture, or an iterable of pictures, which are read as they are needed.
            names: as in ``similarity``.
            surgery: "label_set" (needs two texts), "label_set_code", "empty", None for cosines, or "softmax" for
                CLIP's own softmax over the texts at the model's logit scale.
            size: the encoder's input; None for a square of the model's native size.
            resize, templates, on_error: as in ``similarity``.

        Returns:
            A Recognition, or for several images an iterator of them in order.

        Raises:
            UsageError: an argument is wrong.
            ImageError: an image cannot be read.
        """
        options = RecognitionOptions(surgery=surgery, size=size, resize=resize, templates=templates)
        vocabulary = as_vocabulary(names)
        self.check_surgery(options.surgery, vocabulary)
        text = self.encode_text(vocabulary.flat, options.templates)
        empty = self.encode_text([""], options.templates) if options.surgery == "empty" else None

        def finish(dense: Dense[tuple[int, int]]) -> Recognition:
            scores = recognition.recognize(dense.class_tokens, text, options.surgery, empty, self.logit_scale)
            merged = merge_synonyms(scores.T[..., None], vocabulary.owners)[:, 0, 0]  # (K,)
            return Recognition(merged.cpu().numpy(), vocabulary.names)

        wanted = options.size if options.size is not None else native_size(self.clip.visual)
        inputs = InputOptions(size=wanted, resize=options.resize)
        found = self._stream(_images(image), inputs, _no_channels, on_error, class_token_only=True)
        return _one_or_all(image, (finish(dense) for dense in found))

    # ------------------------------------------------------------------------------ towards the engine

    def cosine_scores(self, text: Tensor) -> Callable[[ImageTokens], Tensor]:
        """A function from tokens to the cosine of every place with every text, (B, N, K), for ``dense.stream``."""
        return lambda tokens: cosine(self._features(tokens), text)

    def check_window(self, options: InputOptions) -> None:
        """Raise UsageError unless the window is made of whole patches."""
        if options.window is None:
            return
        for side, patch in zip(pair(options.window), self.patch_size, strict=True):
            if side < patch or side % patch:
                raise UsageError(
                    f"wanted a window in multiples of the patch {self.patch_size}, got {options.window}"
                )

    def input_size(self, shape: tuple[int, int], size: Size | None = None) -> tuple[int, int]:
        """The encoder's (height, width) for an image of ``shape``: whole patches, nearest to ``size``.

        Without a size the short side becomes the model's default at the image's aspect ratio, which is held to 4:1
        so that a strip does not become a giant.
        """
        if size is not None:
            return whole_patches(pair(size), self.patch_size)
        height, width = shape
        ratio = min(4.0, max(height, width) / min(height, width))
        long = round(self.size * ratio)
        return whole_patches((self.size, long) if height <= width else (long, self.size), self.patch_size)

    def _features(self, tokens: ImageTokens) -> Tensor:
        return place_features(tokens, self.method.class_token_weight)

    def _stream(
        self,
        images: Iterable[ImageLike],
        options: InputOptions,
        score: Callable[[ImageTokens], Tensor],
        on_error: OnError | None,
        class_token_only: bool = False,
    ) -> Iterator[Dense[tuple[int, int]]]:
        """Images through the engine; the key of each result is the image's (height, width)."""
        self.check_window(options)  # at once, and not when the first result is asked for
        encoder = _ClassTokens(self) if class_token_only else self
        source = _Source(self, images, options, on_error)

        def results() -> Iterator[Dense[tuple[int, int]]]:
            yield from stream(encoder, source, score, options)
            if source.error is not None:
                raise source.error

        return results()


class _Source:
    """Images to pixels, one at a time. An error ends it and is kept until the results before it are out."""

    def __init__(
        self,
        model: Model,
        images: Iterable[ImageLike],
        options: InputOptions,
        on_error: OnError | None,
    ) -> None:
        self.model, self.images, self.options, self.on_error = model, images, options, on_error
        self.error: OvsegError | None = None

    def __iter__(self) -> Iterator[tuple[tuple[int, int], Tensor]]:
        for index, image in enumerate(self.images):
            try:
                picture = load_image(image)
            except OvsegError as error:
                if self.on_error is None:
                    self.error = error
                    return
                self.on_error(index, error)
                continue
            shape = (picture.shape[0], picture.shape[1])
            size = self.model.input_size(shape, self.options.size)
            yield shape, self.model.preprocess([picture], size, self.options.resize)[0]


@dataclass(frozen=True)
class _ClassTokens:
    """The model as an encoder of class tokens alone; the one place it gives has no channels."""

    model: Model

    @property
    def patch_size(self) -> tuple[int, int]:
        return self.model.patch_size

    def encode_image(self, pixels: Tensor) -> ImageTokens:
        token = self.model.encode_image(pixels, patches=False).class_token
        return ImageTokens(token[:, None], token, (1, 1))


def _no_channels(tokens: ImageTokens) -> Tensor:
    return tokens.patches[..., :0]


def with_background(vocabulary: Vocabulary, options: SegmentOptions) -> Vocabulary:
    """The vocabulary with the class that words given as ``options.background`` make.

    Raises:
        UsageError: words were given and there is a background class already.
    """
    if isinstance(options.background, tuple):
        return vocabulary.with_background(options.background)
    return vocabulary


def _is_one(image: object) -> bool:
    one = isinstance(image, (str, bytes)) or hasattr(image, "__array__") or hasattr(image, "read")
    return one or not isinstance(image, Iterable)


def _images(image: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
    return cast("Iterable[ImageLike]", [image] if _is_one(image) else image)


def _one_or_all(image: object, results: Iterator[Result]) -> Result | Iterator[Result]:
    return next(results) if _is_one(image) else results
