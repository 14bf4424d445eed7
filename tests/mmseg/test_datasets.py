"""The eight data sets: class names in one place, the trees read as they are, images resized as CLIP wants."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.datasets import COCOStuffDataset, PascalVOCDataset
from mmseg.registry import DATASETS
from PIL import Image

import ovseg
from ovseg.errors import UsageError
from ovseg.files.sizes import resize_image
from ovseg.mmseg.datasets import VOCABULARIES
from ovseg.mmseg.transforms import ClipResize
from ovseg.words.vocabulary import list_vocabularies, load_vocabulary

CONFIGS = "configs/paper/clip-surgery_vit-b16_{}-{}.py"


def letters(name: str) -> str:
    """'floor-wood' and 'wood floor' alike, without the endings that only COCO-Stuff has."""
    return "".join(
        sorted(name.removesuffix("-other").removesuffix("-stuff").replace("-", "").replace(" ", ""))
    )


def test_vocabularies_and_metainfo_agree_in_number_and_order():
    assert set(VOCABULARIES.values()) <= set(list_vocabularies())
    counts = {}
    for dataset, vocabulary in VOCABULARIES.items():
        theirs, ours = DATASETS.get(dataset).METAINFO["classes"], load_vocabulary(vocabulary).names
        counts[vocabulary] = len(ours)
        assert len(theirs) == len(ours)
        assert len(DATASETS.get(dataset).METAINFO["palette"]) == len(ours)
        for one, other in zip(theirs, ours):
            if (one, other) != ("structural-other", "structure"):
                assert letters(one) == letters(other), (dataset, one, other)
    assert sorted(counts.values()) == [19, 20, 21, 59, 60, 81, 150, 171]


def test_the_two_data_sets_registered_here_agree_with_what_mmseg_knows():
    voc = [letters(name) for name in PascalVOCDataset.METAINFO["classes"][1:]]
    assert [letters(name) for name in load_vocabulary("voc20").names] == voc
    things = COCOStuffDataset.METAINFO["classes"][:80]
    assert load_vocabulary("coco_object").names == ("background", *things)


@pytest.mark.parametrize("dataset, vocabulary", VOCABULARIES.items())
def test_each_tree_is_read_whole(dataset, vocabulary, trees, tmp_path, monkeypatch, root):
    trees.write_tree(vocabulary, tmp_path / "data", 4)
    monkeypatch.setenv("OVSEG_DATA", str(tmp_path / "data"))
    size = "1024x2048" if vocabulary == "cityscapes" else "512x512"
    config = Config.fromfile(root / CONFIGS.format(vocabulary, size))
    init_default_scope("mmseg")
    data = DATASETS.build(config.test_dataloader.dataset)
    assert type(data).__name__ == dataset and len(data) == 4  # and none of the other split
    classes, seen = len(load_vocabulary(vocabulary)), set()
    for item in data:
        labels = item["data_samples"].gt_sem_seg.data.numpy()
        assert labels.shape[1:] == item["data_samples"].ori_shape  # scored at the label's own size
        assert item["inputs"].shape == (3, *config.test_pipeline[2].size)
        seen |= set(np.unique(labels).tolist())
    # two have a background for what others leave void
    assert (255 in seen) == (vocabulary not in ("pascal_context60", "coco_object"))
    assert seen - {255} <= set(range(classes)) and len(seen) > 5


def test_images_are_resized_as_the_core_does_and_labels_stay():
    scene = ovseg.make_scene(3, (90, 120))
    found = ClipResize(size=(64, 48)).transform({"img": scene.image, "gt_seg_map": scene.labels})
    np.testing.assert_array_equal(found["img"], resize_image(scene.image, (64, 48)))
    assert found["gt_seg_map"].shape == (90, 120)
    assert found["img_shape"] == (64, 48) and found["scale_factor"] == (48 / 120, 64 / 90)


def test_pillows_resize_is_that_of_clip_surgerys_demo():
    image = ovseg.make_scene(3, (90, 120)).image
    found = ClipResize(size=(64, 48), interpolation="pillow").transform({"img": image})
    wanted = np.asarray(Image.fromarray(image).resize((48, 64), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(found["img"], wanted)


@pytest.mark.parametrize(
    "shape, short, target",
    [((90, 120), 45, (45, 60)), ((120, 90), 45, (60, 45)), ((30, 300), 60, (20, 200)), ((1, 9), 3, (3, 27))],
    ids=["landscape", "portrait", "held by the long side", "one pixel high"],
)
def test_the_short_side_decides(shape, short, target):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    step = ClipResize(short_side=short, long_side=200, interpolation="bilinear")
    found = step.transform({"img": image})
    assert found["img"].shape[:2] == target
    np.testing.assert_array_equal(found["img"], cv2.resize(image, target[::-1]))


def test_labels_are_resized_where_they_are_scored_at_the_input():
    scene = ovseg.make_scene(3, (90, 120))
    results = {"img": scene.image, "ori_shape": (90, 120), "gt_seg_map": scene.labels}
    found = ClipResize(size=(45, 60), scored="input").transform({**results, "seg_fields": ["gt_seg_map"]})
    assert found["gt_seg_map"].shape == found["ori_shape"] == (45, 60)
    assert set(np.unique(found["gt_seg_map"])) <= set(np.unique(scene.labels))


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "size or short_side"),
        ({"size": 8, "short_side": 8}, "size or short_side"),
        ({"size": 0}, "expected size in 1"),
        ({"size": (8, 8, 8)}, r"expected size as an integer or \(height, width\)"),
        ({"size": True}, "expected size as an integer"),
        ({"size": (8.5, 8)}, "expected size as an integer"),
        ({"size": "a"}, "expected size as an integer"),
        ({"short_side": 0}, "expected short_side in 1"),
        ({"short_side": 33.5}, "expected short_side as an integer"),
        ({"short_side": 8, "long_side": "a"}, "expected long_side as an integer"),
        ({"size": 8, "interpolation": "area"}, "unknown interpolation 'area'"),
        ({"size": 8, "scored": "both"}, "unknown scored 'both'"),
    ],
)
def test_wrong_sizes_are_misuse(options, message):
    with pytest.raises(UsageError, match=message):
        ClipResize(**options)
