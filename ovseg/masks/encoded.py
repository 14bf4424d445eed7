"""What both models make once of an image and of the words that are asked for, and how well they fit.

"person+bench"         one word of two names, each with one text
car: car, automobile   one word of one name with two texts, of which the best counts
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ovseg.clip.text import Progress
from ovseg.errors import UsageError
from ovseg.files.cache import frozen
from ovseg.maps.recognition import Floats, level, presences, sigmoid_presences
from ovseg.maps.similarity import empty_text_surgery
from ovseg.model import Model
from ovseg.options import MAP_THRESHOLDS, MaskOptions
from ovseg.results.base import ImageFeatures
from ovseg.segmenters.base import Embedding, Segmenter
from ovseg.words.names import check_name, fold, in_order, split_text
from ovseg.words.vocabulary import Vocabulary, as_vocabulary


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """One image as both models see it; made once for all words and clicks.

    Attributes:
        image: (H, W, 3) uint8 RGB, read-only.
        features: what CLIP gave for its places, and for the image or each window as a whole.
        embedding: the segmenter's.
    """

    image: NDArray[np.uint8]
    features: ImageFeatures
    embedding: Embedding[object]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return (self.image.shape[0], self.image.shape[1])


@dataclass(frozen=True, eq=False)
class Setup:
    """Both models and the options that are in force.

    Attributes:
        model, segmenter: the models.
        options: as they were given, with None replaced by what the rule and the segmenter decide.
        threshold: on the min-max map, for points.

    Raises:
        UsageError: the window is not made of whole patches.
    """

    model: Model
    segmenter: Segmenter
    options: MaskOptions

    def __post_init__(self) -> None:
        given, segmenter = self.options, self.segmenter
        self.model.check_window(given)
        decided = replace(
            given,
            map_threshold=self.threshold,
            prompt_with=given.prompt_with or ("map" if segmenter.accepts_mask_prompt else "points"),
            mask_choice=given.mask_choice or ("score" if segmenter.predicts_iou else "agreement"),
        )
        object.__setattr__(self, "options", decided)

    @property
    def threshold(self) -> float:
        given = self.options.map_threshold
        return MAP_THRESHOLDS[self.options.point_rule] if given is None else given

    def encode(self, image: NDArray[np.uint8], features: ImageFeatures | None = None) -> EncodedImage:
        """An image through both encoders; copied where the caller could change the array.

        Args:
            image: (H, W, 3) uint8 RGB.
            features: CLIP's, where the image went through it with others.

        Raises:
            OvsegError: it cannot be encoded.
        """
        kept = frozen(image)
        if features is None:
            features = self.model.dense_features(kept, options=self.options)
        return EncodedImage(kept, features, self.segmenter.encode(kept))


@dataclass(frozen=True)
class Word:
    """One thing that is asked for.

    Attributes:
        text: as it was asked for; the name of a class.
        names: the texts of each name in it.
        threshold: a name gets masks from this presence on, 0..1.
    """

    text: str
    names: Mapping[str, tuple[str, ...]]
    threshold: float

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of all its names."""
        return tuple(text for row in self.names.values() for text in row)


def parse_words(texts: str | Sequence[str], threshold: float = 0.5) -> tuple[Word, ...]:
    """Words as ``TextToMask`` takes them: commas separate texts outside a list, "+" the names of a word.

    Raises:
        UsageError: there is no text, or one of them is empty or no text.

    >>> [tuple(word.names) for word in parse_words("sky, person+bench")]
    [('sky',), ('person', 'bench')]
    >>> [tuple(word.names) for word in parse_words(["black, white"])]
    [('black, white',)]
    """
    listed: tuple[object, ...] = (
        split_text("text", texts) if isinstance(texts, str) else in_order("texts", texts)
    )
    if not listed:
        raise UsageError("expected at least one text, got none")
    checked = [check_name(one, "text") for one in listed]
    return tuple(
        Word(text, {name: (name,) for name in as_vocabulary(text.split("+")).names}, threshold)
        for text in checked
    )


def words_of_classes(
    vocabulary: Vocabulary, thresholds: Mapping[str, float], threshold: float
) -> tuple[Word, ...]:
    """A word for each class but "background"; a class that ``thresholds`` does not name has ``threshold``.

    >>> found = words_of_classes(as_vocabulary({"background": "wall", "car": "car, automobile"}), {}, 0.5)
    >>> [(word.text, word.texts) for word in found]
    [('car', ('car', 'automobile'))]
    """
    rows = zip(vocabulary.names, vocabulary.texts, strict=True)
    return tuple(
        Word(name, {name: texts}, thresholds.get(name, threshold))
        for index, (name, texts) in enumerate(rows)
        if index != vocabulary.background
    )


