"""What the protocols share: an image file to both encodings, and words or marks to regions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from itertools import accumulate

import numpy as np

from ovseg.annotation.classes import Classes
from ovseg.annotation.finder import MaskFinder, describe_models
from ovseg.annotation.records import Region
from ovseg.annotation.run.folder import digest_of
from ovseg.apps.serve.bounds import Deadline
from ovseg.errors import DataError, UsageError
from ovseg.files.cache import ContentCache
from ovseg.files.pictures import load_image
from ovseg.masks.encoded import EncodedImage, Setup
from ovseg.masks.find import find
from ovseg.masks.prompts import Click, cut_box
from ovseg.model import Model
from ovseg.options import AnnotateOptions, ServeOptions
from ovseg.segmenters.base import Segmenter
from ovseg.segmenters.prompts import Box, check_point
from ovseg.words.vocabulary import Vocabulary

MOST_TEXTS = 2000
"""Texts of one request, synonyms included."""
LONGEST_TEXT, LONGEST_WORDS = 1000, 200_000
"""Characters of a text, more than CLIP's tokenizer takes, and of all words of a request together."""
TEXTS_AT_ONCE = 16
"""New texts are encoded in groups of this size; between them the deadline is checked."""
MOST_HELD = 1 << 30
"""Bytes of masks that the words of one request may hold, at a byte a pixel."""
JUDGED = 200
"""Letters of a person's texts in which unknown words are looked for; near words take a while to find."""
MOST_CLICKS = 200


@dataclass(frozen=True)
class Marks:
    """What a user drew on one object.

    Attributes:
        clicks: x, y in pixels of the image, and whether the click is on the object.
        box: x0, y0, x1, y1 in pixels, or None.
    """

    clicks: tuple[Click, ...] = ()
    box: Box | None = None

    def __add__(self, other: Marks) -> Marks:
        """These marks and later ones; a later box replaces this one."""
        return Marks(self.clicks + other.clicks, other.box or self.box)

    @property
    def is_negative(self) -> bool:
        """Whether there are only background clicks, which say nothing about where the object is."""
        return self.box is None and not any(foreground for _, _, foreground in self.clicks)


