"""ImageNet-S-50 (Gao et al., TPAMI 2022): ImageNet pictures with a mask of their object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.samples import Sample, SampleSet, from_labels
from ovseg.files.labels import check_labels_fit
from ovseg.files.pictures import load_image
from ovseg.metrics import VOID
from ovseg.words.vocabulary import load_vocabulary

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
    """Read ImageNetS50: SPLIT/WORDNET_ID/*.JPEG and SPLIT-segmentation/WORDNET_ID/*.png.

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
