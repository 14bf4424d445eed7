"""A labelling configuration of Label Studio: its labels, and the tag that each answer belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from xml.etree import ElementTree

from ovseg.errors import DataError, described
from ovseg.words.names import fold

LONGEST_CONFIG = 200_000
"""Characters of a labelling configuration."""
LONGEST_NAME, LONGEST_PROMPT = 16, 77
"""Words of a label that is looked for inside a prompt, and words of a prompt that are looked through."""
COMMAS = re.compile("[,\uff0c\u3001\u060c\ufe50\ufe51\uff64]")
"""Commas: ASCII, full-width, ideographic, Arabic, small, and half-width."""
KINDS = ("BrushLabels", "PolygonLabels", "RectangleLabels")
"""Tags whose labels regions can have; answers use the first kind that a project has."""


@dataclass(frozen=True)
class Labelling:
    """The labels that regions of an image can have.

    Attributes:
        kind: the kind of the tag, one of ``KINDS``.
        from_names: maps each label to the name of its tag.
        to_name: the name of the image tag.
        key: the image's key in a task's data.
        texts: maps each label to its texts: its ``predicted_values``, or itself.
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
        """The label that a text means: the label or one of its texts equals the text, or stands in it.

        >>> labelling = read_labelling(
        ...     '<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i">'
        ...     '<Label value="dog"/><Label value="hot dog"/></BrushLabels></View>')
        >>> labelling.label_of("Dog"), labelling.label_of("a hot dog"), labelling.label_of("cat")
        ('dog', 'hot dog', None)
        """
        if fold(text) in self._whole:
            return self._whole[fold(text)]
        words = _word_list(text)[:LONGEST_PROMPT]
        for length in range(min(len(words), self._longest), 0, -1):
            for start in range(len(words) - length + 1):
                found = self._parts.get(words[start : start + length])
                if found is not None:
                    return found
        return None

    @cached_property
    def _whole(self) -> dict[str, str]:
        """Maps each label and each text, folded, to the label."""
        names = [(one, label) for label in self.labels for one in (label, *self.texts[label])]
        return {fold(name): label for name, label in reversed(names)}

    @cached_property
    def _parts(self) -> dict[tuple[str, ...], str]:
        parts = {_word_list(name): label for name, label in self._whole.items()}
        return {words: label for words, label in parts.items() if len(words) <= LONGEST_NAME}

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
    wanted = {image} if image in keys else set(keys)
    for kind in KINDS:
        tags: dict[str, list[ElementTree.Element]] = {}
        for tag in tree.iter(kind):
            tags.setdefault(tag.get("toName", ""), []).append(tag)
        for name in (one for one in keys if one in wanted and one in tags):
            found = _labels(tags[name])
            if found:
                from_names = {label: tag for label, (tag, _) in found.items()}
                texts = {label: row for label, (_, row) in found.items()}
                return Labelling(kind, from_names, name, keys[name], texts)
    raise DataError("expected a configuration with brush, polygon or rectangle labels of an image, got none")


def _labels(tags: Iterable[ElementTree.Element]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Maps each label to its tag's name and its texts; of equal labels the first counts."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for tag in tags:
        for one in tag.iter("Label"):
            label = one.get("value", "").strip()
            if label:
                texts = split_words(one.get("predicted_values", "")) or (label,)
                found.setdefault(label, (tag.get("name", ""), texts))
    return found


def split_words(text: str) -> tuple[str, ...]:
    """The words between commas, each once; the commas of Chinese, Japanese and Arabic count too.

    >>> split_words("sky， old tree, sky")
    ('sky', 'old tree')
    """
    return tuple(dict.fromkeys(word for part in COMMAS.split(text) if (word := part.strip())))


def _word_list(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", fold(text)))


def texts_of(labelling: Labelling, words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Maps each label to the given words that mean it; second, the words that mean none."""
    found: dict[str, dict[str, str]] = {}
    unknown = []
    for word in dict.fromkeys(words):
        label = labelling.label_of(word)
        if label is None:
            unknown.append(word)
        else:
            found.setdefault(label, {}).setdefault(fold(word), word)
    return {label: list(row.values()) for label, row in found.items()}, unknown
