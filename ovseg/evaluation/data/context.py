"""PASCAL Context's 59 classes and "anything else" (0), from either form in which it was published.

- trainval.tar.gz of the data set's page: a .mat file an image, "LabelMap" of ids 1 to 459, and labels.txt,
  which names the ids.
- trainval_merged.json of PASCAL in Detail: run lengths of every region with the same ids.

The 59 ids are those of MMSegmentation's converter; sorted, they are in the alphabetical order of the names,
and the names that either form gives are compared with ours before anything is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, MissingPackageError, UsageError, described, extra
from ovseg.evaluation.data.convert import Converted, look_up, read_json, write_all, write_list
from ovseg.evaluation.data.samples import SampleSet, read_folder, read_lines
from ovseg.results.coco import Mask
from ovseg.words.vocabulary import load_vocabulary

IDS = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98),
    *(104, 105, 113, 115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308),
    *(324, 326, 347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
"""The label id (of 459) of each of the 59 classes, in the order of the classes."""

OTHER_NAMES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
"""Classes whose name differs between the two lists: name among the 459 -> name among the 59."""

SPLITS = ("train", "val")


def read_context(root: Path, split: str = "val") -> SampleSet:
    """Read PASCAL Context with its 59 classes: VOCdevkit/VOC2010 with SegmentationClassContext.

    ``convert_context_mat`` or ``convert_context_json`` makes the label maps and
    ImageSets/SegmentationContext/SPLIT.txt. Index 0 marks pixels of none of the 59 classes; they count as background.

    Raises:
        UsageError: the list of the split is missing or empty.
    """
    stems = read_lines(root / "ImageSets" / "SegmentationContext" / f"{split}.txt")
    names = load_vocabulary("pascal_context60").names
    folders = (root / "JPEGImages", root / "SegmentationClassContext")
    return read_folder(*folders, stems, names, ("background",), "PASCAL Context")


def class_table() -> NDArray[np.int_]:
    """(460,): label id -> class 1 to 59, or 0 for the other 400."""
    table = np.zeros(460, int)
    table[list(IDS)] = np.arange(1, len(IDS) + 1)
    return table


def check_names(names: Mapping[int, str], source: object) -> None:
    """Raise DataError unless ``names`` agrees with the vocabulary on each of the 59 ids, ignoring spaces."""
    for label, wanted in zip(IDS, load_vocabulary("pascal_context59").names, strict=True):
        name = names.get(label, "nothing").replace(" ", "")
        if OTHER_NAMES.get(name, name) != wanted.replace(" ", ""):
            raise DataError(f"expected label {label} to be {wanted!r}, {source} calls it {name!r}")


def convert_context_mat(mats: Path, labels: Path, devkit: Path, split: str = "val") -> Converted:
    """Convert ``mats``, a folder of <image>.mat; ``labels`` is labels.txt, ``devkit`` VOCdevkit/VOC2010.

    The images of a split are those of VOC 2010's own ImageSets/Main. Raises UsageError, DataError.
    """
    _check_split(split)
    if not mats.is_dir():
        raise UsageError(f"expected a folder of .mat files, or trainval_merged.json, {mats} does not exist")
    check_names(_read_names(labels), labels)
    listed = devkit / "ImageSets" / "Main" / f"{split}.txt"
    if not listed.is_file():
        raise UsageError(f"expected VOC 2010 with ImageSets/Main/{split}.txt, {listed} does not exist")
    names = listed.read_text(encoding="utf-8").split()
    _mat_reader()
    missing = [name for name in names if not (mats / f"{name}.mat").is_file()]
    if missing:
        raise DataError(
            f"expected {len(names)} .mat files in {mats}, {len(missing)} are missing: {missing[0]}.mat"
        )
    return _write(devkit, split, {name: _mat_job(mats / f"{name}.mat") for name in names})


def convert_context_json(path: Path, devkit: Path, split: str = "val") -> Converted:
    """Convert trainval_merged.json of PASCAL in Detail, which names the split of each image.

    Args:
        path: the JSON file.
        devkit: VOCdevkit/VOC2010, where the label maps and the list of images go.
        split: "train" or "val".

    Returns:
        How many label maps were written and how many were there already.

    Raises:
        UsageError: the file does not exist, or the split is unknown.
        DataError: the file has no image of the split, or its content is not as expected.
    """
    _check_split(split)
    content = read_json(path, ("images", "annos_segmentation", "categories"))
    check_names({row["category_id"]: row["name"] for row in content["categories"]}, path)
    images = [image for image in content["images"] if image["phase"] == split]
    if not images:
        raise DataError(f"expected images of {split!r}, {path} has none")
    regions = defaultdict(list)
    for region in content["annos_segmentation"]:
        regions[region["image_id"]].append(region)
    jobs = {
        Path(image["file_name"]).stem: lambda image=image: draw_regions(image, regions[image["image_id"]])
        for image in images
    }
    return _write(devkit, split, jobs)


def draw_regions(image: dict[str, Any], regions: list[dict[str, Any]]) -> NDArray[np.uint8]:
    """Draw one image's regions as (H, W) uint8 classes: later regions cover earlier ones; 0 is background."""
    size = (image["height"], image["width"])
    ids = np.zeros(size, int)
    for region in regions:
        ids[Mask.of_coco(region["segmentation"], size).array()] = region["category_id"]
    return look_up(ids, class_table(), image["file_name"], "labels 0 to 459")


def _write(devkit: Path, split: str, jobs: Mapping[str, Any]) -> Converted:
    folder = devkit / "SegmentationClassContext"
    done = write_all([(folder / f"{name}.png", make) for name, make in jobs.items()], "PASCAL Context")
    # The list comes last: while it is missing, the conversion is not finished.
    write_list(devkit / "ImageSets" / "SegmentationContext" / f"{split}.txt", list(jobs))
    return done


def _mat_job(path: Path) -> Any:
    def make() -> NDArray[np.uint8]:
        loadmat = _mat_reader()
        try:
            ids = loadmat(path)["LabelMap"].astype(int)
        except (OSError, ValueError, NotImplementedError, KeyError) as error:
            raise DataError(f"expected a .mat file with LabelMap, {path}: {error}") from None
        return look_up(ids, class_table(), path, "labels 0 to 459")

    return make


def _mat_reader() -> Callable[[Path], dict[str, Any]]:
    """Import SciPy's reader of .mat files, which only this conversion needs."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise MissingPackageError(f"reading .mat files needs scipy: {extra('eval')}") from None
    return loadmat


def _read_names(path: Path) -> dict[int, str]:
    """Parse lines such as "3: air conditioner"."""
    if not path.is_file():
        raise UsageError(f"expected labels.txt with the names of the 459 labels, {path} does not exist")
    names = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        number, colon, name = line.partition(":")
        if colon and number.strip().isdigit():
            names[int(number)] = name.strip()
    return names


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise UsageError(f"unknown split {described(split)}: expected one of {', '.join(SPLITS)}")
