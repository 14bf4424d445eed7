"""COCO-Stuff and Cityscapes in MMSegmentation's layout: label maps that belong to pictures by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovseg.errors import UsageError
from ovseg.evaluation.data.samples import Sample, SampleSet, from_labels
from ovseg.files.labels import load_labels
from ovseg.files.pictures import load_image
from ovseg.words.vocabulary import load_vocabulary


def read_coco_stuff(root: Path, split: str = "val2017") -> SampleSet:
    """Read COCO-Stuff 164k: images/SPLIT/*.jpg, annotations/SPLIT/*_labelTrainIds.png (171 classes).

    ``tools/convert_datasets.py`` makes the label maps. Raises UsageError where there are none.
    """
    ending = "_labelTrainIds.png"
    folder = root / "annotations" / split
    masks = sorted(folder.glob(f"*{ending}"))
    names = load_vocabulary("coco_stuff164k").names
    stems = [path.name.removesuffix(ending) for path in masks]
    pictures = [root / "images" / split / f"{stem}.jpg" for stem in stems]
    return _pairs("COCO Stuff", names, stems, pictures, masks, folder, f"*{ending}")


def read_cityscapes(root: Path, split: str = "val") -> SampleSet:
    """Read Cityscapes: leftImg8bit/SPLIT/CITY/*, gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png (19 classes).

    ``tools/convert_datasets.py`` makes the label maps. Raises UsageError where there are none.
    """
    ending = "_gtFine_labelTrainIds.png"
    folder = root / "gtFine" / split
    masks = sorted(folder.glob(f"*/*{ending}"))
    names = load_vocabulary("cityscapes").names
    stems = [f"{path.parent.name}/{path.name.removesuffix(ending)}" for path in masks]
    pictures = [root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png" for stem in stems]
    return _pairs("Cityscapes", names, stems, pictures, masks, folder, f"CITY/*{ending}")


def _pairs(
    title: str,
    names: tuple[str, ...],
    stems: Sequence[str],
    pictures: Sequence[Path],
    masks: Sequence[Path],
    folder: Path,
    wanted: str,
) -> SampleSet:
    if not masks:
        problem = "has none" if folder.is_dir() else "does not exist"
        raise UsageError(f"expected {title} with {wanted}, {folder} {problem}")

    def load(index: int) -> Sample:
        image = load_image(pictures[index])
        return from_labels(stems[index], image, load_labels(masks[index]), names)

    def files(index: int) -> tuple[Path, Path]:
        return pictures[index], masks[index]

    return SampleSet(title, names, list(stems), load, files)
