"""What was written, read by the tools that it is for."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import supervision
import yaml
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ovseg.annotation.formats.voc import voc_colours
from ovseg.annotation.records import Record, Region
from ovseg.results.coco import Mask

NAMES = ("person", "road", "car", "sky")


def pixels(record):
    """{(label, number): mask} of a record."""
    return [(one.label, one.mask.array()) for one in record.regions]


def pixel_values(path):
    with Image.open(path) as image:
        return np.asarray(image)


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


# -------------------------------------------------------------------------------------------- pycocotools


def evaluated(path, results):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        scores = COCOeval(truth, truth.loadRes(results), "segm")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    return truth, scores.stats


@pytest.mark.parametrize("shape", ["mask", "polygon"])
def test_pycocotools_scores_1_against_itself(written, shape):
    """With a hole, several parts, one pixel, pixels that touch at corners, an empty and a full image."""
    path = written("coco", shape=shape) / "instances.json"
    content = json.loads(path.read_text())
    truth, stats = evaluated(path, [{"score": 0.5, **one} for one in content["annotations"]])
    assert stats[0] == 1 and stats[8] == 1
    assert len(content["images"]) == 3 and len(content["annotations"]) == 6
    assert min(one["id"] for one in content["annotations"]) == 1
    assert {one["iscrowd"] for one in content["annotations"]} == {0}
    assert {name["name"] for name in truth.cats.values()} == set(NAMES)


@pytest.mark.parametrize("shape", ["mask", "polygon"])
def test_pycocotools_reads_every_pixel(written, hard, shape):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(written("coco", shape=shape) / "instances.json"))
    seen = 0
    for image in truth.imgs.values():
        record = next(one for one in hard if one.name == image["file_name"])
        assert (image["height"], image["width"]) == record.size
        found = truth.loadAnns(truth.getAnnIds(image["id"]))
        for one, (label, mask) in zip(found, pixels(record), strict=True):
            assert truth.cats[one["category_id"]]["name"] == label
            assert (truth.annToMask(one).astype(bool) == mask).all() and one["area"] == mask.sum()
            x, y, width, height = one["bbox"]
            assert mask[y : y + height, x : x + width].sum() == mask.sum()
            assert one["score"] == one["attributes"]["score"] or record.name == "sub/full.png"
            seen += 1
    assert seen == 6


def test_supervision_reads_coco(written, images):
    folder = written("coco")
    with contextlib.redirect_stdout(io.StringIO()):
        found = supervision.DetectionDataset.from_coco(
            str(images[0]), str(folder / "instances.json"), force_masks=True
        )
    assert found.classes == list(NAMES)
    compared = 0
    for path, _, detections in found:
        record = next(one for one in images[1] if one.image == str(path))
        for number, (label, mask) in enumerate(pixels(record)):
            assert NAMES[detections.class_id[number]] == label
            assert (detections.mask[number] == mask).all()
            compared += 1
    assert compared == 6


# ------------------------------------------------------------------------------------------------ panoptic


def test_panoptic_png_and_json_hold_the_same_segments(written, hard):
    folder = written("coco-panoptic")
    content = json.loads((folder / "panoptic.json").read_text())
    categories = {one["id"]: one for one in content["categories"]}
    assert all(one["isthing"] == 1 and len(one["color"]) == 3 for one in categories.values())
    images = {one["id"]: one for one in content["images"]}
    assert len(content["annotations"]) == 3
    for one in content["annotations"]:
        record = next(r for r in hard if r.name == images[one["image_id"]]["file_name"])
        rgb = pixel_values(folder / "panoptic" / one["file_name"]).astype(int)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        assert ids.shape == record.size
        assert set(np.unique(ids)) - {0} == {segment["id"] for segment in one["segments_info"]}
        for segment, (label, mask) in zip(one["segments_info"], pixels(record), strict=True):
            assert ((ids == segment["id"]) == mask).all() and segment["area"] == mask.sum()
            assert categories[segment["category_id"]]["name"] == label


def test_panoptic_of_many_segments_uses_all_colours(written):
    size = (20, 30)
    regions = []
    for place in range(600):
        mask = np.zeros(size, bool)
        mask.flat[place] = True
        regions.append(Region("car", Mask.of(mask)))
    folder = written("coco-panoptic", [Record("a.png", size, tuple(regions))])
    rgb = pixel_values(folder / "panoptic/a.png").astype(int)
    assert sorted((rgb @ [1, 256, 65536]).ravel()) == list(range(1, 601))


# ------------------------------------------------------------------------------------ Ultralytics' own rules


def test_yolo_rows_are_what_ultralytics_takes(written, hard):
    """A row: a class and at least three points in 0..1; never five numbers, which would be a box."""
    folder = written("yolo")
    names = yaml.safe_load((folder / "data.yaml").read_text())["names"]
    assert names == dict(enumerate(NAMES))
    for record in hard:
        rows = (folder / "labels" / f"{record.stem}.txt").read_text().splitlines()
        assert len(rows) == len(record.regions)
        for row in rows:
            number, *sides = row.split()
            assert 0 <= int(number) < 4 and len(sides) % 2 == 0 and len(sides) >= 6
            assert all(0 <= float(side) <= 1 for side in sides)
        link = folder / "images" / f"{record.stem}.png"
        assert link.is_symlink() and pixel_values(link).shape[:2] == record.size


def test_ultralytics_way_of_filling_gives_the_masks_back(written, hard):
    """cv2.fillPoly of points times size, cut to integers, as its polygon2mask does."""
    import cv2

    folder = written("yolo")
    scores = {}
    for record in hard:
        height, width = record.size
        rows = (folder / "labels" / f"{record.stem}.txt").read_text().splitlines()
        for row, (label, mask) in zip(rows, pixels(record), strict=True):
            points = (np.array(row.split()[1:], float).reshape(-1, 2) * [width, height]).astype(np.int32)
            filled = np.zeros(record.size, np.uint8)
            cv2.fillPoly(filled, [points], (1,))
            scores[label, mask.sum()] = iou(filled > 0, mask)
    assert len(scores) == 6 and min(scores.values()) > 0.9  # two parts are joined by a line
    assert sum(score == 1 for score in scores.values()) >= 4


def test_supervision_reads_yolo(written):
    folder = written("yolo")
    found = supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"), force_masks=True
    )
    assert found.classes == list(NAMES)


# ----------------------------------------------------------------------------------------------- LabelMe


@pytest.mark.parametrize("shape", ["mask", "polygon"])
def test_labelme_reads_its_files(written, images, shape):
    label_file = pytest.importorskip("labelme._label_file", reason="labelme is not installed")
    from labelme.utils import shape_to_mask

    folder = written("labelme", shape=shape)
    compared = 0
    for record in images[1]:
        data = label_file.read_label_file(str(folder / f"{record.stem}.json"))
        together: dict[int, np.ndarray] = {}
        for one in data.shapes:
            if shape == "mask":
                (x0, y0), (x1, y1) = one["points"]
                mask = np.zeros(record.size, bool)
                mask[y0 : y1 + 1, x0 : x1 + 1] = one["mask"]
            else:
                mask = shape_to_mask(record.size, one["points"], shape_type="polygon")
            before = together.setdefault(one["group_id"], np.zeros(record.size, bool))
            together[one["group_id"]] = before | mask
            label, score = (
                record.regions[one["group_id"] - 1].label,
                record.regions[one["group_id"] - 1].score,
            )
            assert one["label"] == label and one["description"].startswith(f"score {score}")
        for number, (_, mask) in enumerate(pixels(record), 1):
            assert iou(together[number], mask) >= (1 if shape == "mask" else 0.98)
            compared += 1
    assert compared == 6


# ------------------------------------------------------------------------------------ VOC, mmseg, Cityscapes


def test_voc_index_files_have_vocs_palette(written, hard):
    folder = written("voc")
    for record in hard:
        with Image.open(folder / "SegmentationClass" / f"{record.stem}.png") as image:
            assert image.mode == "P" and image.getpalette()[:12] == [
                0,
                0,
                0,
                128,
                0,
                0,
                0,
                128,
                0,
                128,
                128,
                0,
            ]
            labels = np.asarray(image)
        objects = pixel_values(folder / "SegmentationObject" / f"{record.stem}.png")
        for number, (label, mask) in enumerate(pixels(record), 1):
            assert (labels[mask] == NAMES.index(label) + 1).all() and ((objects == number) == mask).all()
        assert ((labels > 0) == (objects > 0)).all()
    lines = (folder / "labelmap.txt").read_text().splitlines()
    assert lines[1] == "background:0,0,0::" and lines[2] == "person:128,0,0::" and len(lines) == 6
    listed = (folder / "ImageSets/Segmentation/default.txt").read_text().splitlines()
    assert listed == sorted(record.stem for record in hard)
    assert voc_colours()[8].tolist() == [64, 0, 0]


def test_voc_boxes_are_read_by_supervision(written, images):
    """VOC counts from 1 and both corners are inside: supervision takes 1 from each."""
    folder = written("voc")
    record = next(one for one in images[1] if len(one.regions) > 1)
    root = ElementTree.parse(folder / "Annotations" / f"{record.stem}.xml").getroot()
    boxes = [
        [int(one.find(f"bndbox/{key}").text) for key in ("xmin", "ymin", "xmax", "ymax")]
        for one in root.iter("object")
    ]
    for (x0, y0, x1, y1), (_, mask) in zip(boxes, pixels(record), strict=True):
        assert mask[y0 - 1 : y1, x0 - 1 : x1].sum() == mask.sum()
        assert mask[y0 - 1].any() and mask[y1 - 1].any() and mask[:, x0 - 1].any() and mask[:, x1 - 1].any()
    found = supervision.DetectionDataset.from_pascal_voc(
        str(folder / "JPEGImages"), str(folder / "Annotations")
    )
    assert len(found) == 1 and {"person", "car", "road", "sky"} <= set(found.classes)


def test_mmseg_reads_the_folder(written, hard):
    importlib.import_module("ovseg.mmseg")  # before mmseg: it stands in for mmcv's operators
    from mmseg.datasets import BaseSegDataset

    folder = written("mmseg", names=("background", *NAMES))
    settings: dict[str, object] = {}
    exec((folder / "dataset.py").read_text(), settings)
    dataset = BaseSegDataset(
        metainfo=settings["metainfo"],
        data_root=str(folder),
        data_prefix=settings["data_prefix"],
        img_suffix=".png",
        seg_map_suffix=".png",
        pipeline=[{"type": "LoadImageFromFile"}, {"type": "mmseg.LoadAnnotations"}],
        ignore_index=settings["ignore_index"],
    )
    assert len(dataset) == 3 and dataset.metainfo["classes"] == ("background", *NAMES)
    for index in range(3):
        found = dataset[index]
        record = next(one for one in hard if found["img_path"].endswith(f"/{one.stem}.png"))
        labels = found["gt_seg_map"]
        assert labels.shape == record.size == found["img"].shape[:2]
        for label, mask in pixels(record):
            assert (labels[mask] == NAMES.index(label) + 1).all()
        assert (labels == 0).sum() == labels.size - sum(mask.sum() for _, mask in pixels(record))


def test_mmseg_leaves_void_where_there_is_no_background_class(written, hard):
    folder = written("mmseg")
    labels = pixel_values(folder / "labels/sub/empty.png")
    assert (labels == 255).all()


def test_cityscapesscripts_scores_1(tmp_path, written, hard):
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as evaluation

    record = Record("frankfurt_000000_000294_leftImg8bit.png", hard[2].size, hard[2].regions)
    folder = written("cityscapes", [record])
    prediction = folder / "frankfurt_000000_000294.png"
    ids = {"person": 24, "road": 7, "car": 26, "sky": 23}
    truth = np.zeros(record.size, np.uint8)
    for label, mask in pixels(record):
        truth[mask] = ids[label]
    path = tmp_path / "frankfurt_000000_000294_gtFine_labelIds.png"
    Image.fromarray(truth).save(path)
    with Image.open(prediction) as image:
        assert image.mode == "L" and (np.asarray(image) == truth).all()
    args = evaluation.args
    args.evalInstLevelScore, args.JSONOutput, args.quiet = False, False, True
    with contextlib.redirect_stdout(io.StringIO()):
        found = evaluation.evaluateImgLists([str(prediction)], [str(path)], args)
    scores = {name: score for name, score in found["classScores"].items() if not np.isnan(score)}
    assert scores == {name: 1.0 for name in ids}


# --------------------------------------------------------------------------------- CVAT and Label Studio


def test_cvat_run_lengths_are_those_of_its_sdk(written, hard):
    if sys.version_info < (3, 11):
        pytest.skip("cvat-sdk has no release for Python 3.10")
    from cvat_sdk import masks

    root = ElementTree.parse(written("cvat") / "annotations.xml").getroot()
    assert [one.text for one in root.findall("meta/task/labels/label/name")] == list(NAMES)
    compared = 0
    for image in root.findall("image"):
        record = next(one for one in hard if one.name == image.attrib["name"])
        assert (int(image.attrib["height"]), int(image.attrib["width"])) == record.size
        for one, (label, mask) in zip(image.findall("mask"), pixels(record), strict=True):
            *runs, x0, y0, x1, y1 = masks.encode_mask(mask)
            assert [int(run) for run in one.attrib["rle"].split(",")] == runs
            left, top, width, height = (int(one.attrib[key]) for key in ("left", "top", "width", "height"))
            assert (x0, y0, x1, y1) == (left, top, left + width - 1, top + height - 1)
            assert one.attrib["label"] == label
            compared += 1
    assert compared == 6


def test_label_studio_tasks_belong_to_their_configuration(written, hard):
    folder = written("label-studio")
    config = ElementTree.parse(folder / "config.xml").getroot()
    (brush,) = config.iter("BrushLabels")
    (image,) = config.iter("Image")
    assert [one.attrib["value"] for one in brush] == list(NAMES) and image.attrib["value"] == "$image"
    tasks = json.loads((folder / "tasks.json").read_text())
    assert tasks[2]["data"]["image"].startswith("/data/local-files/?d=%C3%BCmlaut%2C%20%27a%27%20%22b%22")
    ids = set()
    for task, record in zip(tasks, sorted(hard, key=lambda one: one.stem), strict=True):
        (prediction,) = task["predictions"]
        assert len(prediction["result"]) == len(record.regions)
        for one, (label, _) in zip(prediction["result"], pixels(record), strict=True):
            assert one["from_name"] == brush.attrib["name"] and one["to_name"] == image.attrib["name"]
            assert (one["original_height"], one["original_width"]) == record.size
            assert one["value"]["brushlabels"] == [label] and one["type"] == "brushlabels"
            ids.add(one["id"])
    assert len(ids) == 6
