"""``Model``: what a frozen CLIP with one method makes of images.

image ─ engine.stream ─> scores on token grids ─┬─ similarity ─> SimilarityMap   (feature surgery)
names ─ encode_text ───> text features ─────────┼─ segment ────> LabelMap        (cosines only)
                                                └─ recognize ──> Recognition     (class token)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from ovseg.clip.towers import tower_of
from ovseg.files.pictures import ImageLike, OnError
from ovseg.maps import recognition
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.similarity import apply_surgery, check_surgery
from ovseg.model.engine import Dense, classify, label_array, on_token_grid
from ovseg.model.frozen import FrozenClip, Shape
from ovseg.options import InputOptions, RecognitionOptions, SegmentOptions, SimilarityOptions
from ovseg.options.checks import check_flag
from ovseg.results import LabelMap, Recognition, SimilarityMap
from ovseg.results.base import ImageTokens
from ovseg.words.vocabulary import Names, as_vocabulary

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ovseg.options.models import RecognitionChoices, SegmentChoices, SimilarityChoices


class Model(FrozenClip):
    """A frozen CLIP with one method that segments, explains and recognizes; see ``ovseg.load_model``.

    Nothing changes after construction. Every verb has two forms: ``segment(image, names)`` gives one result,
    ``segment_each(images, names)`` an iterator of results in order, in which images of one size go through
    the encoder together. Both take a vocabulary in any form (a text with commas, a list, a dictionary of name
    to synonyms, a ``Vocabulary``), and their options as one object or as keywords.

    Example:
        >>> import ovseg
        >>> model = ovseg.load_model(method="naclip")
        >>> model.method.name, model.patch_size, model.with_method("gem").method.name
        ('naclip', (16, 16), 'gem')
    """

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
        vocabulary = self.vocabulary(names, chosen)
        text = self.encode_text(vocabulary.flat, chosen.templates)

        def finish(dense: Dense[Shape]) -> LabelMap:
            scores = dense.enlarged(self.method.whole)
            labels, kept = classify(scores, dense.key, vocabulary, chosen, probabilities)
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

        size = chosen.size if chosen.size is not None else tower_of(self.clip.visual).native_size
        inputs = InputOptions(size=size, resize=chosen.resize)
        return self._stream(images, inputs, None, on_error, finish)
