"""``load_model(...)``: a frozen CLIP, a method and a text encoder behind one object.

image ─ encode_image ─> tokens ─┬─ similarity ─> SimilarityMap   (feature surgery)
names ─ encode_text ──> texts ──┼─ segment ────> LabelMap        (cosines only)
                                └─ recognize ──> scores          (class token)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from ovseg.clip.attention import Method, get_method
from ovseg.clip.encoder import Trace, encode_image, patch_size
from ovseg.clip.models import LoadedClip, load_clip
from ovseg.clip.text import TextCache, TextEncoder
from ovseg.errors import UsageError
from ovseg.io.images import ImageLike, load_image, resize_image
from ovseg.maps import recognition
from ovseg.maps.labels import SYNONYMS, label_map, probabilities
from ovseg.maps.similarity import (
    SURGERIES,
    class_weights,
    cosine,
    empty_surgery,
    label_set_surgery,
    resize,
    resize_rows,
    similarity_map,
    to_grid,
)
from ovseg.maps.tiling import sliding
from ovseg.types import ImageTokens, LabelMap, SimilarityMap
from ovseg.vocabulary import Vocabulary, as_vocabulary

Result = TypeVar("Result")
BATCH_PIXELS = 4 * 512 * 512
"""Images of one size go through the encoder together up to this many pixels."""
BAND_VALUES = 2**24
"""Scores (texts x pixels) that are held at once on the way to a label map, 64 MB in float32."""


def load_model(
    name: str = "tiny",
    weights: str | None = None,
    *,
    method: str | Method = "clip_surgery",
    device: str = "cpu",
    precision: str = "fp32",
    cache: bool = True,
    offline: bool = False,
) -> Model:
    """A model ready to use: the embedded one, or any open_clip ``name``.

    ``weights``: an open_clip tag, the path of a checkpoint, or None for random weights (for
    "tiny" it must be None). ``method``: a row of the table (``ovseg.methods()``). ``precision``:
    "fp32", "bf16" or "fp16" (GPU) of the image tower; texts are always encoded in fp32. ``cache``
    keeps text features on disk. ``offline`` never touches the network.

    Raises UsageError for an unknown name, tag, method, device or precision, WeightsError where
    weights cannot be had or do not fit.
    """
    method = get_method(method)
    loaded = load_clip(name, weights, device=device, precision=precision, offline=offline)
    return Model(loaded, method, TextCache() if cache else None)


class Model:
    """A frozen CLIP with one method. Nothing changes after construction; see ``load_model``."""

    def __init__(self, loaded: LoadedClip, method: Method, cache: TextCache | None = None) -> None:
        self.loaded = loaded
        self.method = method
        self.size = loaded.size
        self.patch_size = patch_size(loaded.clip.visual)
        self._text = TextEncoder(loaded.clip, loaded.tokenizer, cache)
        self.dtype = next(loaded.clip.visual.parameters()).dtype
        self._mean = torch.tensor(loaded.mean)[:, None, None]
        self._std = torch.tensor(loaded.std)[:, None, None]

    @property
    def clip(self) -> Any:
        """The untouched open_clip model."""
        return self.loaded.clip

    @property
    def device(self) -> torch.device:
        """Where the weights are now: whoever holds the open_clip model may have moved it."""
        return next(self.clip.visual.parameters()).device

    def with_method(self, method: str | Method) -> Model:
        """The same weights under another method; nothing is loaded or copied."""
        other = Model(self.loaded, get_method(method))
        other._text = self._text  # texts do not depend on the method
        return other

    # -------------------------------------------------------------------------------- encoders

    def encode_image(
        self, pixels: Tensor, *, patches: bool = True, trace: Trace | None = None
    ) -> ImageTokens:
        """Projected tokens of normalised ``pixels`` (B, 3, H, W), not L2-normalised, float32.

        H and W must be multiples of ``patch_size``. ``patches=False``: class token only. Gradients
        flow unless the caller switches them off; ``trace`` collects attention and contributions.
        """
        return encode_image(
            self.loaded.clip.visual, pixels.to(self.device), self.method, patches=patches, trace=trace
        )

    def encode_text(self, names: Sequence[str], templates: str | Sequence[str] = "paper") -> Tensor:
        """(K, D) L2-normalised prompt ensembles, float32, one per name; "" is a legal name.

        ``templates``: "paper" (85), "imagenet" (80), "plain", or strings with one ``{}`` each.
        """
        if isinstance(names, str):
            names = [names]
        return self._text.encode(names, templates).to(self.device)

    def preprocess(self, images: Sequence[np.ndarray], size: tuple[int, int]) -> Tensor:
        """(H, W, 3) uint8 RGB images squeezed to ``size`` (height, width) and normalised, (B, 3, H, W)."""
        resized = np.stack([resize_image(image, size) for image in images])
        pixels = torch.from_numpy(resized).to(self.device).permute(0, 3, 1, 2).float() / 255
        return (pixels - self._mean.to(self.device)) / self._std.to(self.device)

    # ------------------------------------------------------------------------------- what it is for

    @overload
    def similarity(self, image: list[Any], names: Any, **options: Any) -> list[SimilarityMap]: ...
    @overload
    def similarity(self, image: ImageLike, names: Any, **options: Any) -> SimilarityMap: ...

    def similarity(  # type: ignore[misc]  # the overloads say what comes back, this signature what goes in
        self,
        image: Any,
        names: Any,
        *,
        surgery: str | None = "empty",
        size: Any = None,
        templates: str | Sequence[str] = "paper",
    ) -> Any:
        """Where each text is: a SimilarityMap (K, H, W) at the image's size (Eq. 1).

        ``surgery``: "empty" removes the empty string's feature and treats every text on its own;
        "label_set" (paper) and "label_set_code" (public code) remove what the texts share and
        need at least two; None leaves the cosines. ``size``: the encoder's input, an int for a
        square (paper: 512), (height, width), or None for the model's own short side at the image's
        aspect ratio. A list of images gives a list, batched.

        Raises UsageError for bad arguments, ImageError for an image that cannot be read.
        """
        vocabulary = as_vocabulary(names)
        self.check_surgery(surgery, vocabulary)
        text = self.encode_text(vocabulary.names, templates)
        empty = self.encode_text([""], templates) if surgery == "empty" else None

        def finish(tokens: ImageTokens, shapes: list[tuple[int, int]]) -> Iterator[SimilarityMap]:
            scores = _apply_surgery(tokens, text, surgery, empty)
            raw = to_grid(scores, tokens.grid).cpu().numpy()
            for index, shape in enumerate(shapes):
                values = similarity_map(scores[index : index + 1], tokens.grid, shape)[0].cpu().numpy()
                yield SimilarityMap(values, raw[index], vocabulary.names)

        return self._for_each(image, size, lambda pixels, shapes: finish(self.encode_image(pixels), shapes))

    @staticmethod
    def check_surgery(surgery: str | None, names: Vocabulary) -> None:
        """Raise UsageError for a surgery that does not exist or that these names are too few for."""
        if surgery is not None and surgery not in SURGERIES:
            raise UsageError(f"unknown surgery {surgery!r}: wanted None or one of {', '.join(SURGERIES)}")
        if surgery in ("label_set", "label_set_code") and len(names) < 2:
            raise UsageError(f"surgery={surgery!r} wanted at least two names, got one: use surgery='empty'")

    @overload
    def segment(self, image: list[Any], names: Any, **options: Any) -> list[LabelMap]: ...
    @overload
    def segment(self, image: ImageLike, names: Any, **options: Any) -> LabelMap: ...

    def segment(  # type: ignore[misc]  # the overloads say what comes back, this signature what goes in
        self,
        image: Any,
        names: Any,
        *,
        size: Any = None,
        window: int | tuple[int, int] | None = None,
        stride: int | tuple[int, int] | None = None,
        logit_scale: float = 50.0,
        background: float | Sequence[str] | None = None,
        synonyms: str = "probability",
        templates: str | Sequence[str] = "paper",
    ) -> Any:
        """The best name for every pixel: a LabelMap at the image's size. Cosines only, no feature surgery.

        ``size`` as in ``similarity``. ``window`` and ``stride`` in pixels of the resized image cut
        it into windows whose maps are averaged. ``logit_scale`` times cosine goes through a softmax over
        the texts. ``background``: None; a probability below which a pixel is void (or the
        vocabulary's background class); or words that become one class "background" in front.
        ``synonyms``: "probability" or "cosine", where the largest of a class's texts is taken.

        Raises UsageError for bad arguments, ImageError for an image that cannot be read.
        """
        vocabulary, threshold = split_background(as_vocabulary(names), background)
        check_synonyms(synonyms)
        text = self.encode_text(vocabulary.flat, templates)

        def cosines(pixels: Tensor) -> Tensor:
            return self.cosine_maps(pixels, text, window, stride)

        def finish(maps: Tensor, shapes: list[tuple[int, int]]) -> Iterator[LabelMap]:
            for cosine_map, shape in zip(maps, shapes, strict=True):
                bands = score_bands(cosine_map, shape, vocabulary, logit_scale, synonyms)
                labels = [label_map(band, threshold, vocabulary.background) for band in bands]
                yield LabelMap(np.concatenate(labels), vocabulary.names)

        return self._for_each(image, size, lambda pixels, shapes: finish(cosines(pixels), shapes))

    def cosine_maps(
        self,
        pixels: Tensor,
        text: Tensor,
        window: int | tuple[int, int] | None = None,
        stride: int | tuple[int, int] | None = None,
        batch: int = 8,
    ) -> Tensor:
        """Cosines of every place with every text: (B, 3, H, W), (K, D) -> (B, K, h, w).

        The token grid for whole images, pixels (H, W) where ``window`` cuts them, ``batch`` at once.
        """
        if window is not None:
            return torch.stack(self.window_maps(list(pixels), text, window, stride, batch))
        if stride is not None:
            raise UsageError("stride wanted a window with it, got none")
        tokens = self.encode_image(pixels)
        return to_grid(cosine(tokens.patches, text), tokens.grid)

    def window_maps(
        self,
        images: Sequence[Tensor],
        text: Tensor,
        window: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        batch: int = 8,
    ) -> list[Tensor]:
        """``cosine_maps`` in windows of images (3, H, W) of any sizes: a map (K, H, W) per image.

        ``batch`` windows go through the encoder at once, whichever image they are of. A window that
        a small image cuts short is stretched to whole patches.
        """
        window = self.check_window(window)

        def score(part: Tensor) -> Tensor:
            size = self.input_size((part.shape[2], part.shape[3]), (part.shape[2], part.shape[3]))
            return self.cosine_maps(part if size == part.shape[2:] else resize(part, size), text)

        return sliding(images, window, _pair(stride) if stride is not None else window, score, batch)

    def check_window(self, window: int | tuple[int, int]) -> tuple[int, int]:
        """``window`` as (height, width). Raises UsageError unless it is made of whole patches."""
        sides = _pair(window)
        for side, patch in zip(sides, self.patch_size, strict=True):
            if side < patch or side % patch:
                raise UsageError(f"wanted a window in multiples of the patch {self.patch_size}, got {sides}")
        return sides

    def recognize(
        self,
        image: Any,
        names: Any,
        *,
        surgery: str | None = "label_set",
        size: Any = None,
        templates: str | Sequence[str] = "paper",
    ) -> Any:
        """One score per name, (K,) float32: the class token against the texts (paper, Table 6).

        ``surgery``: "label_set" (needs two names), "label_set_code", "empty", None for cosines, or
        "softmax" for CLIP's own. ``size`` defaults to a square of the model's native size.
        """
        allowed = (*SURGERIES, "softmax", None)
        if surgery not in allowed:
            raise UsageError(f"unknown surgery {surgery!r}: wanted one of {', '.join(map(str, allowed))}")
        vocabulary = as_vocabulary(names)
        text = self.encode_text(vocabulary.names, templates)
        empty = self.encode_text([""], templates) if surgery == "empty" else None
        native = self.loaded.clip.visual.image_size
        size = size if size is not None else native[0] if isinstance(native, tuple) else native

        def finish(pixels: Tensor, shapes: list[tuple[int, int]]) -> Iterator[np.ndarray]:
            token = self.encode_image(pixels, patches=False).class_token
            yield from recognition.recognize(token, text, surgery, empty).cpu().numpy()

        return self._for_each(image, size, finish)

    # ------------------------------------------------------------------------------------- batching

    def input_size(self, shape: tuple[int, int], size: Any = None) -> tuple[int, int]:
        """The encoder's (height, width) for an image of ``shape``: whole patches, nearest to ``size``.

        With ``size`` None the short side becomes the model's default at the image's aspect ratio,
        which is held to 4:1 so that a strip does not become a giant.
        """
        if size is None:
            height, width = shape
            ratio = min(4.0, max(height, width) / min(height, width))
            wanted = (self.size, self.size * ratio) if height <= width else (self.size * ratio, self.size)
        else:
            wanted = _pair(size)
        if min(wanted) < 1:
            raise UsageError(f"wanted a size of at least one pixel, got {size}")
        step = self.patch_size
        return tuple(max(1, round(w / s)) * s for w, s in zip(wanted, step, strict=True))  # type: ignore[return-value]

    def _for_each(
        self,
        image: Any,
        size: Any,
        work: Callable[[Tensor, list[tuple[int, int]]], Iterator[Result]],
    ) -> Any:
        """Images of one input size together through ``work``; one image in gives one result out."""
        several = isinstance(image, (list, tuple))
        arrays = [load_image(source) for source in (image if several else [image])]
        results: list[Result | None] = [None] * len(arrays)
        groups: dict[tuple[int, int], list[int]] = {}
        for index, array in enumerate(arrays):
            groups.setdefault(self.input_size(array.shape[:2], size), []).append(index)
        with torch.no_grad():
            for target, members in groups.items():
                count = max(1, BATCH_PIXELS // (target[0] * target[1]))
                for start in range(0, len(members), count):
                    part = members[start : start + count]
                    pixels = self.preprocess([arrays[i] for i in part], target)
                    shapes = [arrays[i].shape[:2] for i in part]
                    for i, result in zip(part, work(pixels, shapes), strict=True):
                        results[i] = result
        return results if several else results[0]


def _apply_surgery(tokens: ImageTokens, text: Tensor, surgery: str | None, empty: Tensor | None) -> Tensor:
    if surgery == "empty":
        assert empty is not None
        return empty_surgery(tokens.patches, text, empty)
    cosines = cosine(tokens.patches, text)
    if surgery is None:
        return cosines
    form = "code" if surgery == "label_set_code" else "paper"
    return label_set_surgery(cosines, class_weights(tokens.class_token, text), form)


def split_background(vocabulary: Vocabulary, background: Any) -> tuple[Vocabulary, float | None]:
    """``segment``'s argument: the vocabulary with the class its words make, and the threshold if it is one.

    Raises UsageError for a probability outside 0..1, or words where there is a background class already.
    """
    if background is None:
        return vocabulary, None
    if isinstance(background, (int, float)):
        if not 0 <= background <= 1:
            raise UsageError(f"wanted a background probability in 0..1, got {background}")
        return vocabulary, float(background)
    return vocabulary.with_background(background), None


def check_synonyms(synonyms: str) -> None:
    """Raise UsageError for a way of merging synonyms that does not exist."""
    if synonyms not in SYNONYMS:
        raise UsageError(f"unknown synonyms {synonyms!r}: wanted one of {', '.join(SYNONYMS)}")


def score_bands(
    maps: Tensor, size: tuple[int, int], vocabulary: Vocabulary, logit_scale: float, synonyms: str
) -> Iterator[Tensor]:
    """Probabilities of the classes at ``size`` (H, W), from the top down: maps (T, h, w) -> (K, rows, W) each.

    A band holds ``BAND_VALUES`` at most, so that memory does not grow with texts times pixels.
    """
    height, width = size
    step = max(1, BAND_VALUES // (width * len(vocabulary.flat)))
    for top in range(0, height, step):
        band = resize_rows(maps[None], size, range(top, min(top + step, height)))
        yield probabilities(band, vocabulary.owners, logit_scale, synonyms)[0]


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return (size, size)
    if isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(s, int) for s in size):
        return (size[0], size[1])
    raise UsageError(f"wanted a size as an int or (height, width), got {size!r}")
