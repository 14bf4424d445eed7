"""``load_model(...)``: a frozen CLIP, a method and a text encoder behind one object.

image ─ dense.stream ─> scores on token grids ─┬─ similarity ─> SimilarityMap   (feature surgery)
names ─ encode_text ──> text features ─────────┼─ segment ────> LabelMap        (cosines only)
                                               └─ recognize ──> Recognition     (class token)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import TypeVar, overload

from ovseg.clip.attention import Method, get_method
from ovseg.clip.models import load_clip
from ovseg.clip.text import TextCache
from ovseg.files.pictures import ImageLike, OnError, as_images, for_several, is_one
from ovseg.model.verbs import OptionsModel
from ovseg.options import LoadOptions, RecognitionOptions, SegmentOptions, SimilarityOptions
from ovseg.options.checks import Size
from ovseg.results import LabelMap, Recognition, SimilarityMap
from ovseg.words.vocabulary import Names

Result = TypeVar("Result")


def load_model(
    name: str = "small",
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
        name: "small" or "tiny" for an embedded model, or a name of open_clip's such as "ViT-B-16".
        weights: a tag of open_clip's such as "openai", the path of a file, or "random" for untrained weights.
            The embedded model needs none, every other model needs one of them.
        method: how dense tokens are made, a name of ``ovseg.list_methods()``.
        device: "cpu", "cuda", "cuda:1" …
        precision: "fp32", "bf16" or "fp16" (not on a CPU) of the image tower. Texts are always encoded in
            fp32.
        cache: keep text features on disk.
        offline: never ask the network.

    Returns:
        The model, in evaluation mode, on ``device``.

    Raises:
        UsageError: a name, tag, method, device or precision is unknown, or weights are missing.
        UnsupportedModelError: the image tower cannot be read, or has no attention for the method to replace.
        WeightsError: the weights cannot be had or do not fit.

    Example:
        >>> import numpy as np
        >>> model = load_model()
        >>> model.segment(np.zeros((60, 80, 3), np.uint8), "sky, grass").labels.shape
        (60, 80)
    """
    options = LoadOptions(weights=weights, device=device, precision=precision, cache=cache, offline=offline)
    return load_model_with(name, options, method)


def load_model_with(name: str, options: LoadOptions, method: str | Method = "clip_surgery") -> Model:
    """``load_model`` with its options as one object.

    Args:
        name, method: as in ``load_model``.
        options: weights, device, precision, cache, offline.

    Raises:
        OvsegError: as ``load_model``.

    Example:
        >>> load_model_with("tiny", LoadOptions()).patch_size
        (8, 8)
    """
    row = get_method(method)
    loaded = load_clip(
        name,
        options.weights,
        device=options.device,
        precision=options.precision,
        offline=options.offline,
        method=row,
    )
    return Model(loaded, row, TextCache() if options.cache else None)


class Model(OptionsModel):
    """A frozen CLIP with one method that segments, explains and recognizes; see ``load_model``.

    Example:
        >>> model = load_model(method="naclip")
        >>> model.method.name, model.patch_size, model.with_method("gem").method.name
        ('naclip', (16, 16), 'gem')
    """

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
            surgery: "empty" removes the feature of the empty string and treats every text on its own;
                "label_set" (the paper) and "label_set_code" (the public code) remove what the texts have in
                common and need at least two; None leaves the cosines.
            size: the encoder's input in pixels, one side of a square or (height, width); None for the model's
                own short side at the image's aspect ratio.
            window, stride: sliding windows in pixels of the resized image.
            batch: images or windows in one call of the encoder.
            resize: "opencv", "pillow" or "bilinear" (``options.RESIZES``).
            templates: "paper" (85), "imagenet" (80), "plain", or templates with one ``{}`` each.
            on_error: called with the position of an image that cannot be read and the error; the image is
                left out. None: the error is raised after the results of all images before it.

        Returns:
            A SimilarityMap, or for several images an iterator of them in order.

        Raises:
            UsageError: an argument is wrong.
            ImageError: an image cannot be read.

        Example:
            >>> import ovseg
            >>> scene = ovseg.make_scene(11)
            >>> found = load_model().similarity(scene.image, "stripes, gravel")
            >>> found.names, found["gravel"].shape == scene.labels.shape
            (('stripes', 'gravel'), True)
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
        found = self.similarity_with(as_images(image), names, options, for_several(image, on_error))
        return _one_or_all(image, found)

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
        edges: str | None = ...,
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
        edges: str | None = ...,
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
        edges: str | None = SegmentOptions.edges,
        templates: str | Sequence[str] = SegmentOptions.templates,
        probabilities: bool = False,
        on_error: OnError | None = None,
    ) -> LabelMap | Iterator[LabelMap]:
        """The best name for every pixel, from cosines alone; feature surgery is never used here.

        Args:
            image: one picture, or an iterable of pictures, which are read as they are needed.
            names: a text with commas, a list, a dictionary of name to synonyms, or a vocabulary. A class
                named "background" takes the pixels that no other class is sure of.
            size, window, stride, batch, resize, templates: as in ``similarity``. The windows' maps are
                averaged where they overlap.
            logit_scale: times cosine before the softmax over the texts, above 0.
            background: None; a probability in 0..1 below which a pixel goes to the class "background", or to
                void where there is none; or words that become one class "background" in front of the others.
            area_threshold: classes with at most this share of the foreground's pixels are removed, in 0..1; 0
                switches the rule off (SCLIP's area rule).
            synonyms: "probability" takes the largest of a class's texts after the softmax, "cosine" before
                it.
            edges: "guided" makes the boundaries follow the image's edges (guided filter); None does not.
            probabilities: also return the class probabilities, (K, H, W) float32 at the image's size.
            on_error: as in ``similarity``.

        Returns:
            A LabelMap at the image's size, or for several images an iterator of them in order.

        Raises:
            UsageError: an argument is wrong.
            ImageError: an image cannot be read.

        Example:
            >>> import ovseg
            >>> scenes = [ovseg.make_scene(seed).image for seed in (11, 23)]
            >>> found = load_model().segment(iter(scenes), "stripes, waves, gravel", size=128)
            >>> [labels.labels.shape for labels in found]  # read and segmented as they are asked for
            [(128, 128), (128, 128)]
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
            edges=edges,
            templates=templates,
        )
        on_error = for_several(image, on_error)
        found = self.segment_with(as_images(image), names, options, on_error, probabilities=probabilities)
        return _one_or_all(image, found)

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
            surgery: "label_set" (needs two texts), "label_set_code", "empty", None for cosines, or "softmax"
                for CLIP's own softmax over the texts at the model's logit scale.
            size: the encoder's input; None for a square of the model's native size.
            resize, templates, on_error: as in ``similarity``.

        Returns:
            A Recognition, or for several images an iterator of them in order.

        Raises:
            UsageError: an argument is wrong.
            ImageError: an image cannot be read.

        Example:
            >>> import ovseg
            >>> found = load_model().recognize(ovseg.make_scene(11).image, "stripes, waves, gravel")
            >>> len(found.best(2)), found.best(1) == found.best()[:1]
            (2, True)
        """
        options = RecognitionOptions(surgery=surgery, size=size, resize=resize, templates=templates)
        found = self.recognize_with(as_images(image), names, options, for_several(image, on_error))
        return _one_or_all(image, found)


def _one_or_all(image: object, results: Iterator[Result]) -> Result | Iterator[Result]:
    return next(results) if is_one(image) else results
