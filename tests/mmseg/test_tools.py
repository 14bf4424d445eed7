"""tools/test.py and tools/compare.py as a user calls them: flags, one-line errors, exit codes."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import ovseg.model.frozen
from ovseg.clip import embedded

VOC = "configs/paper/clip-surgery_vit-b16_voc21-512x512.py"
SMALL = [
    "test_dataloader.dataset.pipeline.2.size=(64,64)",
    "model.templates=plain",
    "test_dataloader.num_workers=0",
    "log_level=ERROR",
]


@pytest.fixture
def tool(root, monkeypatch, capsys):
    """``tool("test", *arguments)`` -> exit code, standard output, standard error."""

    def run(name, *arguments):
        spec = importlib.util.spec_from_file_location(f"tool_{name}", root / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            module.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def tree(trees, tmp_path, monkeypatch):
    """VOC 2012 with 20 images, more than the labels that are looked at beforehand."""
    monkeypatch.chdir(tmp_path)
    return trees.write_tree("voc21", tmp_path / "data", 20, (24, 32))


@pytest.fixture
def encoded(monkeypatch):
    """How many times the encoder was called."""
    calls, encode = [], ovseg.model.frozen.encode_image
    counted = lambda *args, **options: calls.append(1) or encode(*args, **options)  # noqa: E731
    monkeypatch.setattr(ovseg.model.frozen, "encode_image", counted)
    return calls


def test_a_run_ends_with_its_score_and_file(tool, tree, root, tmp_path, encoded):
    work, out = tmp_path / "work", tmp_path / "png"
    code, printed, _ = tool(
        *("test", root / VOC, "--backbone", "tiny", "--method", "naclip", "--work-dir", work),
        *("--out", out, "--show-dir", tmp_path / "shown", "--tta"),
        *("--cfg-options", *SMALL),
    )
    assert code == 0, printed
    last = printed.strip().splitlines()[-1]
    (file,) = work.glob("*/results.json")
    found = json.loads(file.read_text())
    assert last == f"mIoU {found['mIoU']:.2f} over 20 images: {file}"
    assert found["protocol"]["method"] == "naclip" and found["protocol"]["views averaged"]
    assert len(encoded) == 40  # two views
    assert len(list(out.iterdir())) == 20 == len(list((tmp_path / "shown").rglob("*.png")))


def test_a_checkpoint_is_the_backbones_weights(tool, tree, root, tmp_path):
    mine = tmp_path / "mine.safetensors"
    shutil.copy(embedded.asset_path("tiny"), mine)
    options = [*SMALL[:-1], "log_level=INFO"]
    code, printed, _ = tool(
        "test", root / VOC, mine, "--backbone", "tiny", "--work-dir", "w", "--cfg-options", *options
    )
    assert code == 0 and "aeroplane" in printed  # the table of classes
    (log,) = (tmp_path / "w").glob("*/*.log")
    for noise in ("System environment:", "Config:\n"):  # some 200 lines, for the file alone
        assert noise in log.read_text() and noise not in printed
    assert "prefix is not set" not in log.read_text() and len(printed.splitlines()) < 60, printed
    found = json.loads(next((tmp_path / "w").glob("*/results.json")).read_text())
    assert found["weights"]["file"] == "mine.safetensors" and "mIoU" in printed


def test_a_table_of_configs_and_methods(tool, tree, root, tmp_path):
    table = tmp_path / "table.md"
    code, printed, _ = tool(
        *("compare", root / VOC, "--methods", "sclip", "clip", "--backbone", "tiny", "--table", table),
        *("--cfg-options", *SMALL),
    )
    assert code == 0 and printed.strip() == table.read_text().strip()
    lines = printed.strip().splitlines()
    assert [line.split(" |")[0] for line in lines] == ["| mIoU", "|---|---|", "| sclip", "| clip"]
    assert len(list((tmp_path / "work_dirs").rglob("results.json"))) == 2


# ---------------------------------------------------------------------------------- bad input


def label(tree, position):
    names = (tree / "ImageSets/Segmentation/val.txt").read_text().split()
    return tree / "SegmentationClass" / f"{names[position]}.png"


def write(path, values):
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def no_folder(tree):
    shutil.rmtree(tree)


def no_images_folder(tree):
    shutil.rmtree(tree / "JPEGImages")


def no_list(tree):
    (tree / "ImageSets/Segmentation/val.txt").unlink()


def empty_list(tree):
    (tree / "ImageSets/Segmentation/val.txt").write_text("")


def no_label(tree):
    label(tree, 7).unlink()


def no_image(tree):
    next((tree / "JPEGImages").glob(f"{label(tree, 7).stem}.jpg")).unlink()


def another_size(tree):
    write(label(tree, 7), np.zeros((5, 5)))


def no_png(tree):
    label(tree, 7).write_bytes(b"no image")


def colours(tree):
    path = label(tree, 0)
    shape = np.asarray(Image.open(path)).shape
    write(path, np.zeros((*shape, 3)))


def wrong_value(tree):
    path = label(tree, 0)
    write(path, np.full(np.asarray(Image.open(path)).shape, 77))


@pytest.mark.parametrize(
    "damage, message",
    [
        (no_folder, "expected the folder data/VOCdevkit/VOC2012 of PascalVOCDataset, it does not exist"),
        (no_images_folder, "expected the folder data/VOCdevkit/VOC2012/JPEGImages of"),
        (no_list, "expected the list of images data/VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"),
        (empty_list, "expected images .jpg in data/VOCdevkit/VOC2012/JPEGImages, found none"),
        (no_label, "expected a label for data/VOCdevkit/VOC2012/JPEGImages/"),
        (no_image, "expected an image, data/VOCdevkit/VOC2012/JPEGImages/"),
        (another_size, "at its image's 24 x 32 pixels, got 5 x 5"),
        (no_png, ".png is not one"),
        (colours, "it holds colours"),
        (wrong_value, "expected labels below 21 or 255, "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_data_is_one_line_before_the_first_image(damage, message, tool, tree, root, encoded):
    damage(tree)
    code, _, said = tool("test", root / VOC, "--backbone", "tiny", "--cfg-options", *SMALL)
    assert code == 1 and message in said and not encoded
    assert said.startswith("error: ") and len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_wrong_value_that_was_not_looked_at_beforehand_names_its_file(workers, tool, tree, root, encoded):
    path = label(tree, 9)  # of 20, 16 are looked at beforehand
    write(path, np.full(np.asarray(Image.open(path)).shape, 77))
    options = [*SMALL[:2], f"test_dataloader.num_workers={workers}", "log_level=ERROR", "custom_hooks=[]"]
    code, _, said = tool("test", root / VOC, "--backbone", "tiny", "--cfg-options", *options)
    assert code == 1 and encoded
    name = f"data/VOCdevkit/VOC2012/SegmentationClass/{path.name}"
    assert said == f"error: expected labels below 21 or 255, {name} holds 77\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--method", "surgery"], "unknown method 'surgery': expected one of clip, maskclip"),
        (["--backbone", "ViT-B-17"], "unknown model 'ViT-B-17'"),
        (["--backbone", "ViT-B-16", "--weights", "openia"], "unknown weights 'openia' for ViT-B-16"),
        (["--cfg-options", "model.vocabulary=voc22"], "unknown vocabulary 'voc22'"),
        (
            ["--cfg-options", "model.vocabulary=cityscapes"],
            "expected 21 classes, as PascalVOCDataset has, the",
        ),
        (
            ["--cfg-options", "model.mehtod=clip"],
            "unknown field of the model 'mehtod': did you mean 'method'?",
        ),
        (
            ["--cfg-options", "model.window=4"],
            "multiples of the patch (8, 8), got 4",
        ),
        (["--cfg-options", "test_dataloader.dataset.pipeline.9.size=4"], "cannot be used: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_one_line_and_exit_code_2(arguments, message, tool, tree, root, encoded):
    backbone = [] if "--backbone" in arguments else ["--backbone", "tiny"]
    code, _, said = tool("test", root / VOC, *backbone, *arguments)
    assert code == 2 and message in said and not encoded
    assert said.startswith("error: ") and len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "content, code, message",
    [
        (None, 1, "mine.pt does not exist"),
        (b"nonsense", 1, "mine.pt is a text file: not loaded"),
    ],
    ids=["missing", "nonsense"],
)
def test_a_checkpoint_that_does_not_fit(content, code, message, tool, tree, root, tmp_path, encoded):
    if content:
        (tmp_path / "mine.pt").write_bytes(content)
    found, _, said = tool("test", root / VOC, tmp_path / "mine.pt", "--backbone", "tiny")
    assert found == code and message in said and not encoded and len(said.strip().splitlines()) == 1


def test_a_config_that_is_missing_or_none(tool, tmp_path):
    code, _, said = tool("test", tmp_path / "no.py")
    assert code == 2 and said.strip().endswith("no.py does not exist")
    (tmp_path / "empty.py").write_text("x = 1\n")
    code, _, said = tool("test", tmp_path / "empty.py")
    assert code == 2 and "expected a config with model and test_dataloader" in said
    (tmp_path / "broken.py").write_text("x = (\n")
    code, _, said = tool("test", tmp_path / "broken.py")
    assert code == 2 and "broken.py cannot be used: " in said and len(said.strip().splitlines()) == 1


def test_a_comparison_is_checked_before_it_starts(tool, tree, root, tmp_path, encoded):
    (tmp_path / "data" / "cityscapes").mkdir()
    other = "configs/paper/clip-surgery_vit-b16_cityscapes-1024x2048.py"
    code, _, said = tool("compare", root / VOC, root / other, "--backbone", "tiny")
    assert code == 1 and "data/cityscapes/leftImg8bit/val of CityscapesDataset" in said and not encoded


def test_the_script_for_several_processes_says_what_it_wants(root):
    script = root / "tools" / "dist_test.sh"
    done = subprocess.run(["bash", script, "x.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr == "error: expected CONFIG and PROCESSES, got 1 arguments\n"
    command = {"PYTHON": "echo", "PATH": "/usr/bin:/bin", "PORT": "1234"}
    done = subprocess.run(
        ["bash", script, "x.py", "2", "--tta"], capture_output=True, text=True, check=False, env=command
    )
    assert "--nproc_per_node=2" in done.stdout and "--master_port=1234" in done.stdout
    assert done.stdout.strip().endswith("test.py x.py --launcher pytorch --tta")


def test_a_checkpoint_may_come_after_flags_and_a_metric_of_mmsegs_shows_its_score(
    tool, trees, root, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    trees.write_tree("voc21", tmp_path / "data", 2, (24, 32))
    mine = tmp_path / "mine.safetensors"
    shutil.copy(embedded.asset_path("tiny"), mine)
    code, printed, _ = tool(
        *("test", root / VOC, "--backbone", "tiny", "--work-dir", tmp_path / "w", mine),
        *("--cfg-options", *SMALL, "test_evaluator.type=IoUMetric"),
    )
    assert code == 0, printed
    (file,) = (tmp_path / "w").glob("*/results.json")
    found = json.loads(file.read_text())
    assert found["weights"]["file"] == "mine.safetensors"
    last = printed.strip().splitlines()[-1]
    assert last == f"mIoU {found['summary']['mIoU']:.2f} over 2 images: {file}"


@pytest.mark.parametrize("change", ["integers", "NaN"])
@pytest.mark.parametrize("tower", ["visual.proj", "text_projection"])
def test_a_damaged_load_from_gives_no_score(change, tower, tool, tree, root, encoded):
    state = dict(torch.load(clip_checkpoint(root), weights_only=True))
    value = state[f"clip.{tower}"]
    state[f"clip.{tower}"] = value.int() if change == "integers" else value * float("nan")
    torch.save({"state_dict": state}, "damaged.pth")
    options = [*SMALL, "load_from=damaged.pth"]
    code, printed, said = tool("test", root / VOC, "--backbone", "tiny", "--cfg-options", *options)
    assert code == 1 and "mIoU" not in printed and not encoded
    assert said.startswith("error: expected weights of tiny, the checkpoint ") and f"clip.{tower}" in said
    assert said.count("\n") == 1


def clip_checkpoint(root):
    """A file of the embedded model's tensors by the segmentor's names."""
    from ovseg.clip.models import load_clip

    state = load_clip("tiny").clip.state_dict()
    torch.save({f"clip.{key}": value for key, value in state.items()}, "sound.pth")
    return "sound.pth"
