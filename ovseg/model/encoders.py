"""A frozen CLIP with one method: its encoders, and the way of images through the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import CLIP, CustomTextCLIP
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.attention import Method, get_method
from ovseg.clip.encoder import Trace, encode_image
from ovseg.clip.models import LoadedClip
from ovseg.clip.text import Progress, TextCache, TextEncoder
from ovseg.clip.towers import check_method, patch_size
from ovseg.errors import UsageError, described
from ovseg.files.pictures import ImageLike, OnError, Pictures
from ovseg.files.sizes import resize_image
from ovseg.maps.similarity import cosine, place_features
from ovseg.model.engine import Dense, on_token_grid, stream, whole_patches
from ovseg.options import InputOptions
from ovseg.options.checks import Size, check_size, pair
from ovseg.results.types import ImageFeatures, ImageTokens

if TYPE_CHECKING:
    from typing_extensions import Self


class FrozenClip:
    """A frozen CLIP with one method. Nothing changes after construction.

    Attributes:
        loaded: the open_clip model with its tokenizer and where its weights came from.
        method: the row of the table of methods.
        size: the short side in pixels that images are brought to where no size is asked for.
        patch_size: (height, width) in pixels of one token.
    """

    def __init__(self, loaded: LoadedClip, method: Method, cache: TextCache | None = None) -> None:
        check_method(loaded.clip.visual, method)
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

    @property
    def logit_bias(self) -> float | None:
        """What a model of the sigmoid loss (SigLIP) adds to its scaled cosines, None for other models.

        There, ``sigmoid(logit_scale * cosine + logit_bias)`` is the probability that a text fits the image.
        """
        bias = getattr(self.clip, "logit_bias", None)
        return None if bias is None else float(bias)

    def with_method(self, method: str | Method) -> Self:
        """The same weights under another method; nothing is loaded or copied."""
        other = type(self)(self.loaded, get_method(method))
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
        if not isinstance(pixels, Tensor):
            raise UsageError(f"expected pixels (B, 3, H, W) as a tensor, got {described(pixels)}")
        return encode_image(
            self.clip.visual, pixels.to(self.device), self.method, patches=patches, trace=trace
        )

    def encode_text(
        self,
        names: str | Sequence[str],
        templates: str | Sequence[str] = InputOptions.templates,
        progress: Progress | None = None,
    ) -> Tensor:
        """The prompt ensemble of each name: (K, D) float32, L2-normalised, on the model's device.

        Args:
            names: texts as they are, "" included; a single text is one name.
            templates: "paper" (85), "imagenet" (80), "plain", or templates with one ``{}`` each.
            progress: called with (prompts done, prompts in all) while texts are encoded.
        """
        if isinstance(names, str):
            names = [names]
        return self._text.encode(names, templates, progress).to(self.device)

    def preprocess(
        self,
        images: Sequence[NDArray[np.uint8]],
        size: tuple[int, int],
        resize: str = InputOptions.resize,
    ) -> Tensor:
        """Images (H, W, 3) uint8 RGB, stretched to ``size`` (height, width) and normalised: (B, 3, H, W)."""
        several = isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim > 0)
        if not several or not len(images):
            raise UsageError(f"expected a list of at least one image (H, W, 3), got {described(images)}")
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

        Example:
            >>> import ovseg
            >>> model = ovseg.load_model("tiny")
            >>> features = model.dense_features(ovseg.make_scene(11).image, InputOptions(size=128))
            >>> maps = features.places @ model.encode_text(["stripes", "gravel"]).T  # (N, 2)
            >>> features.grid, tuple(maps.shape)
            ((16, 16), (256, 2))
        """
        (features,) = self.dense_features_of([image], options)
        return features

    def dense_features_of(
        self, images: Iterable[ImageLike], options: InputOptions | None = None
    ) -> Iterator[ImageFeatures]:
        """``dense_features`` of several images in order; images of one size go through the encoder together.

        Args:
            images: pictures in any form that ``load_image`` takes, read as they are needed.
            options: size, window, stride, batch and resize.

        Raises:
            UsageError: the window is not made of whole patches.
            ImageError: an image cannot be read; it is raised after the features of the images before it.

        Example:
            >>> import ovseg
            >>> scenes = [ovseg.make_scene(seed).image for seed in (11, 23)]
            >>> model = ovseg.load_model("tiny")
            >>> [one.grid for one in model.dense_features_of(scenes, InputOptions(size=64))]
            [(8, 8), (8, 8)]
        """
        options = InputOptions() if options is None else options
        if not isinstance(options, InputOptions):
            raise UsageError(f"expected options as InputOptions, got {type(options).__name__}")
        return map(self._placed, self._stream(images, options, self._features, None))

    def _placed(self, dense: Dense[tuple[int, int]]) -> ImageFeatures:
        grid = on_token_grid(dense, self.patch_size)
        places = grid.flatten(1).T.contiguous()
        return ImageFeatures(places, F.normalize(dense.class_tokens, dim=-1), (grid.shape[1], grid.shape[2]))

    # ------------------------------------------------------------------------------ towards the engine

    def cosine_scores(self, text: Tensor) -> Callable[[ImageTokens], Tensor]:
        """For ``dense.stream``: a function from tokens to each place's cosine with each text, (B, N, K)."""
        return lambda tokens: cosine(self._features(tokens), text)

    def check_window(self, options: InputOptions) -> None:
        """Raise UsageError unless the window is made of whole patches."""
        if options.window is None:
            return
        for side, patch in zip(pair(options.window), self.patch_size, strict=True):
            if side < patch or side % patch:
                raise UsageError(
                    f"expected a window in multiples of the patch {self.patch_size}, got {options.window}"
                )

    def input_size(self, shape: tuple[int, int], size: Size | None = None) -> tuple[int, int]:
        """The encoder's (height, width) for an image of ``shape``: whole patches, nearest to ``size``.

        Without a size the short side becomes the model's default at the image's aspect ratio, which is held
        to 4:1 so that a strip does not become a giant.
        """
        checked = check_size("size", size)
        if checked is not None:
            return whole_patches(pair(checked), self.patch_size)
        sides = check_size("the shape of an image", shape, 2**31 - 1)
        if not isinstance(sides, tuple):
            raise UsageError(f"expected the shape of an image as (height, width), got {described(shape)}")
        height, width = sides
        ratio = min(4.0, max(sides) / min(sides))
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
        pictures = Pictures(images, on_error)

        def results() -> Iterator[Dense[tuple[int, int]]]:
            yield from stream(encoder, self._pixels(pictures, options), score, options)
            if pictures.error is not None:  # after the results of the images before
                raise pictures.error

        return results()

    def _pixels(
        self, pictures: Iterable[NDArray[np.uint8]], options: InputOptions
    ) -> Iterator[tuple[tuple[int, int], Tensor]]:
        for picture in pictures:
            shape = (picture.shape[0], picture.shape[1])
            pixels = self.preprocess([picture], self.input_size(shape, options.size), options.resize)
            del picture  # the engine keeps the pixels it encodes, nobody keeps the picture
            yield shape, pixels[0]


@dataclass(frozen=True)
class _ClassTokens:
    """The model as an encoder of class tokens alone; the one place that it gives has no channels."""

    model: FrozenClip

    @property
    def patch_size(self) -> tuple[int, int]:
        return self.model.patch_size

    def encode_image(self, pixels: Tensor) -> ImageTokens:
        token = self.model.encode_image(pixels, patches=False).class_token
        return ImageTokens(token[:, None], token, (1, 1))


def no_channels(tokens: ImageTokens) -> Tensor:
    """Scores of nothing, (B, N, 0), where the class token alone is wanted."""
    return tokens.patches[..., :0]
