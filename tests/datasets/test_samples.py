"""Readers of pictures with masks: VOC's folders, photographs, COCO's instances."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.coco import read_coco
from ovseg.evaluation.data.samples import from_labels, read_photos, read_voc
from ovseg.evaluation.data.scenes import make_scene
from ovseg.metrics import VOID

NAMES = ["background", "cat", "dog"]


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    return [
        np.where(rng.random((20, 30)) < 0.1, VOID, rng.integers(0, 3, (20, 30))).astype(np.uint8)
        for _ in "ab"
    ]


def image(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def check(samples, labels):
    assert len(samples) == 2 and samples.names == ("cat", "dog")
    for _ in range(2):  # it can be read again
        seen = list(samples)
        assert [s.name for s in seen] == ["a", "b"]
        for sample, truth in zip(seen, labels, strict=True):
            assert sample.image.shape == (20, 30, 3) and sorted(sample.masks) == ["cat", "dog"]
            assert np.array_equal(sample.masks["cat"], truth == 1)
            assert np.array_equal(sample.valid, truth != VOID)


def test_voc_folder_with_palette_masks(tmp_path, labels):
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    for seed, stem in enumerate("ab"):
        image(seed).save(tmp_path / "JPEGImages" / f"{stem}.jpg")
        mask = Image.fromarray(labels[seed])
        mask.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
        mask.save(tmp_path / "SegmentationClass" / f"{stem}.png")
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("a\nb\n")
    check(read_voc(tmp_path, NAMES), labels)


def test_photographs(tmp_path, labels):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for seed, stem in enumerate("ab"):
        image(seed).save(tmp_path / "images" / f"{stem}.jpg")
        Image.fromarray(labels[seed]).save(tmp_path / "masks" / f"{stem}.png")
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    (tmp_path / "val.txt").write_text("a\nb\n")
    check(read_photos(tmp_path), labels)
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(DataError, match=r"expected a label file, .*b\.png does not exist"):
        list(read_photos(tmp_path))
    (tmp_path / "val.txt").write_text("")
    with pytest.raises(UsageError, match="got none"):
        read_photos(tmp_path)
    with pytest.raises(UsageError, match=r"train\.txt does not exist"):
        read_photos(tmp_path, "train")


def test_coco_instances_of_a_category_are_one_mask_and_crowds_do_not_count(tmp_path):
    image(0).save(tmp_path / "7.jpg")
    crowd = np.zeros((20, 30), np.uint8)
    crowd[:, 25:] = 1
    rle = coco_mask.encode(np.asfortranarray(crowd))
    boxes = [[2, 2, 6, 5], [12, 8, 4, 4]]
    squares = [[x, y, x + w, y, x + w, y + h, x, y + h] for x, y, w, h in boxes]
    annotations = [
        {
            "id": i + 1,
            "image_id": 7,
            "category_id": 18,
            "segmentation": [ring],
            "iscrowd": 0,
            "area": 1,
            "bbox": box,
        }
        for i, (ring, box) in enumerate(zip(squares, boxes))
    ]
    annotations.append(
        {
            "id": 9, "image_id": 7, "category_id": 17, "iscrowd": 1, "area": 1, "bbox": [25, 0, 5, 20],
            "segmentation": {"size": [20, 30], "counts": rle["counts"].decode()},
        }
    )  # fmt: skip
    content = {
        "images": [{"id": 7, "file_name": "7.jpg", "height": 20, "width": 30}],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": annotations,
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    samples = read_coco(tmp_path / "instances.json", tmp_path)
    (sample,) = list(samples)
    assert samples.names == ("cat", "dog") and list(sample.masks) == ["dog"]
    wanted = np.zeros((20, 30), bool)
    for x, y, w, h in boxes:
        wanted[y : y + h, x : x + w] = True
    assert np.array_equal(sample.masks["dog"], wanted)
    assert np.array_equal(sample.valid, crowd == 0)
    image(0).rotate(90, expand=True).save(tmp_path / "7.jpg")
    with pytest.raises(DataError, match=r"7\.jpg: expected \(20, 30\) pixels, as annotated, got \(30, 20\)"):
        list(samples)
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    (tmp_path / "rows.json").write_text('{"images": [1], "annotations": [], "categories": []}')
    for name, error, message in (
        ("other.json", DataError, "lacks images"),
        ("list.json", DataError, "lacks images"),
        ("bytes.json", DataError, "cannot be read"),
        ("rows.json", DataError, "cannot be read"),
        ("none.json", UsageError, "does not exist"),
    ):
        with pytest.raises(error, match=message):
            read_coco(tmp_path / name, tmp_path)


def test_masks_that_do_not_fit():
    picture = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(DataError, match="expected labels below 3 or 255, got 7"):
        from_labels("x", picture, np.full((4, 5), 7, np.uint8), NAMES)
    with pytest.raises(DataError, match="expected labels below 3 or 255, got 1027"):
        from_labels("x", picture, np.full((4, 5), 1027, np.uint16), NAMES)
    with pytest.raises(DataError, match="expected labels below 3 or 255, got -1"):
        from_labels("x", picture, np.full((4, 5), -1), NAMES)
    with pytest.raises(DataError, match=r"expected labels of \(4, 5\) pixels.*x has \(5, 4\); its sides"):
        from_labels("x", picture, np.zeros((5, 4), np.uint8), NAMES)


def test_more_than_255_classes_have_a_void_of_sixteen_bits():
    names = [f"n{k}" for k in range(300)]
    labels = np.array([[254, 255, 256, 65535]], np.uint16)
    sample = from_labels("x", np.zeros((1, 4, 3), np.uint8), labels, names)
    assert list(sample.masks) == ["n254", "n255", "n256"] and sample.valid.tolist() == [[True] * 3 + [False]]


def test_photographs_turned_by_exif_and_of_other_endings(tmp_path, labels):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    image(0).rotate(90, expand=True).save(tmp_path / "images" / "a.jpg", exif=exif)
    image(1).save(tmp_path / "images" / "b.PNG")
    for stem, truth in zip("ab", labels, strict=True):
        Image.fromarray(truth).save(tmp_path / "masks" / f"{stem}.png")
    (tmp_path / "classes.txt").write_text("\ufeff" + "\n".join(NAMES), encoding="utf-8")
    (tmp_path / "val.txt").write_text("a\nb\n")
    check(read_photos(tmp_path), labels)
    (tmp_path / "images" / "b.PNG").unlink()
    with pytest.raises(DataError, match="expected the picture of b"):
        list(read_photos(tmp_path))
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"expected a list as UTF-8 text, .*val\.txt"):
        read_photos(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        {"category_id": 99},
        {"segmentation": None},
        {"segmentation": []},
        {"segmentation": [["a", 1, 5, 1, 5, 5]]},
        {"segmentation": {"size": [3, 3], "counts": [9]}},
        {"segmentation": {"size": [3, 3], "counts": "9"}},
        {"segmentation": {}},
    ],
    ids=str,
)
def test_a_damaged_annotation_is_one_line(tmp_path, damage):
    image(0).save(tmp_path / "7.jpg")
    one = {"id": 1, "image_id": 7, "category_id": 17, "segmentation": [[1, 1, 5, 1, 5, 5]], **damage}
    content = {
        "images": [{"id": 7, "file_name": "7.jpg", "height": 20, "width": 30}],
        "categories": [{"id": 17, "name": "cat"}],
        "annotations": [one],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"7\.jpg: an annotation cannot be read"):
        list(read_coco(tmp_path / "instances.json", tmp_path))


@pytest.mark.parametrize(
    "wrong", [(-1,), (0.5,), (0, (0, 5)), (0, "ab"), (0, None), (None,), (0, (5, 5), True), (0, (5, 5), -1)]
)
def test_scenes_of_wrong_arguments_are_misuse(wrong):
    with pytest.raises(UsageError, match="expected (seed|size|things)"):
        make_scene(*wrong)
