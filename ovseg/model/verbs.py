"""What a model makes of images, with every choice in one options object; ``model.py`` takes them by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor

from ovseg.clip.towers import native_size
from ovseg.errors import UsageError
from ovseg.files.pictures import ImageLike, OnError
from ovseg.maps import recognition
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.similarity import apply_surgery
from ovseg.model.encoders import FrozenClip, no_channels
from ovseg.model.engine import Dense, classify, on_token_grid
from ovseg.options import InputOptions, RecognitionOptions, SegmentOptions, SimilarityOptions
from ovseg.options.checks import check_flag
from ovseg.results import LabelMap, Recognition, SimilarityMap
from ovseg.results.types import ImageTokens
from ovseg.words.vocabulary import Names, Vocabulary, as_vocabulary


class OptionsModel(FrozenClip):
    """A frozen CLIP with one method: similarities, label maps and scores of names."""

    def similarity_with(
        self,
        images: Iterable[ImageLike],
        names: Names,
        options: SimilarityOptions,
        on_error: OnError | None = None,
    ) -> Iterator[SimilarityMap]:
        """``Model.similarity`` of several images with its options as one object.

        Args:
            images: pictures in any form that ``load_image`` takes, read as they are needed.
            names: as in ``Model.similarity``.
            options: how it is made.
            on_error: as in ``Model.similarity``.

        Returns:
            The results in order, each made when it is asked for.

        Raises:
            UsageError: the names are wrong.
            ImageError: an image cannot be read.
        """
        vocabulary = as_vocabulary(names)
        self.check_surgery(options.surgery, vocabulary)
        text = self.encode_text(vocabulary.flat, options.templates)
        empty = self.encode_text([""], options.templates) if options.surgery == "empty" else None

        def score(tokens: ImageTokens) -> Tensor:
            return apply_surgery(self._features(tokens), tokens.class_token, text, options.surgery, empty)

        def finish(dense: Dense[tuple[int, int]]) -> SimilarityMap:
            grid = merge_synonyms(on_token_grid(dense, self.patch_size), vocabulary.owners)
            return SimilarityMap(grid.cpu().numpy(), vocabulary.names, dense.key)

        found = self._stream(images, options, score, on_error)
        return (finish(dense) for dense in found)

    def segment_with(
        self,
        images: Iterable[ImageLike],
        names: Names,
        options: SegmentOptions,
        on_error: OnError | None = None,
        *,
        probabilities: bool = False,
    ) -> Iterator[LabelMap]:
        """``Model.segment`` of several images with its options as one object.

        Args:
            images, names, options, on_error: as in ``similarity_with``.
            probabilities: as in ``Model.segment``.
        """
        check_flag("probabilities", probabilities)
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

        score = self.cosine_scores(text)
        found = self._stream(images, options, score, on_error)
        return (finish(dense) for dense in found)

    def recognize_with(
        self,
        images: Iterable[ImageLike],
        names: Names,
        options: RecognitionOptions,
        on_error: OnError | None = None,
    ) -> Iterator[Recognition]:
        """``Model.recognize`` of several images with its options as one object; see ``similarity_with``."""
        vocabulary = as_vocabulary(names)
        self.check_surgery(options.surgery, vocabulary)
        text = self.encode_text(vocabulary.flat, options.templates)
        empty = self.encode_text([""], options.templates) if options.surgery == "empty" else None

        score = recognition.recognizer(text, options.surgery, empty, self.logit_scale)

        def finish(dense: Dense[tuple[int, int]]) -> Recognition:
            scores = score(dense.class_tokens)
            merged = merge_synonyms(scores.T[..., None], vocabulary.owners)[:, 0, 0]  # (K,)
            return Recognition(merged.cpu().numpy(), vocabulary.names)

        wanted = options.size if options.size is not None else native_size(self.clip.visual)
        inputs = InputOptions(size=wanted, resize=options.resize)
        found = self._stream(images, inputs, no_channels, on_error, class_token_only=True)
        return (finish(dense) for dense in found)

    @staticmethod
    def check_surgery(surgery: str | None, names: Vocabulary) -> None:
        """Raise UsageError for a surgery that these names are too few for."""
        if surgery in ("label_set", "label_set_code") and len(names.flat) < 2:
            raise UsageError(f"surgery={surgery!r} needs at least two names, got one: use surgery='empty'")


def with_background(vocabulary: Vocabulary, options: SegmentOptions) -> Vocabulary:
    """The vocabulary with the class that words given as ``options.background`` make.

    Raises:
        UsageError: words were given and there is a background class already.
    """
    if isinstance(options.background, tuple):
        return vocabulary.with_background(options.background)
    return vocabulary
