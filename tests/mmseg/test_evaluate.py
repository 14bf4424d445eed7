"""From a config to a score: equal to ovseg's own metric, the same however it is run, written down whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from PIL import Image

import ovseg.mmseg.evaluate
from ovseg.clip import embedded
from ovseg.clip.attention import METHODS, remove_method
from ovseg.files.paths import sha256_of
from ovseg.metrics import SegmentationScore, iou_per_class
from ovseg.mmseg.evaluate import Run, compare, evaluate, load_config
from ovseg.mmseg.metrics import ExactIoUMetric
from ovseg.mmseg.results import FILE
from ovseg.words.vocabulary import load_vocabulary

LEAVES = {
    "voc21": "configs/paper/clip-surgery_vit-b16_voc21-512x512.py",
    "ade20k": "configs/common/clip-surgery_vit-b16_ade20k-short336.py",
    "cityscapes": "configs/paper/clip-surgery_vit-b16_cityscapes-1024x2048.py",
}
SMALL = {
    "model.templates": "plain",
    "test_dataloader.num_workers": 0,
    "log_level": "ERROR",
    "custom_hooks": [],
}


@pytest.fixture(scope="module")
def data(trees, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in LEAVES:
        trees.write_tree(name, folder, 5)
    return folder


@pytest.fixture
def config(data, root, monkeypatch):
    """``config("voc21", **options)``: the leaf on the embedded model at a small size."""
    monkeypatch.setenv("OVSEG_DATA", str(data))

    def make(name="voc21", method=None, **options):
        found = load_config(root / LEAVES[name], {**SMALL, **options}, method, "tiny")
        resize = next(step for step in found.test_dataloader.dataset.pipeline if step.type == "ClipResize")
        resize.pop("short_side", None)
        resize.update(size=(64, 96), interpolation="opencv")  # as Model.segment does it
        if found.model.window is not None:
            found.model.update(window=32, stride=16)
        return found

    return make


@pytest.fixture
def run(tmp_path):
    return Run(work_dir=str(tmp_path / "work"))


# ---------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize("name", LEAVES)
def test_miou_is_that_of_ovseg_on_the_same_files(name, config, tmp_path, data):
    out = tmp_path / "png"
    found = evaluate(config(name), Run(work_dir=str(tmp_path / "work"), out=str(out)))
    written = sorted(out.rglob("*.png"))
    classes = len(load_vocabulary(name))
    score = SegmentationScore(classes)
    for file in written:
        labels = np.asarray(Image.open(file)).astype(int)
        pattern = "*/*/*/%s.png" if name == "voc21" else "**/validation/%s.png"
        stem = file.stem
        if name == "cityscapes":
            pattern, stem = "**/gtFine/val/**/%s_gtFine_labelTrainIds.png", stem.removesuffix("_leftImg8bit")
        (truth_file,) = (
            f for f in data.glob(pattern % stem) if "JPEG" not in str(f) and "Object" not in str(f)
        )
        truth = np.asarray(Image.open(truth_file)).astype(int)
        if name == "ade20k":  # both sides count from 1 and keep 0 for what is none of the classes
            truth, labels = np.where(truth == 0, 255, truth - 1), labels - 1
        score.update(labels, truth)
    assert len(written) == found["dataset"]["images"] == 5
    np.testing.assert_allclose(found["mIoU"], 100 * score.compute(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["summary"]["mIoU"], found["mIoU"], atol=0.006)
    each = [entry["IoU"] for entry in found["classes"]]
    wanted = [None if np.isnan(v) else v for v in (100 * iou_per_class(score.matrix)).tolist()]
    assert each == pytest.approx(wanted)


def test_counts_stay_exact_beyond_what_float32_holds():
    """17 million pixels and one more: float32 would lose the one."""
    metric = ExactIoUMetric()
    metric.dataset_meta = {"classes": ("a", "b")}
    label = np.array([[0, 1]], np.uint8)
    sample = {
        "pred_sem_seg": {"data": torch.from_numpy(label)},
        "gt_sem_seg": {"data": torch.from_numpy(label)},
    }
    Evaluator([metric])
    metric.process({}, [sample])
    (one,) = metric.results
    metric.compute_metrics([one, tuple(part * 2**24 for part in one)])
    assert metric.per_class["pixels"] == [2**24 + 1, 2**24 + 1]
    assert metric.per_class["IoU"] == [100, 100]


@pytest.mark.parametrize("name", ["voc21", "cityscapes"])  # whole images, and windows
def test_scores_are_the_same_for_batches_of_1_and_4(name, config, run):
    first = evaluate(config(name), run)
    assert sum(entry["predicted"] > 0 for entry in first["classes"]) > 3
    again = evaluate(config(name, **{"test_dataloader.batch_size": 4}), run)
    assert again["classes"] == first["classes"] and again["mIoU"] == first["mIoU"]


def test_scores_are_the_same_for_one_process_and_two(config, run, data, root, tmp_path):
    alone = evaluate(config(), run)
    step = "test_dataloader.dataset.pipeline.2"
    resize = [f"{step}.size=(64,96)", f"{step}.interpolation=opencv", "model.templates=plain"]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
        *(str(root / "tools" / "test.py"), str(root / LEAVES["voc21"]), "--launcher", "pytorch"),
        *("--backbone", "tiny", "--work-dir", str(tmp_path / "two")),
        *("--cfg-options", "test_dataloader.num_workers=0", "log_level=ERROR", *resize),
    ]
    environment = {**os.environ, "OVSEG_DATA": str(data), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = (tmp_path / "two").glob(f"*/{FILE}")  # written once
    two = json.loads(file.read_text())
    assert two["time"]["processes"] == 2 and two["dataset"]["images"] == 5
    assert two["classes"] == alone["classes"] and two["mIoU"] == alone["mIoU"]


def test_labels_may_be_scored_at_the_inputs_size(config, run, tmp_path):
    settings = config()
    settings.test_dataloader.dataset.pipeline[2].scored = "input"
    out = tmp_path / "png"
    evaluate(settings, Run(run.work_dir, out=str(out)))
    assert {np.asarray(Image.open(file)).shape for file in out.iterdir()} == {(64, 96)}


# --------------------------------------------------------------------------------------- results


def test_the_results_file_says_how_the_score_came_about(config, run, root):
    found = evaluate(config(method="sclip", **{"model.background_threshold": 0.2}), run)
    written = json.loads(Path(found["file"]).read_text())
    assert {**written, "file": found["file"]} == found
    assert written["weights"]["sha256"] == sha256_of(embedded.asset_path("tiny"))
    protocol = written["protocol"]
    assert protocol["name"] == "paper" and protocol["pipeline"][2]["size"] == [64, 96]
    wanted = {
        "method": "sclip",
        "backbone": "tiny",
        "vocabulary": "voc21",
        "background_threshold": 0.2,
    }
    assert wanted.items() <= protocol.items()
    assert written["config"]["file"].endswith("voc21-512x512.py") and "sclip" in written["config"]["text"]
    assert {"ovseg", "torch", "mmsegmentation", "python"} <= set(written["versions"])
    assert written["time"]["seconds"] > 0 and written["time"]["processes"] == 1
    assert [entry["name"] for entry in written["classes"]][:2] == ["background", "aeroplane"]
    assert written["dataset"]["images"] == 5


def test_views_are_averaged(config, tmp_path, data):
    """--tta: the mean of an image's and its mirror image's probabilities, here by two runs and by hand."""
    out = tmp_path / "png"
    found = evaluate(config(), Run(work_dir=str(tmp_path / "work"), out=str(out), tta=True))
    assert found["protocol"]["views averaged"] is True
    core, names = ovseg.load_model("tiny", cache=False), load_vocabulary("voc21")
    looked = 0
    for file in sorted((out).iterdir()):
        image = ovseg.load_image(next(data.rglob(f"VOC2012/JPEGImages/{file.stem}.jpg")))
        total = 0
        for turned in (image, image[:, ::-1].copy()):
            one = core.segment(turned, names, size=(64, 96), templates="plain", probabilities=True)
            total = total + (one.probabilities if turned is image else one.probabilities[:, :, ::-1])
        wanted = total.argmax(0)
        assert (np.asarray(Image.open(file)) == wanted).mean() > 0.99  # mmcv and Pillow decode JPEG alike
        looked += 1
    assert looked == 5


def test_painted_images_are_written(config, tmp_path):
    shown = tmp_path / "shown"
    evaluate(config(), Run(work_dir=str(tmp_path / "work"), show_dir=str(shown)))
    assert len(list(shown.rglob("*.png"))) == 5


@pytest.mark.filterwarnings("ignore:The show is True")
def test_painted_images_are_shown(config, run, monkeypatch):
    waited = []
    show = "mmseg.visualization.SegLocalVisualizer.show"
    monkeypatch.setattr(
        show, lambda self, image, win_name, wait_time: waited.append((image.shape, wait_time))
    )
    evaluate(config(), Run(work_dir=run.work_dir, show=True, wait_time=0.5))
    assert len(waited) == 5 and {wait for _, wait in waited} == {0.5}


def test_several_configs_and_methods_make_one_table(data, root, tmp_path, monkeypatch):
    """tests/mmseg/test_tools.py runs two methods in earnest."""

    def scored(config, run):
        name = {"vocabulary": config.model.vocabulary, "name": config.protocol}
        return {"mIoU": float(len(config.model.method)), "protocol": name, "folder": run.work_dir}

    monkeypatch.setenv("OVSEG_DATA", str(data))
    monkeypatch.setattr(ovseg.mmseg.evaluate, "evaluate", scored)
    paths = [root / LEAVES["voc21"], root / LEAVES["cityscapes"]]
    rows = {}
    for method, found in compare(paths, ["all"], backbone="tiny", run=Run(work_dir=str(tmp_path))):
        rows.setdefault(method, []).append(found)
    assert list(rows) == [name for name in METHODS if "_normalised" not in name] and len(rows) == 8
    assert rows["gem"][1]["folder"] == str(tmp_path / paths[1].stem / "gem")
    table = ovseg.mmseg.results.comparison(rows).splitlines()
    assert table[0] == "| mIoU | voc21, paper | cityscapes, paper |" and table[2] == "| clip | 4.0 | 4.0 |"


OWN = """
from ovseg.clip.attention import Term, method

