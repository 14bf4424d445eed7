"""Hostile calls of tools/test.py: each ends in one line and the right exit code, before the first image."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

VOC = "configs/paper/clip-surgery_vit-b16_voc21-512x512.py"
SMALL = [
    "test_dataloader.dataset.pipeline.2.size=(64,64)",
    "model.templates=plain",
    "test_dataloader.num_workers=0",
    "log_level=ERROR",
]


@pytest.fixture
def tree(trees, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("no folder")
    return trees.write_tree("voc21", tmp_path / "data", 3, (24, 32))


@pytest.fixture
def encoded(monkeypatch):
    """How many images reached the segmentor."""
    from ovseg.mmseg.segmentor import OpenVocabularySegmentor

    calls, predict = [], OpenVocabularySegmentor.predict
    counted = lambda self, *args: calls.append(1) or predict(self, *args)  # noqa: E731
    monkeypatch.setattr(OpenVocabularySegmentor, "predict", counted)
    return calls


@pytest.fixture
def tool(root, monkeypatch, capsys):
    """``tool(*arguments)`` of tools/test.py -> exit code, standard error."""

    def run(*arguments):
        spec = importlib.util.spec_from_file_location("tool_test", root / "tools" / "test.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", ["test.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            module.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr().err

    yield run
    os.environ.pop("LOCAL_RANK", None)


def one_line(said: str) -> bool:
    return said.startswith("error: ") and said.count("\n") == 1 and "Traceback" not in said


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--out", "/dev/null"], "expected a folder for results, /dev/null"),
        (["--out", ""], "expected --out as a folder, got an empty text"),
        (["--out", "file"], "expected a folder for results, file"),
        (["--show-dir", "file"], "expected a folder for results, file"),
        (["--work-dir", "/dev/null/x"], "expected a folder for results, /dev/null is no folder"),
        (["--work-dir", "file"], "expected a folder for results, file"),
        (["--work-dir", ""], "expected --work-dir as a folder, got an empty text"),
        (["--weights", ""], "expected weights as a text, got ''"),
        (["--weights", "a.pt", "b.pt"], "expected the checkpoint once, got --weights and b.pt"),
        (["--wait-time", "nan"], "expected --wait-time as a number in 0..inf, got nan"),
        (["--wait-time", "-1"], "expected --wait-time in 0..inf, got -1"),
        (["--launcher", "pytorch"], "needs the environment variable RANK, which is not set"),
        (["--launcher", "slurm"], "needs the environment variable SLURM_PROCID, which is not set"),
        (["--launcher", "mpi"], "needs the environment variable OMPI_COMM_WORLD_LOCAL_RANK"),
        (["--launcher", "ray"], "invalid choice: 'ray'"),
        (["--wait-time", "soon"], "invalid float value"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--cfg-options", "model"], "expected KEY=VALUE, got 'model'"),
        (["--cfg-options", "model.window=(1,2"], "closed by"),
        (["--cfg-options", "test_dataloader.batch_size=0"], "expected test_dataloader.batch_size in 1.."),
        (
            ["--cfg-options", "test_dataloader.batch_size=a"],
            "expected test_dataloader.batch_size as an integer",
        ),
        (["--cfg-options", "test_dataloader.num_workers=-1"], "expected test_dataloader.num_workers in 0.."),
        (["--cfg-options", "test_dataloader.num_workers=1.5"], "test_dataloader.num_workers as an integer"),
        (["--cfg-options", "modle.logit_scale=1"], "a run reads no field 'modle': did you mean model?"),
        (["--cfg-options", "nope.x=1"], "a run reads no field 'nope': expected one of custom_hooks, "),
        (["--cfg-options", "a="], "a run reads no field 'a': expected one of"),
        (["--cfg-options", "data_root=nope"], "did you mean test_dataloader.dataset.data_root?"),
        (["--cfg-options", "test_pipeline.2.size=8"], "did you mean test_dataloader.dataset.pipeline?"),
        (["--cfg-options", "pipelines.square512.2.size=8"], "did you mean test_dataloader.dataset.pipeline?"),
        (["--cfg-options", "vocabulary=voc20"], "did you mean model.vocabulary?"),
        (["--cfg-options", "launcher=slurm"], "did you mean --launcher?"),
        (["--cfg-options", "resume=True"], "a run reads no field 'resume'"),
        (["--cfg-options", "train_dataloader.batch_size=2"], "a run reads no field 'train_dataloader'"),
        (["--cfg-options", "env_cfg.cudnn_benchmrk=True"], "did you mean 'cudnn_benchmark'?"),
        (["--cfg-options", "test_evaluator.ignore_indx=0"], "did you mean 'ignore_index'?"),
        (
            ["--cfg-options", "test_evaluator.type=IoUMetric", "test_evaluator.ignore_indx=0"],
            "unknown field of the metric IoUMetric 'ignore_indx': did you mean 'ignore_index'?",
        ),
        (
            [
                "--out",
                "o",
                "--cfg-options",
                "test_evaluator.type=CityscapesIoUMetric",
                "test_evaluator.foo=0",
            ],
            "unknown field of the metric CityscapesIoUMetric 'foo'",
        ),
        (
            ["--out", "o", "--cfg-options", "test_evaluator.type=IoUMetric"],
            "--out needs ExactIoUMetric or CityscapesIoUMetric in test_evaluator, found none",
        ),
        (
            ["--cfg-options", "test_evaluator.type=IoUMetric", "test_evaluator.output_dir=o"],
            "expected ExactIoUMetric for predictions as files, got IoUMetric",
        ),
        (
            ["--cfg-options", "test_evaluator.iou_metrics=[x]"],
            "unknown iou_metrics 'x': expected one of mIoU",
        ),
        (["--cfg-options", "test_evaluator.iou_metrics=[]"], "expected iou_metrics with at least one word"),
        (["--cfg-options", "test_evaluator.iou_metrics=5"], "expected iou_metrics as words, got 5"),
        (["--cfg-options", "test_evaluator.ignore_index=x"], "expected ignore_index as an integer"),
        (["--cfg-options", "test_evaluator.nan_to_num=x"], "expected nan_to_num as a number"),
        (["--cfg-options", "test_evaluator.beta=x"], "expected beta as a number"),
        (["--cfg-options", "test_evaluator.collect_device=tpu"], "unknown collect_device 'tpu'"),
        (
            ["--cfg-options", "test_dataloader.timeout=5", "test_dataloader.num_workers=0"],
            "test_dataloader.timeout 5 needs num_workers above 0",
        ),
        (["--cfg-options", "test_evaluator.prefix=5"], "expected prefix as a text, got 5"),
        (["--cfg-options", "test_evaluator.format_only=x"], "expected format_only as True or False, got 'x'"),
        (
            ["--cfg-options", "test_evaluator=[dict(type=ExactIoUMetric,prefix=a),dict(type=X)]"],
            "expected test_evaluator as a metric or a list of metrics, got ['dict(",
        ),
        (["--cfg-options", "work_dir=5"], "expected work_dir of"),
        (["--cfg-options", "work_dir="], "expected work_dir of"),
        (["--cfg-options", "load_from=5"], "expected load_from of"),
        (["--cfg-options", "load_from="], "expected load_from of"),
        (["--cfg-options", "tta_pipeline=5"], "expected tta_pipeline of"),
        (["--cfg-options", "tta_model=5"], "expected tta_model of"),
        (["--cfg-options", "custom_hooks=[5]"], "expected custom_hooks of"),
        (["--cfg-options", "visualizer=5"], "expected visualizer of"),
        (["--cfg-options", "env_cfg=5"], "expected env_cfg of"),
        (["--cfg-options", "test_dataloader.sampler=5"], "expected test_dataloader.sampler of"),
        (["--cfg-options", "test_dataloader.drop_last=True"], "expected no test_dataloader.drop_last"),
        (["--cfg-options", "test_dataloader.dataset.reduce_zero_label=x"], "reduce_zero_label of"),
        (["--cfg-options", "model.cache=5"], "expected cache as True or False, got 5"),
        (["--cfg-options", "model.keep_logits=5"], "expected keep_logits as True or False, got 5"),
        (["--cfg-options", "model.data_preprocessor.bgr_to_rgb=5"], "expected bgr_to_rgb as True or False"),
        (["--cfg-options", "model=5"], "expected model of"),
        (["--cfg-options", "model.type=5"], "expected model.type of"),
        (["--cfg-options", "model.type=Nothing"], "Nothing is not in the"),
        (["--cfg-options", "test_dataloader=5"], "expected test_dataloader of"),
        (["--cfg-options", "test_dataloader.dataset=[]"], "expected test_dataloader.dataset of"),
        (["--cfg-options", "test_dataloader.dataset.type=Nothing"], "Nothing is not in the"),
        (["--cfg-options", "test_dataloader.dataset.data_root=5"], "data_root of"),
        (["--cfg-options", "test_dataloader.dataset.data_prefix=5"], "data_prefix of"),
        (["--cfg-options", "test_dataloader.dataset.nonsense=5"], "test_dataloader.dataset cannot be used"),
        (["--cfg-options", "test_dataloader.dataset.pipeline=5"], "pipeline of"),
        (["--cfg-options", "test_dataloader.dataset.pipeline.0.type=No"], "No is not in the"),
        (["--cfg-options", "test_dataloader.dataset.pipeline.2.size=0"], "expected size in 1.."),
        (["--cfg-options", "test_evaluator=5"], "expected test_evaluator as a metric or a list"),
        (["--cfg-options", "test_evaluator=[]"], "expected test_evaluator as a metric or a list"),
        (["--cfg-options", "test_evaluator.type=Nothing"], "Nothing is not in the"),
        (["--cfg-options", "test_evaluator.ignore_index=3"], "ignore_index outside"),
        (["--cfg-options", "load_from=nowhere.pth"], "expected load_from as a checkpoint, nowhere.pth"),
        (["--cfg-options", "load_from=file"], "load_from file cannot be used"),
        (["--cfg-options", "visualizer.type=Nothing"], "cannot be used"),
        (["--cfg-options", "custom_hooks.0.type=Nothing"], "cannot be used"),
        (["--cfg-options", "test_cfg.type=Nothing"], "Nothing is not in the"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_hostile_call_is_one_line(arguments, message, tool, tree, root, encoded):
    if "--cfg-options" in arguments:
        arguments = [*arguments, "log_level=ERROR"]
    code, said = tool(root / VOC, "--backbone", "tiny", *arguments)
    assert code == 2 and one_line(said) and message in said, said
    assert not encoded and not (tree.parents[1] / "o").exists()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("folder", None, "folder is a folder"),
        ("binary.py", bytes(range(256)), "binary.py cannot be used"),
        ("syntax.py", b"model = (", "syntax.py cannot be used: "),
        ("raises.py", b"raise RuntimeError('no')", "raises.py cannot be used: RuntimeError: no"),
        ("base.py", b"_base_ = 'nowhere.py'", "base.py cannot be used: "),
        ("config.txt", b"model = 1", "config.txt cannot be used: "),
        ("empty.py", b"", "expected a config with model and test_dataloader"),
        ("list.json", b"[1, 2]", "list.json cannot be used"),
    ],
)
def test_a_file_that_is_no_config_is_one_line(name, content, message, tool, tmp_path):
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(content)
    code, said = tool(tmp_path / name)
    assert code == 2 and one_line(said) and message in said, said


def test_a_launchers_variable_that_is_no_number_is_one_line(tool, tree, root, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "x")
    code, said = tool(root / VOC, "--backbone", "tiny", "--launcher", "pytorch")
    assert code == 2 and one_line(said) and "needs a number in RANK, got 'x'" in said


def test_a_truncated_image_is_one_line_with_its_name(tool, tree, root, encoded):
    path = sorted((tree / "JPEGImages").glob("*.jpg"))[0]
    path.write_bytes(path.read_bytes()[:-200])
    code, said = tool(root / VOC, "--backbone", "tiny", "--cfg-options", *SMALL, "custom_hooks=[]")
    assert code == 1 and one_line(said) and path.name in said, said
