"""Pictures with image-level labels: NUS-WIDE, lists of names, and samples reduced to their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.items import ItemSet
from ovseg.evaluation.data.samples import SampleSet, find_picture, read_lines
from ovseg.files.pictures import load_image
from ovseg.words.vocabulary import load_vocabulary


@dataclass(frozen=True)
class TaggedImage:
    """One picture and its labels.

    Attributes:
        name: of the picture in its set.
        image: (H, W, 3) uint8 RGB.
        truth: (K,) int8, 1 for each label present, 0 otherwise.
    """

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.int8]


def _unknown(index: int) -> NDArray[np.int8]:
    raise NotImplementedError


@dataclass(frozen=True)
class TagSet(ItemSet[TaggedImage]):
    """A named set of pictures with labels; each iteration reads it from the start.

    Attributes:
        truth: the labels of a picture, (K,) int8, by its position.
    """

    truth: Callable[[int], NDArray[np.int8]] = _unknown

    def _at(self, places: Sequence[int]) -> TagSet:
        return replace(super()._at(places), truth=lambda index: self.truth(places[index]))


def tags_of(samples: SampleSet) -> TagSet:
    """Reduce samples to labels: a label is present if its mask has a pixel."""

    def load(index: int) -> TaggedImage:
        sample = samples.load(index)
        truth = np.array([name in sample.masks for name in samples.names], np.int8)
        return TaggedImage(sample.name, sample.image, truth)

    def truth(index: int) -> NDArray[np.int8]:
        return load(index).truth

    return TagSet(samples.title, samples.names, samples.items, load, samples.files, samples.note, truth)


def read_tags(root: Path, split: str = "names") -> TagSet:
    """Read a folder with images/ and SPLIT.tsv, whose lines are a picture's name, a tab, and its labels.

    Labels are separated by commas. The set's labels are all that occur.

    Raises:
        UsageError: the list is missing, empty, or a line has no label.
    """
    file = root / f"{split}.tsv"
    rows: list[tuple[str, list[str]]] = []
    for number, line in enumerate(read_lines(file), 1):
        name, tab, words = line.partition("\t")
        labels = [word.strip() for word in words.split(",") if word.strip()]
        if not tab or not labels:
            raise UsageError(f"{file}, line {number}: expected a name, a tab and labels, got {line[:80]!r}")
        rows.append((name.strip(), labels))
    names = tuple(sorted({label for _, labels in rows for label in labels}))
    truth = np.array([[name in labels for name in names] for _, labels in rows], np.int8).reshape(
        len(rows), -1
    )
    if not rows:
        raise UsageError(f"expected pictures with labels, {file} lists none")
    paths = [find_picture(root / "images", name) for name, _ in rows]
    return _tagged(root.name, names, [name for name, _ in rows], paths, truth)


def read_nus_wide(root: Path, split: str = "test") -> TagSet:
    """Read NUS-WIDE with its 81 concepts, as its authors publish it.

        ImageList/TestImagelist.txt (or TrainImagelist.txt), lines such as actor\\0001_2124494179.jpg
        Groundtruth/TrainTestLabels/Labels_airport_Test.txt …, a 0 or 1 per line of the list
        ConceptsList/Concepts81.txt (or Concepts81.txt); otherwise the vocabulary "nus_wide"
        Flickr/actor/0001_2124494179.jpg, or images/ with or without the folders

    Args:
        root: the folder of the data set.
        split: "test" or "train".

    Raises:
        UsageError: a list is missing, or the split is unknown.
        DataError: a label file differs from the list in length, or holds anything but 0 and 1.
    """
    if split not in ("test", "train"):
        raise UsageError(f"unknown split {split!r}: expected test or train")
    part = split.capitalize()
    listed = [line.replace("\\", "/") for line in read_lines(root / "ImageList" / f"{part}Imagelist.txt")]
    if not listed:
        raise UsageError(f"expected pictures, {root / 'ImageList' / f'{part}Imagelist.txt'} lists none")
    concepts = [root / "ConceptsList" / "Concepts81.txt", root / "Concepts81.txt"]
    found = next((path for path in concepts if path.is_file()), None)
    names = load_vocabulary("nus_wide").names if found is None else tuple(read_lines(found))
    folders = [root / "Groundtruth" / "TrainTestLabels", root / "GroundTruth" / "TrainTestLabels"]
    folder = next((path for path in folders if path.is_dir()), folders[0])
    truth = np.zeros((len(listed), len(names)), np.int8)
    for column, name in enumerate(names):
        truth[:, column] = _read_binary(folder / f"Labels_{name}_{part}.txt", len(listed))
    return _tagged("NUS-WIDE", names, listed, _nus_pictures(root, listed), truth)


def _nus_pictures(root: Path, listed: Sequence[str]) -> list[Path]:
    """The file of each picture; all are taken from the first folder that contains the first one."""
    choices = [
        lambda name: root / "Flickr" / name,
        lambda name: root / "images" / name,
        lambda name: root / "Flickr" / Path(name).name,
        lambda name: root / "images" / Path(name).name,
    ]
    place = next((choice for choice in choices if choice(listed[0]).is_file()), choices[0])
    return [place(name) for name in listed]


def _read_binary(path: Path, count: int) -> NDArray[np.int8]:
    lines = read_lines(path)
    if len(lines) != count or not set(lines) <= {"0", "1"}:
        raise DataError(f"expected {count} lines of 0 or 1 in {path}, it has {len(lines)} lines")
    return np.array([line == "1" for line in lines], np.int8)


def _tagged(
    title: str, names: tuple[str, ...], items: list[str], paths: list[Path], truth: NDArray[np.int8]
) -> TagSet:
    def load(index: int) -> TaggedImage:
        return TaggedImage(items[index], load_image(paths[index]), truth[index])

    def note(index: int) -> str:
        return "".join(map(str, truth[index].tolist()))

    return TagSet(title, names, items, load, lambda index: (paths[index],), note, lambda index: truth[index])
