"""Images and words, each encoded once, and the maps and presence of the words in an image.

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
from ovseg.options import MAP_THRESHOLDS, RIVALS, MaskOptions
from ovseg.results.base import ImageFeatures
from ovseg.segmenters.base import Embedding, Segmenter
from ovseg.words.names import check_name, fold, in_order, split_text
from ovseg.words.rivals import likeness_of_rivals, meant
from ovseg.words.vocabulary import Vocabulary, as_vocabulary


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """One image encoded by both models, shared by all words and clicks.

    Attributes:
        image: (H, W, 3) uint8 RGB, read-only.
        features: CLIP's, of each place, and of the image or each window.
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
    """Both models and the options in force.

    Attributes:
        model, segmenter: the models.
        options: the given ones; None is replaced by what suits the point rule and the segmenter.
        threshold: the value of the min-max map from which a place may get a point.

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
        """Encode an image with both models. A writable array is copied.

        Args:
            image: (H, W, 3) uint8 RGB.
            features: CLIP's, if the image was encoded in a batch.

        Raises:
            OvsegError: the image cannot be encoded.
        """
        kept = frozen(image)
        if features is None:
            features = self.model.dense_features(kept, options=self.options)
        return EncodedImage(kept, features, self.segmenter.encode(kept))


@dataclass(frozen=True)
class Word:
    """One target of a request.

    Attributes:
        text: as the caller wrote it, or the name of a class.
        names: each name with its texts.
        threshold: the least presence, 0..1, at which a name gets masks.
    """

    text: str
    names: Mapping[str, tuple[str, ...]]
    threshold: float

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of all names."""
        return tuple(text for row in self.names.values() for text in row)


def parse_words(texts: str | Sequence[str], threshold: float = 0.5) -> tuple[Word, ...]:
    """Parse the texts of ``TextToMask``: in a string, commas separate words; "+" separates a word's names.

    Raises:
        UsageError: no text is given, or one is empty or not a string.

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
    """A word for each class except "background"; ``threshold`` holds for classes not in ``thresholds``.

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
    """The words of a request with the features of their texts; they serve any number of images.

    Attributes:
        words: in the caller's order.
        rivals: distinct texts that the words are compared with.
        rows: maps each text, each rival and "" to its row of ``features``.
        features: (T, D), L2-normalised.
        competing: the rivals of each word, by its texts.
    """

    words: tuple[Word, ...]
    rivals: tuple[str, ...]
    rows: Mapping[str, int]
    features: Tensor
    competing: Mapping[tuple[str, ...], tuple[str, ...]]

    @classmethod
    def of(
        cls,
        setup: Setup,
        words: Sequence[Word],
        negatives: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Asked:
        """Encode all texts in one call.

        Args:
            setup: the model, and the options rivals and templates.
            words: the targets.
            negatives: rivals in addition to those of the options; they compete with every other text.
            progress: as in ``Model.encode_text``.

        Raises:
            UsageError: a text is too long.
        """
        rivals = tuple({fold(text): text for text in (*setup.options.rivals, *negatives)}.values())
        texts = list(dict.fromkeys([*(text for word in words for text in word.texts), *rivals, ""]))
        features = setup.model.encode_text(texts, setup.options.templates, progress)
        rows = {text: row for row, text in enumerate(texts)}
        chosen = {fold(text) for text in (negatives if setup.options.rivals == RIVALS else rivals)}
        everyday = [text for text in rivals if fold(text) not in chosen]
        values = features.cpu().numpy()
        among = values[[rows[text] for text in everyday]]
        likeness, bar = values @ among.T, likeness_of_rivals(among)
        competing = {}
        for word in words:
            no_rivals = {fold(text) for text in word.texts}
            no_rivals |= meant(word.texts, everyday, likeness[[rows[text] for text in word.texts]], bar)
            competing[word.texts] = tuple(rival for rival in rivals if fold(rival) not in no_rivals)
        return cls(tuple(words), rivals, rows, features, competing)

    def rivals_of(self, word: Word) -> tuple[str, ...]:
        """The rivals of a word: none of its own texts, and no everyday word that means one of them."""
        return self.competing[word.texts]


@dataclass(frozen=True, eq=False)
class Similarities:
    """Similarities of an image with the T texts of a request, float64.

    Attributes:
        places: (N, T), of each place, after empty-string surgery.
        images: (n, T), of the class token of the image or of each window, after empty-string surgery.
        cosines: (n, T), of the same class tokens, without surgery.
    """

    places: NDArray[np.float64]
    images: NDArray[np.float64]
    cosines: NDArray[np.float64]

    @classmethod
    def of(cls, features: ImageFeatures, asked: Asked) -> Similarities:
        """Compare an image's features with those of all texts."""
        text, empty = asked.features, asked.features[[asked.rows[""]]]
        products = (
            empty_text_surgery(features.places, text, empty),
            empty_text_surgery(features.class_tokens, text, empty),
            features.class_tokens @ text.T,
        )
        return cls(*(product.cpu().numpy().astype(np.float64) for product in products))


@dataclass(frozen=True, eq=False)
class Rated:
    """A word's maps and presence in one image.

    Attributes:
        word: the word.
        maps: (K, h, w) float32, one for each name; points are taken from them.
        presence: the probability that each name is in the image, 0..1.
    """

    word: Word
    maps: NDArray[np.float32]
    presence: dict[str, float]


def rate(setup: Setup, asked: Asked, features: ImageFeatures) -> list[Rated]:
    """Compute the maps and the presence of each word in an image.

    Under the point rule "components" the maps are log odds against the rivals, so that no point is put where
    a rival fits better. Presence is the maximum over windows. A model that was trained with a sigmoid gives
    it as its own probability; for other models it is measured against the rivals. The maps and the presence
    of a name are the maximum over its texts.
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
    """The slice of ``word.texts`` that belongs to each name."""
    start = 0
    for texts in word.names.values():
        yield slice(start, start + len(texts))
        start += len(texts)
