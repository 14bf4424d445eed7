"""Small generated trees in the exact layout, file names and label encodings of each data set.

``write_tree("ade20k", root)`` fills ``root``, which plays the part of data/, with drawn scenes; every
tree holds images of another split too, so that a loader that ignores the split is found out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.labels import trainId2label
from PIL import Image
from pycocotools import mask as rle
from scipy.io import savemat

from ovseg.evaluation.data.scenes import NAMES, make_scene
from ovseg.results.figures import palette
from ovseg.words.vocabulary import load_vocabulary

VOID = 255
CITIES = ("frankfurt", "lindau", "munster")
COCO_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
"""COCO's category ids 1 to 182 that COCO-Stuff does not use (its label list)."""

ROOTS = {
    "coco_stuff164k": "coco_stuff164k",
    "pascal_context59": "VOCdevkit/VOC2010",
    "pascal_context60": "VOCdevkit/VOC2010",
    "cityscapes": "cityscapes",
    "voc20": "VOCdevkit/VOC2012",
    "voc21": "VOCdevkit/VOC2012",
    "ade20k": "ade/ADEChallengeData2016",
    "coco_object": "coco_object",
}
"""Vocabulary -> folder under data/."""


def write_tree(dataset: str, root: Path, count: int = 4, size: tuple[int, int] | None = None) -> Path:
    """``count`` images of the validation split under ``root``, one of another split; the data set's folder.

    ``size`` (height, width) of landscape images, every second one is portrait; (96, 128) by default,
    and for Cityscapes, all landscape, (64, 128).
    """
    folder = root / ROOTS[dataset]
    {
        "coco_stuff164k": _coco_stuff,
        "pascal_context59": _pascal_context,
        "pascal_context60": _pascal_context,
        "cityscapes": _cityscapes,
        "voc20": _voc,
        "voc21": _voc,
        "ade20k": _ade,
        "coco_object": _coco_object,
    }[dataset](folder, count, size or ((64, 128) if dataset == "cityscapes" else (96, 128)))
    return folder


