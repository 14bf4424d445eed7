"""Every format read back: the same masks, names, sizes; hostile files are one line."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovseg.annotation.convert import convert, distinct
from ovseg.annotation.formats import WRITERS, guess_format, read_annotations
from ovseg.annotation.records import Record
from ovseg.errors import DataError, OvsegError, UsageError
from ovseg.options import FORMATS

NAMES = ("person", "road", "car", "sky")
INSTANCES = ("coco", "coco-panoptic", "yolo", "labelme", "label-studio", "cvat", "voc")


def unions(record):
    out = {}
    for one in record.regions:
        out[one.label] = out.get(one.label, np.zeros(record.size, bool)) | one.mask.array()
    return out


def test_every_format_has_a_writer_and_a_reader():
    assert tuple(WRITERS) == FORMATS


@pytest.mark.parametrize("name", INSTANCES)
def test_instances_come_back(written, images, name):
    folder = written(name)
    assert guess_format(folder) == name
    found = read_annotations(folder, images=images[0])
    assert found.names == NAMES and found.format == name
    records = list(found.records())
    assert len(records) == 3
    compared = 0
    for record, wanted in zip(
        sorted(records, key=lambda one: one.stem), sorted(images[1], key=lambda one: one.stem), strict=True
    ):
        assert (record.stem, record.size) == (wanted.stem, wanted.size)
        assert record.name == wanted.name and record.image == os.path.abspath(wanted.image)
        for one, other in zip(
            sorted(record.regions, key=lambda r: -r.mask.area),
            sorted(wanted.regions, key=lambda r: -r.mask.area),
            strict=True,
        ):
            assert one.label == other.label
            if name == "yolo":  # a line joins the two parts of the car
                a, b = one.mask.array(), other.mask.array()
                assert (a & b).sum() / (a | b).sum() > 0.9
            else:
                assert one.mask == other.mask
            if name in ("coco", "coco-panoptic", "cvat", "label-studio", "labelme"):
                assert one.score == other.score
            if name in ("coco", "coco-panoptic", "cvat"):
                assert (one.prompt, one.method) == (other.prompt, other.method)
            compared += 1
    assert compared == 6


@pytest.mark.parametrize("name", ["mmseg", "cityscapes"])
def test_label_maps_come_back(written, images, hard, name):
    found = read_annotations(written(name), name, images=images[0])
    for record, wanted in zip(found.records(), sorted(hard, key=lambda one: one.stem), strict=True):
        mine, theirs = unions(record), unions(wanted)
        assert set(mine) == set(theirs) <= set(found.names)
        assert all((mine[label] == theirs[label]).all() for label in mine)
        rest = ~np.any([np.zeros(record.size, bool), *theirs.values()], axis=0)
        assert (record.void is None and not rest.any()) or (record.void.array() == rest).all()


@pytest.mark.parametrize("name", ["coco", "labelme"])
def test_polygons_come_back_by_their_own_reader(written, images, name):
    found = read_annotations(written(name, shape="polygon"), images=images[0])
    compared = 0
    for record in found.records():
        wanted = next(one for one in images[1] if one.stem == record.stem)
        for one, other in zip(record.regions, wanted.regions, strict=True):
            a, b = one.mask.array(), other.mask.array()
            assert (a & b).sum() / (a | b).sum() >= (1 if name == "coco" else 0.98)
            compared += 1
    assert compared >= 3


@pytest.mark.parametrize("other", FORMATS)
def test_coco_converts_to_every_format_and_back(written, images, tmp_path, other):
    start = read_annotations(written("coco"), images=images[0])
    assert convert(start, tmp_path / "there", other) == 3
    back = read_annotations(tmp_path / "there" / other, other, images=images[0])
    seen = 0
    for record, wanted in zip(back.records(), start.records(), strict=True):
        assert record.stem == wanted.stem
        mine, theirs = unions(record), unions(wanted)
        assert set(mine) == set(theirs)
        for label in mine:
            bound = 0.9 if other == "yolo" else 1
            assert (mine[label] & theirs[label]).sum() / (mine[label] | theirs[label]).sum() >= bound
            seen += 1
    assert seen == 5


def test_crowds_are_void_and_uncompressed_run_lengths_are_read(tmp_path):
    mask = np.zeros((4, 5), np.uint8)
    mask[1:3, 1:4] = 1
    runs = [5, 2, 2, 2, 2, 2, 5]
    assert (rle.decode(rle.frPyObjects({"size": [4, 5], "counts": runs}, 4, 5)) == mask).all()
    content = {
        "categories": [{"id": 7, "name": "cat"}],
        "images": [{"id": 3, "file_name": "a.jpg", "height": 4, "width": 5}],
        "annotations": [
            {
                "id": 1,
                "image_id": 3,
                "category_id": 7,
                "iscrowd": 1,
                "segmentation": {"size": [4, 5], "counts": runs},
            },
            {
                "id": 2,
                "image_id": 3,
                "category_id": 7,
                "iscrowd": 0,
                "segmentation": [[0, 0, 2, 0, 2, 1, 0, 1]],
            },
        ],
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    (record,) = read_annotations(path).records()
    assert (record.void.array() == mask).all()
    assert [one.mask.array().sum() for one in record.regions] == [2]


def test_names_from_foreign_files_stay_below_the_folder(tmp_path):
    names = [
        "../../etc/passwd",
        "/abs/a.png",
        "a.png",
        "a.jpg",
        "..",
        "sub\\b.png",
        "x" * 400 + ".png",
        "a\0b.png",
    ]
    content = {
        "categories": [{"id": 1, "name": "cat"}],
        "images": [{"id": k, "file_name": name, "height": 4, "width": 5} for k, name in enumerate(names)],
        "annotations": [],
    }
    path = tmp_path / "in" / "x.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    found = read_annotations(path)
    assert convert(found, tmp_path / "in" / "out", ("voc", "labelme")) == len(names)
    written = [one for one in tmp_path.rglob("*.png")]
    assert len(written) == 2 * len(names)
    assert all(str(one).startswith(str(tmp_path / "in" / "out")) for one in written)
    assert len({one.stem for one in distinct(found.records())}) == len(names)


def test_damaged_files_are_one_line(written, images, tmp_path):
    """Letters of every text file exchanged at random: read, or refused in one line; never a traceback."""
    rng = np.random.default_rng(9)
    refused = total = 0
    for name in INSTANCES:
        folder = written(name)
        files = [
            one
            for one in folder.rglob("*")
            if one.suffix in (".json", ".txt", ".xml", ".yaml") and one.stat().st_size
        ]
        for _ in range(12):
            file = files[rng.integers(len(files))]
            good = file.read_bytes()
            bad = bytearray(good)
            for place in rng.integers(0, len(bad), 6):
                bad[place] = rng.integers(32, 127)
            file.write_bytes(bytes(bad[: rng.integers(1, len(bad))]) if rng.random() < 0.3 else bytes(bad))
            total += 1
            try:
                list(read_annotations(folder, name, images=images[0]).records())
            except OvsegError as error:
                assert "\n" not in str(error)
                refused += 1
            file.write_bytes(good)
    assert total == 12 * len(INSTANCES) and refused > total / 4


@pytest.mark.parametrize(
    "segmentation",
    [
        [[0, 0, "x", 0]],
        [[float("1e400"), 0, 1, 1]],
        [[0, 0, 1]],
        {"size": [4, 5], "counts": [1, 2]},
        {"size": [4, 5], "counts": [-1, 21]},
        {"size": [9, 9], "counts": "4"},
        {"size": [4, 5], "counts": "\x7f\x7f"},
        5,
    ],
)
def test_segmentations_that_would_crash_pycocotools_are_refused(tmp_path, segmentation):
    content = {
        "categories": [{"id": 1, "name": "cat"}],
        "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 5}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}],
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=re.escape(str(path))):
        list(read_annotations(path).records())


def test_a_format_that_cannot_be_told_is_asked_for(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot tell the format"):
        read_annotations(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        read_annotations(tmp_path / "none")
    with pytest.raises(UsageError, match="unknown format"):
        read_annotations(tmp_path, "pascal")
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(UsageError, match="is no file or folder"):
        read_annotations(tmp_path / "pipe.json")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "tasks.json")
    with pytest.raises(DataError, match="is no file"):
        read_annotations(tmp_path / "folder")


def test_formats_that_cannot_hold_the_classes_say_so_at_once(written):
    with pytest.raises(UsageError, match="at most 254 classes for voc, got 2000"):
        written("voc", [], tuple(f"class {k}" for k in range(2000)))
    with pytest.raises(UsageError, match="Cityscapes' classes"):
        written("cityscapes", [], ("cow",))
    with pytest.raises(UsageError, match="names without ':'"):
        written("voc", [], ("a:b",))
    with pytest.raises(UsageError, match="without '#' in front"):
        written("voc", [], ("# a",))  # a comment to whoever reads labelmap.txt


@pytest.mark.parametrize("name", [one for one in FORMATS if one not in ("voc", "cityscapes")])
def test_two_thousand_classes_with_any_names(written, images, name):
    odd = ('a"b', "a,b", "a/b", "<&>", "日本語", "tab\tin", "x:y", "'", "#", "new\nline")
    names = (*odd, *(f"class {k}" for k in range(1990)))
    records = [Record(one.name, one.size, tuple(_renamed(one, names)), image=one.image) for one in images[1]]
    found = read_annotations(written(name, records, names), name, images=images[0])
    kept = set(names) if name != "labelme" else {" ".join(one.split()) for one in names} | set(names)
    assert set(found.names) <= kept and len(found.names) >= 2000
    labels = {one.label for record in found.records() for one in record.regions}
    assert labels == {one.label for record in records for one in record.regions}


def _renamed(record, names):
    from dataclasses import replace

    return [replace(one, label=names[number]) for number, one in enumerate(record.regions)]


def test_labels_of_sixteen_bits(written, images):
    names = tuple(f"class {k}" for k in range(300))
    records = [
        Record(one.name, one.size, tuple(_renamed(one, names[290:])), image=one.image) for one in images[1]
    ]
    folder = written("mmseg", records, names)
    with Image.open(folder / "labels/sub/full.png") as image:
        assert (np.asarray(image) == 290).all()