@dataclass(frozen=True, eq=False)
class Asked:
    """The words of a request with everything that is known of them before an image is seen.

    Attributes:
        words: in the order in which they were asked for.
        rivals: the words that they are compared with, each once.
        rows: the row of each text, of each rival and of the empty string in ``features``.
        features: (T, D) unit features.
    """

    words: tuple[Word, ...]
    rivals: tuple[str, ...]
    rows: Mapping[str, int]
    features: Tensor

    @classmethod
    def of(
        cls,
        setup: Setup,
        words: Sequence[Word],
        negatives: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Asked:
        """Encode the texts of the words, in one call.

        Args:
            setup: the model, and the options rivals and templates.
            words: what is asked for.
            negatives: rivals besides those of the options.
            progress: as in ``Model.encode_text``.

        Raises:
            UsageError: a text is too long.
        """
        rivals = tuple({fold(text): text for text in (*setup.options.rivals, *negatives)}.values())
        texts = list(dict.fromkeys([*(text for word in words for text in word.texts), *rivals, ""]))
        features = setup.model.encode_text(texts, setup.options.templates, progress)
        return cls(tuple(words), rivals, {text: row for row, text in enumerate(texts)}, features)

    def rivals_of(self, word: Word) -> tuple[str, ...]:
        """The rivals that count for a word: to CLIP "Sky" and "sky" are one text, no rivals of each other."""
        own = {fold(text) for text in word.texts}
        return tuple(rival for rival in self.rivals if fold(rival) not in own)


@dataclass(frozen=True, eq=False)
class Similarities:
    """Similarities of an image with the T texts of what is asked for, float64.

    Attributes:
        places: (N, T), after empty-string surgery, at each place.
        images: (n, T), after empty-string surgery, with the class token of the image or of each window.
        cosines: (n, T), the same without surgery.
    """

    places: NDArray[np.float64]
    images: NDArray[np.float64]
    cosines: NDArray[np.float64]

    @classmethod
    def of(cls, features: ImageFeatures, asked: Asked) -> Similarities:
        """One product of the image's features with those of all texts."""
        text, empty = asked.features, asked.features[[asked.rows[""]]]
        products = (
            empty_text_surgery(features.places, text, empty),
            empty_text_surgery(features.class_tokens, text, empty),
            features.class_tokens @ text.T,
        )
        return cls(*(product.cpu().numpy().astype(np.float64) for product in products))


@dataclass(frozen=True, eq=False)
class Rated:
    """A word in one image, before the segmenter is asked.

    Attributes:
        word: the word.
        maps: (K, h, w) float32, one for each of its names, from which points are taken.
        presence: how likely each name is in the image, 0..1.
    """

    word: Word
    maps: NDArray[np.float32]
    presence: dict[str, float]


def rate(setup: Setup, asked: Asked, features: ImageFeatures) -> list[Rated]:
    """The maps of each word, and how likely its names are in an image.

    Under the rule "components" the maps are log odds against the rivals, so that a place which another word
    fits better is no place for a point. A name is as present as in the window whose class token speaks most
    for it. A model that was trained with a sigmoid gives its own probability; for every other model,
    presence is measured against the rivals. Of several texts of a name, the best counts in both.
    """
    scores = Similarities.of(features, asked)
    scale, bias = setup.model.logit_scale, setup.model.logit_bias
    levels: dict[tuple[str, ...], tuple[Floats, Floats]] = {}
    out = []
    for word in asked.words:
        rivals = asked.rivals_of(word)
        if rivals not in levels:
            rows = [asked.rows[rival] for rival in rivals]
            levels[rivals] = level(scores.places[:, rows], scale), level(scores.images[:, rows], scale)
        at_places, at_images = levels[rivals]
        rows = [asked.rows[text] for text in word.texts]
        maps = places = scores.places[:, rows]
        if setup.options.point_rule == "components":
            maps = places - at_places[:, None]
        if bias is not None:
            shares = sigmoid_presences(scores.cosines[:, rows], scale, bias)
        else:
            shares = presences(places, scores.images[:, rows], at_places, at_images, scale)
        best = [maps[:, own].max(axis=1) for own in _columns(word)]
        grids = np.stack(best).reshape(-1, *features.grid).astype(np.float32)
        presence = [float(shares[own].max()) for own in _columns(word)]
        out.append(Rated(word, grids, dict(zip(word.names, presence, strict=True))))
    return out


def _columns(word: Word) -> Iterator[slice]:
    """The place of each name's texts among the word's."""
    start = 0
    for texts in word.names.values():
        yield slice(start, start + len(texts))
        start += len(texts)