def scene(
    index: int, classes: int, size: tuple[int, int], turn: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and labels (H, W) in 0 .. classes - 1, VOID on edges; other classes for each index."""
    drawn = make_scene(index, size[::-1] if turn and index % 2 else size, things=3)
    classes_of = (np.arange(len(NAMES)) * 5 + index * 31) % classes
    labels = classes_of[drawn.labels].astype(np.uint8)
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    labels[edge] = VOID
    return drawn.image, labels


def save(path: Path, pixels: np.ndarray, colours: np.ndarray | None = None) -> None:
    """As JPEG or PNG by the name's ending; with ``colours`` (K, 3) as PNG with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    if colours is not None:
        picture.putpalette(np.pad(colours, ((0, 256 - len(colours)), (0, 0))).astype(np.uint8).tobytes())
    picture.save(path, **({"quality": 90} if path.suffix == ".jpg" else {}))


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def coco_image(image: np.ndarray, index: int) -> np.ndarray:
    """Some of COCO's photographs are grey JPEGs of one channel: here every fourth."""
    return np.asarray(Image.fromarray(image).convert("L")) if index % 4 == 3 else image


def stuff_ids() -> np.ndarray:
    """COCO-Stuff's pixel value in stuffthingmaps (category id - 1) of each of the 171 classes."""
    return np.array([k - 1 for k in range(1, 183) if k not in COCO_UNUSED], np.uint8)


def _coco_stuff(folder: Path, count: int, size: tuple[int, int]) -> None:
    values = np.append(stuff_ids(), np.uint8(VOID))
    for index in range(count + 1):
        split = "val2017" if index < count else "train2017"
        image, labels = scene(index, 171, size)
        name = f"{139 + 37 * index:012d}"
        save(folder / f"images/{split}/{name}.jpg", coco_image(image, index))
        labels_folder = folder / "annotations" / split
        save(labels_folder / f"{name}_labelTrainIds.png", labels)
        save(labels_folder / f"{name}.png", values[np.minimum(labels, 171)])


def _pascal_context(folder: Path, count: int, size: tuple[int, int]) -> None:
    names = [f"2008_{2 + 5 * index:06d}" for index in range(count + 1)]
    for index, name in enumerate(names):
        image, labels = scene(index, 59, size)
        save(folder / f"JPEGImages/{name}.jpg", image)
        # 0 is whatever is none of the 59; there is no other void
        save(folder / f"SegmentationClassContext/{name}.png", np.where(labels == VOID, 0, labels + 1))
    write_lines(folder / "ImageSets/SegmentationContext/val.txt", names[:count])
    write_lines(folder / "ImageSets/SegmentationContext/train.txt", names[count:])


def _cityscapes(folder: Path, count: int, size: tuple[int, int]) -> None:
    for index in range(count + 2):
        split = "val" if index < count else "train" if index == count else "test"
        city = {"val": CITIES[index % 3], "train": "aachen", "test": "berlin"}[split]
        name = f"{city}_{index:06d}_{19 + 294 * index:06d}"
        image, labels = scene(index, 19, size, turn=False)
        ids = np.zeros(labels.shape, np.uint8)  # 0: unlabelled
        if split == "test":  # published without labels: files of void alone
            labels[:] = VOID
        for train_id in set(np.unique(labels).tolist()) - {VOID}:
            ids[labels == train_id] = trainId2label[train_id].id
        ids[-4:], labels[-4:] = 1, VOID  # the ego vehicle
        save(folder / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", image)
        stem = folder / f"gtFine/{split}/{city}/{name}_gtFine"
        save(stem.with_name(stem.name + "_labelTrainIds.png"), labels)
        save(stem.with_name(stem.name + "_labelIds.png"), ids)


def _voc(folder: Path, count: int, size: tuple[int, int]) -> None:
    names = [f"2007_{33 + 9 * index:06d}" for index in range(count + 1)]
    for index, name in enumerate(names):
        image, labels = scene(index, 21, size)
        save(folder / f"JPEGImages/{name}.jpg", image)
        save(folder / f"SegmentationClass/{name}.png", labels, palette(21))
    write_lines(folder / "ImageSets/Segmentation/val.txt", names[:count])
    write_lines(folder / "ImageSets/Segmentation/train.txt", names[count:])


def _ade(folder: Path, count: int, size: tuple[int, int]) -> None:
    for index in range(count + 1):
        split, short = ("validation", "val") if index < count else ("training", "train")
        image, labels = scene(index, 150, size)
        name = f"ADE_{short}_{index % count + 1:08d}"
        save(folder / f"images/{split}/{name}.jpg", image)
        # 0 is "other", what belongs to none of the 150
        save(folder / f"annotations/{split}/{name}.png", np.where(labels == VOID, 0, labels + 1))


def _coco_object(folder: Path, count: int, size: tuple[int, int]) -> None:
    for index in range(count + 1):
        split = "val2017" if index < count else "train2017"
        image, labels = scene(index, 81, size)
        name = f"{139 + 37 * index:012d}"
        save(folder / f"images/{split}/{name}.jpg", coco_image(image, index))
        labels[labels == VOID] = 0
        save(folder / f"annotations/{split}/{name}_instanceTrainIds.png", labels)


def write_instances(folder: Path, path: Path) -> dict[int, dict[str, int]]:
    """COCO's instances JSON at ``path`` for the val images of a coco_object tree; {category id: …} of the 80.

    Each class of a label file becomes one RLE; ids are COCO's own, with gaps.
    """
    names = load_vocabulary("coco_object").names[1:]
    ids = [k for k in range(1, 91) if k not in COCO_UNUSED]
    images, annotations = [], []
    for label_file in sorted((folder / "annotations/val2017").glob("*_instanceTrainIds.png")):
        labels = np.asarray(Image.open(label_file))
        stem = label_file.name.split("_")[0]
        height, width = labels.shape
        images.append({"id": int(stem), "file_name": f"{stem}.jpg", "height": height, "width": width})
        for value in set(np.unique(labels).tolist()) - {0}:
            coded = rle.encode(np.asfortranarray(labels == value, np.uint8))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": int(stem),
                    "category_id": ids[value - 1],
                    "segmentation": {"size": coded["size"], "counts": coded["counts"].decode()},
                    "area": int(rle.area(coded)),
                    "bbox": rle.toBbox(coded).tolist(),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": k, "name": name} for k, name in zip(ids, names, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return {category["id"]: category for category in categories}


def write_context_sources(folder: Path, sources: Path, ids: list[int]) -> None:
    """What PASCAL Context published, made from a tree's val labels, and VOC's own list of images.

    In ``sources``: trainval/*.mat and labels.txt, trainval_merged.json. ``ids``: of the 59 classes among
    the 459; where a tree has 0 there is the label 1, which is none of the 59, or nothing.
    """
    names = dict(zip(ids, load_vocabulary("pascal_context59").names, strict=True))
    label_names = {k: names.get(k, f"thing {k}") for k in range(1, 460)}
    label_names |= {397: "table", 308: "pottedplant", 427: "tvmonitor"}
    write_lines(sources / "labels.txt", [f"{k}: {name}" for k, name in label_names.items()])
    stems = (folder / "ImageSets/SegmentationContext/val.txt").read_text().split()
    train = (folder / "ImageSets/SegmentationContext/train.txt").read_text().split()
    write_lines(folder / "ImageSets/Main/val.txt", stems)
    (sources / "trainval").mkdir(parents=True)
    images, regions = [], []
    for number, stem in enumerate([*stems, *train], 1):
        labels = np.asarray(Image.open(folder / f"SegmentationClassContext/{stem}.png"))
        full = np.array([1, *ids], np.uint16)[labels]
        savemat(sources / f"trainval/{stem}.mat", {"LabelMap": full})
        size = dict(zip(("height", "width"), labels.shape))
        phase = "val" if stem in stems else "train"
        images.append({"image_id": number, "file_name": f"{stem}.jpg", "phase": phase, **size})
        for value in np.unique(full[labels > 0]).tolist():
            coded = rle.encode(np.asfortranarray(full == value, np.uint8))
            coded["counts"] = coded["counts"].decode()
            regions.append({"image_id": number, "category_id": value, "segmentation": coded})
    categories = [{"category_id": k, "name": name} for k, name in label_names.items()]
    content = {"images": images, "annos_segmentation": regions, "categories": categories}
    (sources / "trainval_merged.json").write_text(json.dumps(content))


def write_photos(folder: Path, names: Sequence[str], count: int = 3) -> None:
    """A set of photographs as ../shared/photos has them: images, masks, classes.txt, val.txt, train.txt."""
    stems = [f"photo_{index}" for index in range(count + 1)]
    for index, stem in enumerate(stems):
        image, labels = scene(index, len(names), (96, 128))
        save(folder / f"images/{stem}.jpg", image)
        save(folder / f"masks/{stem}.png", labels)
    write_lines(folder / "classes.txt", list(names))
    write_lines(folder / "val.txt", stems[:count])
    write_lines(folder / "train.txt", stems[count:])