class Core:
    """Finds regions of images for words and marks. The encodings of recent images are cached.

    Args:
        model: from ``ovseg.load_model``.
        segmenter: from ``ovseg.load_segmenter``.
        options: how masks are made.
        limits: the largest image, and how many images and megabytes are cached.

    Attributes:
        version: changes with the weights and with every option that changes regions.
        encoded: how many images were encoded.

    Raises:
        UsageError: the options do not fit the model, or ask for label maps.

    Example:
        >>> import ovseg
        >>> core = Core(ovseg.load_model("tiny"), ovseg.load_segmenter("tiny"))
        >>> scene, file = ovseg.make_scene(3, 64), BytesIO()
        >>> from PIL import Image
        >>> Image.fromarray(scene.image).save(file, "PNG")
        >>> picture = core.see(file.getvalue())
        >>> found = core.words(picture, {scene.present[0]: [scene.present[0]]})
        >>> {region.label for region in found} <= {scene.present[0]}, core.encoded
        (True, 1)
    """

    def __init__(
        self,
        model: Model,
        segmenter: Segmenter,
        options: AnnotateOptions | None = None,
        limits: ServeOptions | None = None,
    ) -> None:
        limits = limits or ServeOptions()
        self.options = options or AnnotateOptions()
        if self.options.task != "instances":
            raise UsageError(f"expected the task 'instances' for a server, got {self.options.task!r}")
        self._setup = Setup(model, segmenter, self.options)
        self._method = f"{model.loaded.name} {model.method.name} + {segmenter.name}"
        self._max_pixels = limits.max_pixels
        self._seen: ContentCache[EncodedImage] = ContentCache(limits.keep, limits.keep_memory << 20)
        self.encoded = 0
        described = self._setup.options.describe()
        del described["batch"]
        self.version = f"ovseg-{digest_of({**describe_models(model, segmenter), 'options': described})}"

    def see(self, content: bytes) -> EncodedImage:
        """Encode an image with both models, or take the encodings from the cache.

        Args:
            content: the bytes of an image file.

        Raises:
            ImageError: they are no image, a damaged one, or one of too many pixels.
        """

        def encode(_: object) -> EncodedImage:
            picture = load_image(BytesIO(content), self._max_pixels)
            self.encoded += 1
            return self._setup.encode(picture)

        return self._seen.get(np.frombuffer(content or b"\0", np.uint8), encode)

    def words(
        self, picture: EncodedImage, texts: Mapping[str, Sequence[str]], deadline: Deadline | None = None
    ) -> list[Region]:
        """The objects of some labels, as ``ovseg annotate`` finds them: a pixel belongs to one object.

        Args:
            picture: from ``see``.
            texts: maps each label to its texts, of which the best counts.
            deadline: checked between groups of texts and of words. Encoded texts stay cached.

        Raises:
            UsageError: there is no text, there are too many, or one is empty, too long or repeated.
            DataError: time has run out, or the masks take too much memory.
        """
        listed = [text for row in texts.values() for text in row]
        if len(listed) > MOST_TEXTS:
            raise UsageError(f"expected at most {MOST_TEXTS} texts, got {len(listed)}")
        longest = max(map(len, listed), default=0)
        if longest > LONGEST_TEXT or sum(map(len, listed)) > LONGEST_WORDS:
            raise UsageError(
                f"expected texts of at most {LONGEST_TEXT} characters, {LONGEST_WORDS} in all, "
                f"got one of {longest} and {sum(map(len, listed))} in all"
            )

        def between(held: int) -> None:
            if deadline is not None:
                deadline.check(f"masks for {len(texts)} labels")
            if held > MOST_HELD:
                raise DataError(
                    f"expected masks of {MOST_HELD >> 20} MB at most: ask for fewer labels at once"
                )

        classes = Classes(Vocabulary(tuple(texts), tuple(tuple(row) for row in texts.values())))
        self._encode(classes.vocabulary.flat, deadline)
        finder = MaskFinder(self._setup.model, self._setup.segmenter, classes, self.options)
        return _shown(finder.find_in(picture, between).regions)

    def _encode(self, texts: Sequence[str], deadline: Deadline | None) -> None:
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            if deadline is not None:
                deadline.check(f"the encodings of {len(texts)} texts")
            self._setup.model.encode_text(texts[start : start + TEXTS_AT_ONCE], self.options.templates)

    def unknown(self, texts: Sequence[str]) -> list[str]:
        """A line for each word that the model cannot know, with near ones, in the first ``JUDGED`` letters."""
        ends = accumulate(map(len, texts))
        judged = [text for text, end in zip(texts, ends, strict=True) if end <= JUDGED]
        return [str(one) for one in self._setup.model.unknown_words(judged)]

    def marked(self, picture: EncodedImage, marks: Marks, label: str) -> list[Region]:
        """The object that the marks describe.

        Raises:
            UsageError: a mark is outside the picture, or there are too many.
        """
        if len(marks.clicks) > MOST_CLICKS:
            raise UsageError(f"expected at most {MOST_CLICKS} clicks, got {len(marks.clicks)}")
        clicks = [(*check_point(x, y, picture.size), on) for x, y, on in marks.clicks]
        box = None if marks.box is None else cut_box(marks.box, picture.size)
        (found,) = find(self._setup, picture, None, clicks, box)
        if not found.objects:
            raise UsageError(str(found.reason))
        return _shown(
            Region(label, one.coded(picture.size), round(one.score, 4), None, self._method)
            for one in found.objects
        )


def _shown(regions: Iterable[Region]) -> list[Region]:
    """The regions with pixels. Scores are cut to 0..1, as a segmenter's estimate may lie a little beyond."""
    return [
        replace(one, score=None if one.score is None else min(1.0, max(0.0, one.score)))
        for one in regions
        if one.mask.area
    ]


def region_id(picture: EncodedImage, region: Region) -> str:
    """Ten hexadecimal digits that differ for other pixels, labels or prompts."""
    said = json.dumps([picture.size, region.label, region.prompt, region.mask.counts])
    return sha256(said.encode()).hexdigest()[:10]