@method("mine", blocks=1, residual=False, ffn=False, source="nobody")
def mine(x):
    return [Term(x.k, x.k, x.scale)]
"""


def test_a_method_of_ones_own_is_imported_by_the_config(data, root, tmp_path, monkeypatch):
    """``custom_imports`` names its file; --method, --methods and the config itself then know it."""
    (tmp_path / "own_method.py").write_text(OWN)
    leaf = tmp_path / "mine_voc21.py"
    leaf.write_text(
        f'_base_ = "{root / LEAVES["voc21"]}"\n'
        'custom_imports = dict(imports=["ovseg.mmseg", "own_method"], allow_failed_imports=False)\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OVSEG_DATA", str(data))
    small = {**SMALL, "test_dataloader.dataset.pipeline.2.size": (64, 96)}
    try:
        run = Run(work_dir=str(tmp_path / "work"))
        ((name, found),) = compare([leaf], ["mine"], options=small, backbone="tiny", run=run)
        assert name == found["protocol"]["method"] == "mine" and found["mIoU"] > 0
        assert load_config(leaf, {"model.method": "mine"}, backbone="tiny").model.method == "mine"
    finally:
        remove_method("mine")


def test_progress_counts_every_image(config, run, monkeypatch):
    seen = []

    def count(self, runner, metrics=None):
        seen.append((self.bar.tasks[0].completed, self.bar.tasks[0].total))

    monkeypatch.setattr(ovseg.mmseg.runtime.ProgressHook, "after_test_epoch", count)
    settings = config()
    settings.custom_hooks = [{"type": "ProgressHook"}]
    evaluate(settings, run)
    assert seen == [(5, 5)]


def test_a_metric_of_another_kind_leaves_the_classes_out(config, run):
    found = evaluate(config(**{"test_evaluator": {"type": "IoUMetric", "_delete_": True}}), run)
    assert found["classes"] == [] and found["mIoU"] == found["summary"]["mIoU"] > 0
    exact = evaluate(config(), run)
    assert found["mIoU"] == pytest.approx(exact["mIoU"], abs=0.01)
