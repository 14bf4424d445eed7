"""Data sets by name: reads "voc2012=data/VOCdevkit/VOC2012" in the data set's published layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ovseg.errors import UsageError
from ovseg.evaluation.data.cityscapes import read_cityscapes
from ovseg.evaluation.data.coco import read_coco2017, read_coco_stuff
from ovseg.evaluation.data.context import read_context
from ovseg.evaluation.data.samples import (
    Sample,
    SampleSet,
    from_labels,
    read_imagenet_s50,
    read_photos,
    read_voc,
)
from ovseg.evaluation.data.scenes import NAMES, make_scene
from ovseg.evaluation.data.tags import TagSet, read_nus_wide, read_tags, tags_of
from ovseg.files.paths import expand
from ovseg.words.vocabulary import find_vocabulary, load_vocabulary


@dataclass(frozen=True)
class DataSet:
    """How a data set is read.

    Attributes:
        title: the paper's name for it; empty for user folders, which are titled by their name.
        split: the default split.
        read: from a folder and a split to samples; None for sets without masks.
        tags: from a folder and a split to pictures with labels; None to derive them from the samples.
    """

    title: str
    split: str
    read: Callable[[Path, str], SampleSet] | None
    tags: Callable[[Path, str], TagSet] | None = None


DATA_SETS: dict[str, DataSet] = {
    "imagenet_s50": DataSet("ImageNet-S50", "validation", read_imagenet_s50),
    "voc2012": DataSet(
        "VOC 2012", "val", lambda root, split: read_voc(root, load_vocabulary("voc21").names, split)
    ),
    "pascal_context": DataSet("PASCAL Context", "val", read_context),
    "coco2017": DataSet("COCO 2017", "val", read_coco2017),
    "coco_stuff164k": DataSet("COCO Stuff", "val2017", read_coco_stuff),
    "cityscapes": DataSet("Cityscapes", "val", read_cityscapes),
    "nus_wide": DataSet("NUS-WIDE", "test", None, read_nus_wide),
    "photos": DataSet("", "val", read_photos),
    "tags": DataSet("", "names", None, read_tags),
}
"""Every kind of data set except "scenes", which are generated."""
SCENES = "scenes"


def read_scenes(count: int = 100) -> SampleSet:
    """Generated scenes with the seeds 0 to ``count`` - 1; the embedded models were trained on others."""

    def load(index: int) -> Sample:
        scene = make_scene(index)
        return from_labels(str(index), scene.image, scene.labels, NAMES)

    return SampleSet(f"{count} scenes", NAMES, [str(seed) for seed in range(count)], load)


@dataclass(frozen=True)
class Source:
    """A requested data set.

    Attributes:
        kind: a key of ``DATA_SETS``, or "scenes".
        root: its folder; for scenes their number.
        split: empty for the data set's default.
        vocabulary: other names for the classes of a folder of photographs: a vocabulary's name or file.

    >>> parse_source("voc2012=data/VOC2012:train")
    Source(kind='voc2012', root='data/VOC2012', split='train', vocabulary=None)
    >>> parse_source("photos=shared/voc2012:val:voc21").vocabulary
    'voc21'
    """

    kind: str
    root: str
    split: str = ""
    vocabulary: str | None = None

    def samples(self) -> SampleSet:
        """Read the set with masks. Raises UsageError for a set without masks, and as its reader does."""
        if self.kind == SCENES:
            return read_scenes(int(self.root))
        known = DATA_SETS[self.kind]
        if known.read is None:
            raise UsageError(f"expected a data set with masks, got {self.kind}, which has labels only")
        root, split = self._place(known)
        if self.vocabulary is not None:
            names = find_vocabulary(self.vocabulary).names
            return read_photos(root, split, names=names)
        return known.read(root, split)

    def tags(self) -> TagSet:
        """Read the set as pictures with labels. Raises UsageError as its reader does."""
        known = DATA_SETS.get(self.kind)
        if known is None or known.tags is None:
            return tags_of(self.samples())
        return known.tags(*self._place(known))

    def _place(self, known: DataSet) -> tuple[Path, str]:
        root = expand(self.root)
        if not root.is_dir():
            raise UsageError(f"expected the folder of {self.kind}, {root} does not exist")
        return root, self.split or known.split


def parse_source(text: str) -> Source:
    """Parse KIND=FOLDER, KIND=FOLDER:SPLIT, photos=FOLDER:SPLIT:VOCABULARY, or scenes=COUNT.

    Raises:
        UsageError: another form, or an unknown kind.
    """
    kind, equals, rest = text.partition("=")
    if kind not in (*DATA_SETS, SCENES) or not equals or not rest:
        kinds = ", ".join((*DATA_SETS, SCENES))
        raise UsageError(f"expected a data set as KIND=FOLDER with KIND one of {kinds}, got {text!r}")
    root, *more = rest.split(":")
    if kind == SCENES and (not rest.isascii() or not rest.isdigit() or not 0 < int(rest) < 10**7):
        raise UsageError(f"expected the number of scenes, got {rest!r}")
    if len(more) > (2 if kind == "photos" else 1):
        raise UsageError(f"expected {kind}=FOLDER:SPLIT, got {text!r}")
    return Source(kind, root, more[0] if more else "", more[1] if len(more) > 1 else None)


def parse_sources(texts: Iterable[str]) -> list[Source]:
    """Parse each source; duplicates are dropped. Raises UsageError."""
    return list(dict.fromkeys(parse_source(text) for text in texts))
