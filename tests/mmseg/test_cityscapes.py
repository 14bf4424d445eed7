"""labelIds for cityscapesscripts: its score of the files is ours, and the folder is what the server takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cityscapesscripts.helpers.labels import labels as LABELS
from mmengine.structures import PixelData
from mmseg.registry import METRICS
from mmseg.structures import SegDataSample
from PIL import Image

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.cityscapes import to_train_ids
from ovseg.metrics import SegmentationScore
from ovseg.mmseg.metrics import score_files, to_label_ids
from ovseg.words.vocabulary import load_vocabulary


@pytest.fixture
def samples(trees, tmp_path):
    """Val images with predictions that are partly wrong, in classes that no label has, and partly void."""
    root = trees.write_tree("cityscapes", tmp_path)
    made = []
    for index, path in enumerate(sorted((root / "gtFine/val").rglob("*_labelTrainIds.png"))):
        truth = np.asarray(Image.open(path)).astype(int)
        rng = np.random.default_rng(index)
        predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 19, truth.shape))
        predicted[:3, :7] = 255
        image = Path(str(path).replace("gtFine", "leftImg8bit").replace("leftImg8bit_labelTrainIds", ""))
        image = image.with_name(path.name.replace("gtFine_labelTrainIds", "leftImg8bit"))
        sample = SegDataSample(metainfo={"img_path": str(image), "seg_map_path": str(path)})
        assert image.is_file()
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(truth)[None])
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(predicted)[None])
        made.append(sample.to_dict())
    assert len(made) == 4
    return made


def metric(folder, **options):
    made = METRICS.build(dict(type="CityscapesIoUMetric", output_dir=str(folder), **options))
    made.dataset_meta = {"classes": load_vocabulary("cityscapes").names}
    return made


def test_ids_are_those_of_cityscapesscripts():
    for label in LABELS:
        if 0 <= label.trainId < 255:
            assert to_label_ids(np.array([label.trainId])) == label.id
        if label.id >= 0:
            assert to_train_ids(np.array([label.id])) == label.trainId
    np.testing.assert_array_equal(to_label_ids(np.array([[255, 19, 65535]])), [[0, 0, 0]])
    with pytest.raises(DataError, match="expected labelIds 0 to 33, a.png holds 40"):
        to_train_ids(np.array([40]), "a.png")


def test_their_score_is_ours(samples, tmp_path):
    scored = metric(tmp_path / "out")
    for sample in samples:
        scored.process(None, [sample])
    found = scored.evaluate(4)
    ours = SegmentationScore(19)
    for sample in samples:
        pair = (sample[key]["data"][0].numpy() for key in ("pred_sem_seg", "gt_sem_seg"))
        ours.update(*pair)
    theirs = scored.cityscapes
    assert theirs["averageScoreClasses"] == pytest.approx(ours.compute(), abs=1e-6)
    assert found["cityscapesscripts_mIoU"] == pytest.approx(np.nanmean(scored.per_class["IoU"]), abs=1e-6)
    compared = 0
    for name, value in zip(load_vocabulary("cityscapes").names, scored.per_class["IoU"]):
        assert 100 * theirs["classScores"][name] == pytest.approx(value, abs=1e-6, nan_ok=True)
        compared += not np.isnan(value)
    assert compared == 19
    assert 20 < found["cityscapesscripts_mIoU"] < 60


def test_the_files_are_what_the_server_takes(samples, tmp_path):
    scored = metric(tmp_path / "out", format_only=True)
    test_split = [{k: v for k, v in s.items() if k not in ("gt_sem_seg", "seg_map_path")} for s in samples]
    scored.process(None, test_split)
    assert scored.evaluate(4) == {}
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == sorted(Path(s["img_path"]).name for s in samples)
    known = {label.id for label in LABELS if not label.ignoreInEval} | {0}
    for path in files:
        picture = Image.open(path)
        assert picture.mode == "L" and picture.size == (128, 64)
        assert set(np.unique(np.asarray(picture)).tolist()) <= known


def test_a_folder_is_needed_before_anything_runs():
    with pytest.raises(UsageError, match="needs a folder for its files: --out, or output_dir"):
        METRICS.build(dict(type="CityscapesIoUMetric"))


def test_missing_labels_and_other_sizes_are_one_line(samples, tmp_path, capsys):
    scored = metric(tmp_path / "out")
    scored.process(None, samples)
    truth = samples[0]["seg_map_path"].replace("TrainIds", "Ids")
    pair = (str(tmp_path / "out" / Path(samples[0]["img_path"]).name), truth)
    capsys.readouterr()
    assert 0 < score_files([pair])["averageScoreClasses"] < 1
    assert capsys.readouterr().out == ""  # its tables are not printed
    Image.open(pair[0]).resize((64, 32)).save(pair[0])
    with pytest.raises(DataError, match="^cityscapesscripts: .*Image widths of .* are not equal") as raised:
        score_files([pair])
    assert "\n" not in str(raised.value)
    shutil.move(truth, tmp_path / "elsewhere.png")
    with pytest.raises(DataError, match="expected labelIds for cityscapesscripts, .*_gtFine_labelIds.png"):
        scored.evaluate(4)
