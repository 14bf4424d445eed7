"""What all protocols share: a picture's content to both encodings, and words or marks to regions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO

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
LONGEST_TEXT = 1000
"""Characters of a text; what CLIP's tokenizer takes is less."""
TEXTS_AT_ONCE = 16
"""New texts are encoded in groups of so many; in between, the time that is left is looked at."""
MOST_CLICKS = 200


@dataclass(frozen=True)
class Marks:
    """What a user drew on one object.

    Attributes:
        clicks: x, y in pixels of the image, and whether it is on the object.
        box: x0, y0, x1, y1 in pixels, or None.
    """

    clicks: tuple[Click, ...] = ()
    box: Box | None = None

    def __add__(self, other: Marks) -> Marks:
        """These marks and later ones; a later box takes the place of this one."""
        return Marks(self.clicks + other.clicks, other.box or self.box)

    @property
    def is_negative(self) -> bool:
        """Whether nothing but background clicks says where the object is."""
        return self.box is None and not any(foreground for _, _, foreground in self.clicks)


class Core:
    """Regions of pictures for words and marks. A picture that was seen before is not encoded again.

    Args:
        model: what ``ovseg.load_model`` gives.
        segmenter: what ``ovseg.load_segmenter`` gives.
        options: how masks are made.
        max_pixels: of a picture.
        keep: pictures whose encodings are kept, the least recently used go first.

    Attributes:
        version: changes with the weights and with every option that changes regions.

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
        max_pixels: int | None = None,
        keep: int = ServeOptions.keep,
    ) -> None:
        self.options = options or AnnotateOptions()
        if self.options.task != "instances":
            raise UsageError(f"expected the task 'instances' for a server, got {self.options.task!r}")
        self._setup = Setup(model, segmenter, self.options)
        self._method = f"{model.loaded.name} {model.method.name} + {segmenter.name}"
        self._max_pixels = max_pixels
        self._seen: ContentCache[EncodedImage] = ContentCache(keep)
        self.encoded = 0
        described = self._setup.options.describe()
        del described["batch"]
        self.version = f"ovseg-{digest_of({**describe_models(model, segmenter), 'options': described})}"

    def see(self, content: bytes) -> EncodedImage:
        """A picture through both encoders, or as it was kept.

        Args:
            content: of an image file.

        Raises:
            ImageError: it is no image, is damaged, or has too many pixels.
        """

        def encode(_: object) -> EncodedImage:
            picture = load_image(BytesIO(content), self._max_pixels)
            self.encoded += 1
            return self._setup.encode(picture)

        return self._seen.get(np.frombuffer(content or b"\0", np.uint8), encode)

    def words(
        self, picture: EncodedImage, texts: Mapping[str, Sequence[str]], deadline: Deadline | None = None
    ) -> list[Region]:
        """The objects of some labels, as ``ovseg annotate`` finds them: a pixel belongs to one of them.

        Args:
            picture: what ``see`` gave.
            texts: the texts of each label, of which the best counts.
            deadline: new texts are not encoded beyond it; what was encoded is kept for the next time.

        Raises:
            UsageError: there is none, or a text is empty, too long, or there more than once.
            DataError: there was no time for all texts.
        """
        count = sum(map(len, texts.values()))
        if count > MOST_TEXTS:
            raise UsageError(f"expected at most {MOST_TEXTS} texts, got {count}")
        for row in texts.values():
            for text in row:
                if len(text) > LONGEST_TEXT:
                    raise UsageError(f"expected a text of at most {LONGEST_TEXT} characters, got {len(text)}")
        classes = Classes(Vocabulary(tuple(texts), tuple(tuple(row) for row in texts.values())))
        self._encode(classes.vocabulary.flat, deadline)
        finder = MaskFinder(self._setup.model, self._setup.segmenter, classes, self.options)
        return _shown(finder.find_in(picture).regions)

    def _encode(self, texts: Sequence[str], deadline: Deadline | None) -> None:
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            if deadline is not None and not deadline.left:
                raise DataError(f"expected {len(texts)} texts in time, {start} are encoded: ask again")
            self._setup.model.encode_text(texts[start : start + TEXTS_AT_ONCE], self.options.templates)

    def marked(self, picture: EncodedImage, marks: Marks, label: str) -> list[Region]:
        """The object that marks describe: one region, or none.

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
    """The regions with pixels, their scores cut to 0..1: a segmenter's estimate may be a little beyond."""
    return [
        replace(one, score=None if one.score is None else min(1.0, max(0.0, one.score)))
        for one in regions
        if one.mask.area
    ]


def region_id(picture: EncodedImage, region: Region) -> str:
    """Ten hexadecimal digits that differ for other pixels, labels or prompts."""
    said = json.dumps([picture.size, region.label, region.prompt, region.mask.counts])
    return sha256(said.encode()).hexdigest()[:10]
