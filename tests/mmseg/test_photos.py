"""Photographs with masks as a data set, from their folder to a score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovseg
from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.convert import Converted, arrange_photos
from ovseg.metrics import SegmentationScore
from ovseg.mmseg.evaluate import Run, evaluate, load_config
from ovseg.words.vocabulary import as_vocabulary, load_vocabulary

PHOTOS = Path(__file__).parents[3] / "shared" / "photos"
COUNT = 6


def test_labels_follow_the_vocabulary_and_what_it_leaves_out_is_void(trees, tmp_path):
    names = ["sky", "horse", "tree", "cow "]
    trees.write_photos(tmp_path / "set", names)
    vocabulary = as_vocabulary("cow, tree, sky")
    done = arrange_photos(tmp_path / "set", vocabulary, tmp_path / "out")
    assert done == Converted(3, 0)
    expected = {0: 2, 1: 255, 2: 1, 3: 0, 255: 255}
    seen = set()
    for stem in ("photo_0", "photo_1", "photo_2"):
        before = np.asarray(Image.open(tmp_path / f"set/masks/{stem}.png"))
        after = np.asarray(Image.open(tmp_path / f"out/annotations/val/{stem}.png"))
        for value in np.unique(before).tolist():
            assert (after[before == value] == expected[value]).all()
            seen.add(value)
        copied = tmp_path / f"out/images/val/{stem}.jpg"
        assert copied.read_bytes() == (tmp_path / f"set/images/{stem}.jpg").read_bytes()
    assert seen == set(expected)
    assert len(list((tmp_path / "out").rglob("*.*"))) == 6  # the image of train.txt is not among them
    (tmp_path / "out/images/val/photo_0.jpg").write_bytes(b"mine")
    assert arrange_photos(tmp_path / "set", vocabulary, tmp_path / "out") == Converted(0, 3)
    assert (tmp_path / "out/images/val/photo_0.jpg").read_bytes() == b"mine"
    assert arrange_photos(tmp_path / "set", vocabulary, tmp_path / "out", "train") == Converted(1, 0)


def test_what_is_wrong_is_said_before_anything_is_written(trees, tmp_path):
    trees.write_photos(tmp_path / "set", ["sky", "tree"])

    def arrange(names="sky, tree", source="set", split="val"):
        return arrange_photos(tmp_path / source, as_vocabulary(names), tmp_path / "out", split)

    with pytest.raises(DataError, match="the vocabulary has 'unicorn', which is none of them"):
        arrange("sky, unicorn")
    with pytest.raises(UsageError, match="expected a list, .*nowhere.classes.txt does not exist"):
        arrange(source="nowhere")
    with pytest.raises(UsageError, match="expected a list, .*set.test.txt does not exist"):
        arrange(split="test")
    (tmp_path / "set/masks/photo_1.png").unlink()
    with pytest.raises(DataError, match="expected .*photo_1.png, which val.txt lists, it does not exist"):
        arrange()
    assert not (tmp_path / "out").exists()
    trees.write_photos(tmp_path / "set", ["sky", "tree", "cow"])
    (tmp_path / "set/classes.txt").write_text("sky\ntree\n")
    with pytest.raises(DataError, match="expected values below 2 or 255, .* holds 2"):
        arrange()


def test_the_real_photographs_score_as_ovseg_scores_them(root, model, tmp_path, monkeypatch):
    """Six of MSRC v2: the config's score is that of Model.segment on the same files, JPEG decoders aside."""
    if not PHOTOS.is_dir():
        pytest.skip("no photographs in ../shared/photos")
    file = root / "configs/_base_/datasets/photos_msrc_v2.txt"
    arranged = tmp_path / "photos/msrc_v2"
    arrange_photos(PHOTOS / "msrc_v2", str(file), arranged)
    monkeypatch.setenv("OVSEG_DATA", str(tmp_path))
    options = {"test_dataloader.dataset.indices": COUNT, "test_dataloader.num_workers": 0}
    options |= {"model.templates": "plain", "custom_hooks": [], "log_level": "ERROR"}
    config = load_config(root / "configs/photos/clip-surgery_tiny_msrc_v2-short160.py", options)
    found = evaluate(config, Run(work_dir=str(tmp_path / "work"), out=str(tmp_path / "out")))
    names = load_vocabulary(file).names
    score = SegmentationScore(len(names))
    agree = []
    written = sorted((tmp_path / "out").glob("*.png"))
    assert len(written) == found["dataset"]["images"] == COUNT
    for path in written:
        image = ovseg.load_image(arranged / f"images/val/{path.stem}.jpg")
        height, width = image.shape[:2]
        short = 160 / min(height, width)
        size = (round(height * short), round(width * short))
        labels = model.segment(image, list(names), size=size, templates="plain").array
        agree.append(np.mean(labels == np.asarray(Image.open(path))))
        score.update(labels, np.asarray(Image.open(arranged / f"annotations/val/{path.stem}.png")))
    assert min(agree) > 0.98
    assert found["mIoU"] == pytest.approx(100 * score.compute(), abs=0.5)
