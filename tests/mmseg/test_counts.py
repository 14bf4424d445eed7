"""The number of images that a score is over is the number that was scored, each once."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATA_SAMPLERS

from ovseg.errors import DataError, UsageError
from ovseg.mmseg.checks import check_dataset, check_metrics

spec = importlib.util.spec_from_file_location("labels", Path(__file__).with_name("test_labels.py"))
labels = importlib.util.module_from_spec(spec)
spec.loader.exec_module(labels)


@DATA_SAMPLERS.register_module(force=True)
class FirstTwo:
    """A sampler that leaves out the third image."""

    def __init__(self, dataset, seed=None):
        assert len(dataset) == 3

    def __iter__(self):
        return iter([0, 1])

    def __len__(self):
        return 2


@pytest.fixture
def config(tmp_path):
    for name in "abc":
        labels.save(tmp_path / f"images/{name}.png", labels.picture(0))
        labels.save(tmp_path / f"labels/{name}.png", np.zeros((16, 24), np.uint8))
    return labels.settings(tmp_path, ["sky", "tree"])


def images(config, tmp_path, **flags) -> tuple[int, int]:
    """How many images a record says were scored, and how many there are."""
    found = labels.run(config, tmp_path, **flags)
    written = json.loads(Path(found["file"]).read_text())["dataset"]
    return written["images"], written["images in the data set"]


@pytest.mark.parametrize("metric", ["ExactIoUMetric", "IoUMetric"])
@pytest.mark.parametrize("size", [1, 2])
def test_a_record_counts_what_the_metrics_saw(size, metric, config, tmp_path):
    config.test_evaluator = {"type": metric}
    config.test_dataloader.batch_size = size
    assert images(config, tmp_path) == (3, 3)
    config.test_dataloader.sampler = {"type": "FirstTwo"}
    assert images(config, tmp_path) == (2, 3)


def test_views_of_an_image_count_once_and_files_without_a_score_count_too(config, tmp_path):
    config.tta_model = {"type": "AveragedViews"}
    assert images(config, tmp_path, tta=True) == (3, 3)
    config.test_evaluator = {"type": "ExactIoUMetric", "format_only": True}
    assert images(config, tmp_path, out=str(tmp_path / "out")) == (3, 3)


@pytest.mark.parametrize("field, value", [("drop_last", True), ("num_batch_per_epoch", 1)])
def test_a_loader_that_omits_images_is_refused(field, value, config, tmp_path):
    config.test_dataloader.update({"batch_size": 2, field: value})
    with pytest.raises(
        UsageError, match=rf"expected no test_dataloader.{field}, got {value}: it omits images"
    ):
        labels.run(config, tmp_path)


@pytest.mark.parametrize("text", ["a\nb\na\n", "a.png\nb\na\n"])
def test_an_image_that_is_listed_twice_is_an_error(text, config, tmp_path):
    (tmp_path / "val.txt").write_text(text)
    config.test_dataloader.dataset.ann_file = "val.txt"
    with pytest.raises(
        DataError, match="expected each image once in .*val.txt, 1 come more often, first .*a.p"
    ):
        check_dataset(config)


def test_a_line_twice_in_a_list_of_mmsegs_own_data_sets_is_an_error(trees, tmp_path, root, monkeypatch):
    from ovseg.mmseg.evaluate import load_config

    monkeypatch.setenv("OVSEG_DATA", str(tmp_path))
    tree = trees.write_tree("voc21", tmp_path, 2)
    path = tree / "ImageSets/Segmentation/val.txt"
    path.write_text(path.read_text() * 2)
    config = load_config(root / "configs/paper/clip-surgery_vit-b16_voc21-512x512.py", backbone="tiny")
    with pytest.raises(DataError, match="expected each image once in .*val.txt, 2 come more often"):
        check_dataset(config)


def test_metrics_of_one_name_are_refused_before_the_run(config):
    config.test_evaluator = [{"type": "ExactIoUMetric"}, {"type": "IoUMetric", "iou_metrics": ["mDice"]}]
    with pytest.raises(UsageError, match=r"expected a prefix of its own for each metric of IoU"):
        check_metrics(config, 2)


@pytest.mark.parametrize("metric", ["ExactIoUMetric", "IoUMetric"])
def test_void_within_the_classes_is_refused_for_either_metric(metric, config):
    config.test_evaluator = {"type": metric, "ignore_index": 255}
    check_metrics(config, 255)
    with pytest.raises(UsageError, match="expected ignore_index outside the 300 classes, got 255"):
        check_metrics(config, 300)
