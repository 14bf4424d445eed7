"""Predictions and labels on a device: nothing reaches NumPy that was not moved to the CPU first."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import METRICS, MODELS
from mmseg.structures import SegDataSample

import ovseg
from ovseg.errors import DataError
from ovseg.mmseg.metrics import ExactIoUMetric
from ovseg.mmseg.outputs import PaintHook, to_array

spec = importlib.util.spec_from_file_location("foreign", Path(__file__).parents[1] / "foreign.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
foreign = module.foreign

TRUTH = torch.tensor([[[0, 1, 1], [2, 255, 0]]])
LABELS = torch.tensor([[[0, 1, 2], [2, 0, 255]]])


def sample(labels=LABELS, truth=TRUTH, **meta) -> dict:
    return {"pred_sem_seg": {"data": labels}, "gt_sem_seg": {"data": truth}, "img_path": "a.jpg", **meta}


def score(metric, *samples):
    metric.dataset_meta = {"classes": ("a", "b", "c")}
    metric.process({}, samples)
    metric.compute_metrics(metric.results)
    return metric.per_class


def test_the_stand_in_refuses_numpy_as_a_gpu_does():
    tensor = foreign(torch.ones(2))
    for call in (lambda: np.asarray(tensor), lambda: (tensor + 1).numpy(), lambda: np.asarray(tensor[0])):
        with pytest.raises(TypeError, match="Use Tensor.cpu"):
            call()
    assert np.asarray((tensor + 1).cpu()).tolist() == [2, 2]


def test_a_score_on_a_device_is_that_on_the_cpu(tmp_path):
    wanted = score(ExactIoUMetric(), sample())
    metric = ExactIoUMetric(output_dir=str(tmp_path))
    assert score(metric, sample(foreign(LABELS), foreign(TRUTH))) == wanted
    assert wanted["IoU"] == [50, 50, 50] and [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_wrong_label_on_a_device_is_one_line():
    metric = ExactIoUMetric()
    with pytest.raises(DataError, match="expected labels below 3 or 255, a.png holds 7"):
        score(metric, sample(foreign(LABELS), foreign(torch.full_like(TRUTH, 7)), seg_map_path="a.png"))


def test_cityscapes_files_from_a_device(tmp_path):
    metric = METRICS.build(dict(type="CityscapesIoUMetric", output_dir=str(tmp_path), format_only=True))
    metric.dataset_meta = {"classes": ("a", "b", "c")}
    metric.process({}, [sample(foreign(LABELS))])
    assert ovseg.load_image(tmp_path / "a.png")[0, 0, 0] == 7


def test_painting_takes_labels_from_a_device(tmp_path):
    path = tmp_path / "a.png"
    ovseg.files.write.write_picture(path, np.zeros((2, 3, 3), np.uint8))

    class Runner:
        class test_dataloader:
            class dataset:
                metainfo = {"classes": ("a", "b", "c")}  # noqa: RUF012

    painted = SegDataSample(metainfo={"img_path": str(path)})
    painted.pred_sem_seg = PixelData(data=foreign(LABELS))
    PaintHook(str(tmp_path / "out")).after_test_iter(Runner, 0, None, [painted])
    assert ovseg.load_image(tmp_path / "out/a.png").shape == (2, 3, 3)


def test_the_segmentor_takes_images_of_a_device_and_its_predictions_are_scored(monkeypatch):
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    segmentor = MODELS.build(
        {
            "type": "OpenVocabularySegmentor",
            "backbone": "tiny",
            "vocabulary": ["sky", "tree", "road"],
            "templates": "plain",
            "data_preprocessor": {"type": "ClipPreProcessor", "mean": mean, "std": std},
        }
    )
    image = torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(0))
    (wanted,) = segmentor.predict([image])
    (found,) = segmentor.predict([foreign(image)])
    np.testing.assert_array_equal(to_array(found.pred_sem_seg.data), to_array(wanted.pred_sem_seg.data))
    truth = foreign(torch.zeros(1, 64, 96, dtype=torch.long))
    scores = score(ExactIoUMetric(), sample(found.pred_sem_seg.data, truth))
    assert scores["pixels"][0] == 64 * 96
