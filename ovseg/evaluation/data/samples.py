"""Pictures with a mask for each label present, from folders of index masks.

Per-label metrics (mSC, IoU, interactive segmentation) all take a ``Sample``. Labels belong to the upright
picture, as in ``ovseg.files.labels.load_labels``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.items import ItemSet
from ovseg.files.labels import check_labels_fit, load_labels
from ovseg.files.pictures import load_image
from ovseg.metrics import VOID
from ovseg.results import void_value
from ovseg.words.vocabulary import load_vocabulary

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


@dataclass(frozen=True)
class Sample:
    """One picture with a mask for each of its labels.

    Attributes:
        name: of the picture in its set.
        image: (H, W, 3) uint8 RGB.
        masks: (H, W) bool for each label present in the picture.
        valid: (H, W) bool, the pixels that count.
    """

    name: str
    image: NDArray[np.uint8]
    masks: dict[str, NDArray[np.bool_]]
    valid: NDArray[np.bool_]


SampleSet = ItemSet[Sample]
"""A named set of samples; each iteration reads it from the start."""


def from_labels(
    name: str,
    image: NDArray[np.uint8],
    labels: NDArray[np.integer],
    names: Sequence[str],
    ignored: Sequence[str] = (),
) -> Sample:
    """Make a sample from an index mask: pixels of index k belong to ``names[k]``.

    Args:
        name: of the sample.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) indices; ``void_value(len(names))`` marks pixels that do not count.
        names: the name of each index.
        ignored: names that are not labels, such as "background"; their pixels count.

    Raises:
        DataError: an index is beyond the names, or the sizes differ.

    >>> labels = np.array([[0, 1, 255]], np.uint8)
    >>> sample = from_labels("a", np.zeros((1, 3, 3), np.uint8), labels, ["sky", "tree"])
    >>> list(sample.masks), sample.valid.tolist()
    (['sky', 'tree'], [[True, True, False]])
    """
    check_labels_fit(labels, image.shape, name)
    void = void_value(len(names))
    known = [int(k) for k in np.unique(labels) if k != void]
    wrong = [k for k in known if not 0 <= k < len(names)]
    if wrong:
        raise DataError(f"{name}: expected labels below {len(names)} or {void}, got {wrong[-1]}")
    masks = {names[k]: labels == k for k in known if names[k] not in ignored}
    return Sample(name, image, masks, labels != void)


def read_folder(
    images: Path,
    masks: Path,
    stems: Sequence[str],
    names: Sequence[str],
    ignored: Sequence[str] = (),
    title: str = "",
) -> SampleSet:
    """Read pictures STEM.jpg (or .jpeg, .png) and index masks STEM.png from two folders, as in VOC.

    Args:
        images, masks: the folders.
        stems: the names of the files, without suffix.
        names: the name of each index.
        ignored: names that are not labels.
        title: the set's name; empty to use the name of the parent folder of ``images``.

    Raises:
        UsageError: there are no stems.
        DataError: while the set is read, a file is missing or a mask does not fit its picture.
    """
    if not stems:
        raise UsageError(f"expected names of pictures in {images}, got none")

    def files(index: int) -> tuple[Path, Path]:
        stem = stems[index]
        return find_picture(images, stem), masks / f"{stem}.png"

    def load(index: int) -> Sample:
        picture, mask = files(index)
        labels = load_labels(mask)
        if not picture.is_file():
            raise DataError(f"expected the picture of {stems[index]}, {picture} does not exist")
        return from_labels(stems[index], load_image(picture), labels, names, ignored)

    used = tuple(name for name in names if name not in ignored)
    return SampleSet(title or images.parent.name, used, list(stems), load, files)


def read_pairs(
    title: str,
    names: tuple[str, ...],
    stems: Sequence[str],
    pictures: Sequence[Path],
    masks: Sequence[Path],
    folder: Path,
    wanted: str,
) -> SampleSet:
    """Pair pictures with label maps by position. Raises UsageError if there are none."""
    if not masks:
        problem = "has none" if folder.is_dir() else "does not exist"
        raise UsageError(f"expected {title} with {wanted}, {folder} {problem}")

    def load(index: int) -> Sample:
        image = load_image(pictures[index])
        return from_labels(stems[index], image, load_labels(masks[index]), names)

    def files(index: int) -> tuple[Path, Path]:
        return pictures[index], masks[index]

    return SampleSet(title, names, list(stems), load, files)


def find_picture(folder: Path, stem: str) -> Path:
    """The existing file STEM with one of ``SUFFIXES``, or the path with the first suffix."""
    choices = [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
    return next((path for path in choices if path.is_file()), choices[0])


def read_voc(
    root: Path, names: Sequence[str], split: str = "val", ignored: Sequence[str] = ("background",)
) -> SampleSet:
    """Read a folder such as VOCdevkit/VOC2012: JPEGImages, SegmentationClass, ImageSets/Segmentation.

    Raises:
        UsageError: the list of the split is missing or empty.
    """
    stems = read_lines(root / "ImageSets" / "Segmentation" / f"{split}.txt")
    return read_folder(root / "JPEGImages", root / "SegmentationClass", stems, names, ignored, root.name)


def read_photos(
    root: Path,
    split: str = "val",
    ignored: Sequence[str] = ("background",),
    names: Sequence[str] | None = None,
) -> SampleSet:
    """Read a folder with images/, masks/, classes.txt (line k, from 0, names index k) and SPLIT.txt.

    Args:
        root: the folder.
        split: the name of the list of pictures.
        ignored: names that are not labels; their pixels count.
        names: other names for the classes, in the order of classes.txt.

    Raises:
        UsageError: a list is missing or empty, or names and classes differ in number.
    """
    classes = read_lines(root / "classes.txt")
    if names is not None and len(names) != len(classes):
        raise UsageError(f"expected {len(classes)} names, as {root / 'classes.txt'} has, got {len(names)}")
    stems = read_lines(root / f"{split}.txt")
    used = classes if names is None else names
    return read_folder(root / "images", root / "masks", stems, used, ignored, f"{root.name} {split}")


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a UTF-8 text file, stripped.

    Raises:
        UsageError: the file is missing or not UTF-8 text.
    """
    if not path.is_file():
        raise UsageError(f"expected a list, {path} does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"expected a list as UTF-8 text, {path} cannot be read: {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


# ----------------------------------------------------------------------------------------- ImageNet-S-50

IGNORED = 1000
"""The id of ignored pixels."""
WORDNET_IDS = tuple(
    f"n{number}"
    for number in (
        "01443537 01491361 01531178 01644373 02104029 02119022 02123597 02133161 02165456 02281406 "
        "02325366 02342885 02396427 02483362 02504458 02510455 02690373 02747177 02783161 02814533 "
        "02859443 02917067 02992529 03014705 03047690 03095699 03197337 03201208 03445777 03452741 "
        "03584829 03630383 03775546 03791053 03874599 03891251 04026417 04335435 04380533 04404412 "
        "04447861 04507155 04522168 04557648 04562935 04612504 06794110 07749582 07831146 12998815"
    ).split()
)
"""The folder of each class; class k of the masks, from 1, is entry k - 1."""


def read_imagenet_s50(root: Path, split: str = "validation") -> SampleSet:
    """Read ImageNet-S-50 (Gao et al., TPAMI 2022), as SPLIT/WORDNET_ID/*.JPEG and SPLIT-segmentation/WORDNET_ID/*.png.

    The masks store their ids in colours, red + 256 x green: 0 is background, 1000 is ignored.
    Class names are OpenAI's for ImageNet (vocabulary "imagenet_s50").

    Args:
        root: the folder ImageNetS50.
        split: "validation", or "train-semi".

    Raises:
        UsageError: the folders are missing or hold no masks.
        DataError: a folder belongs to none of the 50 classes.
    """
    folder = root / f"{split}-segmentation"
    masks = sorted(folder.glob("*/*.png"))
    if not masks:
        problem = "holds no WORDNET_ID/*.png" if folder.is_dir() else "does not exist"
        raise UsageError(f"expected ImageNet-S-50 with {split}-segmentation, {folder} {problem}")
    strange = next((path for path in masks if path.parent.name not in WORDNET_IDS), None)
    if strange is not None:
        raise DataError(f"expected the 50 folders of ImageNet-S-50, {folder} has {strange.parent.name}")
    names = ("background", *load_vocabulary("imagenet_s50").names)
    items = [f"{path.parent.name}/{path.stem}" for path in masks]

    def files(index: int) -> tuple[Path, Path]:
        return root / split / f"{items[index]}.JPEG", masks[index]

    def load(index: int) -> Sample:
        picture, mask = files(index)
        image, labels = load_image(picture), read_ids(mask, len(names))
        check_labels_fit(labels, image.shape, str(mask))
        return from_labels(items[index], image, labels, names, ("background",))

    return SampleSet("ImageNet-S-50", names[1:], items, load, files)


def read_ids(path: Path, classes: int) -> NDArray[np.uint8]:
    """Read a mask's ids, (H, W) uint8 below ``classes``; 255 marks ignored pixels. Raises DataError."""
    colours = load_image(path).astype(np.int64)
    ids = colours[..., 0] + 256 * colours[..., 1]
    ids[ids == IGNORED] = VOID
    wrong = np.unique(ids[((ids >= classes) & (ids != VOID)) | (colours[..., 2] != 0)])
    if wrong.size:
        raise DataError(
            f"expected ids below {classes} or {IGNORED} as red + 256 x green, {path} holds {wrong[0]}"
        )
    return ids.astype(np.uint8)
