"""A labelling configuration of Label Studio: which labels there are, and which tag an answer belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from xml.etree import ElementTree

from ovseg.errors import DataError, described
from ovseg.words.names import fold

LONGEST_CONFIG = 200_000
"""Characters of a labelling configuration."""
KINDS = ("BrushLabels", "PolygonLabels", "RectangleLabels")
"""Tags whose labels regions can have; the first kind that a project has is answered with."""


@dataclass(frozen=True)
class Labelling:
    """The labels of an image that regions can have.

    Attributes:
        kind: the tag's kind, one of ``KINDS``.
        from_names: the name of the tag that each label belongs to.
        to_name: the image's name.
        key: the image's key in a task's data.
        texts: the texts of each label: its ``predicted_values``, or itself.
    """

    kind: str
    from_names: Mapping[str, str]
    to_name: str
    key: str
    texts: Mapping[str, tuple[str, ...]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in order."""
        return tuple(self.from_names)

    def label_of(self, text: str) -> str | None:
        """The label that a text stands for: it or one of its texts is the text, or is named in it.

        >>> labelling = read_labelling(
        ...     '<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i">'
        ...     '<Label value="dog"/><Label value="hot dog"/></BrushLabels></View>')
        >>> labelling.label_of("Dog"), labelling.label_of("a hot dog"), labelling.label_of("cat")
        ('dog', 'hot dog', None)
        """
        if fold(text) in self._whole:
            return self._whole[fold(text)]
        words = _word_list(text)
        for length in range(min(len(words), self._longest), 0, -1):
            for start in range(len(words) - length + 1):
                found = self._parts.get(words[start : start + length])
                if found is not None:
                    return found
        return None

    @cached_property
    def _whole(self) -> dict[str, str]:
        """The label of each name of a label, as names are compared."""
        names = [(one, label) for label in self.labels for one in (label, *self.texts[label])]
        return {fold(name): label for name, label in reversed(names)}

    @cached_property
    def _parts(self) -> dict[tuple[str, ...], str]:
        return {_word_list(name): label for name, label in self._whole.items()}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._parts), default=0)


def read_labelling(config: object, image: str | None = None) -> Labelling:
    """The labels of a labelling configuration.

    Args:
        config: the configuration as XML.
        image: the name of the image that is asked about; None for the first that has labels.

    Raises:
        DataError: it is no such configuration, or has no labels of an image.

    >>> read_labelling('<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i">'
    ...                '<Label value="dog" predicted_values="puppy, dog"/></BrushLabels></View>').texts
    {'dog': ('puppy', 'dog')}
    """
    if (
        not isinstance(config, str)
        or len(config) > LONGEST_CONFIG
        or "<!DOCTYPE" in config
        or "<!ENTITY" in config
    ):
        raise DataError(f"expected a labelling configuration as XML without DTD, got {described(config)}")
    try:
        tree = ElementTree.fromstring(config)
    except (ElementTree.ParseError, ValueError):
        raise DataError(f"expected a labelling configuration as XML, got {described(config)}") from None
    keys = {one.get("name", ""): one.get("value", "").removeprefix("$") for one in tree.iter("Image")}
    wanted = (image,) if image in keys else tuple(keys)
    for kind in KINDS:
        for name in wanted:
            found = _labels(tag for tag in tree.iter(kind) if tag.get("toName") == name)
            if found:
                from_names = {label: tag for label, (tag, _) in found.items()}
                texts = {label: row for label, (_, row) in found.items()}
                return Labelling(kind, from_names, name, keys[name], texts)
    raise DataError("expected a configuration with brush, polygon or rectangle labels of an image, got none")


def _labels(tags: Iterator[ElementTree.Element]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The tag's name and the texts of each label; of equal labels the first counts."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for tag in tags:
        for one in tag.iter("Label"):
            label = one.get("value", "").strip()
            if label:
                found.setdefault(
                    label, (tag.get("name", ""), _texts(one.get("predicted_values", "")) or (label,))
                )
    return found


def _word_list(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", fold(text)))


def _texts(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for part in value.split(",") if (text := part.strip())))


def texts_of(labelling: Labelling, words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The texts of each label that words stand for, and the words that stand for none."""
    found: dict[str, list[str]] = {}
    unknown = []
    for word in dict.fromkeys(words):
        label = labelling.label_of(word)
        if label is None:
            unknown.append(word)
        elif fold(word) not in map(fold, found.setdefault(label, [])):
            found[label].append(word)
    return found, unknown
