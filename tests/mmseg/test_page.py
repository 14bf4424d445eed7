"""The pages' blocks marked "data" run on generated trees with the embedded model at small sizes."""

from __future__ import annotations

import glob
import json
import re
import runpy
import shlex
import shutil
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg.evaluation.data import context
from ovseg.words.vocabulary import load_vocabulary

ROOT = Path(__file__).parents[2]
BLOCKS = [
    pytest.param(kind, body, id=f"{page.name}: {body.splitlines()[-1]}"[:90])
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for kind, body in re.findall(r"^```(\w+) data\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
]
PIPELINE = "test_dataloader.dataset.pipeline.2"
SMALL = {
    "paper": [f"{PIPELINE}.size=[64,64]"],
    "common": [f"{PIPELINE}.short_side=64", "model.window=64", "model.stride=32"],
    "sclip": [f"{PIPELINE}.short_side=64", "model.window=64", "model.stride=32"],
    "naclip": [f"{PIPELINE}.short_side=64"],
    "clearclip": [f"{PIPELINE}.short_side=64", "model.window=64", "model.stride=32"],
    "photos": [f"{PIPELINE}.short_side=64"],
}
CONVERTED = ("*_labelTrainIds.png", "*_instanceTrainIds.png", "SegmentationClassContext/*.png")


@pytest.fixture
def place(trees, tmp_path, monkeypatch):
    """A folder with data/ and, beside it, what the data sets' pages give, configs, tools and photo.jpg."""
    data = tmp_path / "data"
    for name in {folder: name for name, folder in trees.ROOTS.items()}.values():
        trees.write_tree(name, data, count=2)
    maps = tmp_path / "stuffthingmaps/val2017"
    maps.mkdir(parents=True)
    for path in (data / "coco_stuff164k/annotations/val2017").glob("*[0-9].png"):
        shutil.copy(path, maps / path.name)
    trees.write_instances(data / "coco_object", tmp_path / "instances_val2017.json")
    trees.write_context_sources(data / "VOCdevkit/VOC2010", tmp_path, list(context.IDS))
    vocabularies = ROOT / "configs/_base_/datasets"
    msrc = load_vocabulary(vocabularies / "photos_msrc_v2.txt").names
    trees.write_photos(tmp_path / "photos/msrc_v2", [*msrc[:4], "horse", *msrc[4:], "mountain"])
    trees.write_photos(tmp_path / "photos/camvid", load_vocabulary(vocabularies / "photos_camvid.txt").names)
    trees.write_photos(tmp_path / "photos/coco_things_val", load_vocabulary("coco_object").names)
    for name in ("configs", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(Path(str(resources.files("skimage"))) / "data/rocket.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OVSEG_DATA", raising=False)
    return tmp_path


def run(words: list[str], monkeypatch) -> None:
    """``python tools/X …`` in this process: a second one would import everything anew.

    One method stands for all of them, whose walk over the configs is in test_configs.py.
    """
    few = {"all": ("sclip",)}
    words = [part for word in words for part in few.get(word, (word,))]
    arguments = [found for word in words[2:] for found in (sorted(glob.glob(word)) or [word])]
    if words[1] in ("tools/test.py", "tools/compare.py"):
        config = next(Path(word) for word in arguments if word.endswith(".py"))
        small = [*SMALL[config.parent.name], "model.templates=plain", "test_dataloader.num_workers=0"]
        if "1024x2048" in config.name:
            small += ["model.window=32", "model.stride=32"]
        at = arguments.index("--cfg-options") if "--cfg-options" in arguments else len(arguments)
        arguments = [
            *arguments[:at],
            *("--backbone", "tiny", "--cfg-options", *small),
            *arguments[at + 1 :],
        ]
    monkeypatch.setattr(sys, "argv", [words[1], *arguments])
    runpy.run_path(words[1], run_name="__main__")


@pytest.mark.filterwarnings("ignore:Checkpoint is not loaded:UserWarning")  # MMSegInferencer's
@pytest.mark.filterwarnings("ignore:weights is None, use cityscapes:UserWarning")
@pytest.mark.filterwarnings("ignore:Failed to add .*LocalVisBackend:UserWarning")
@pytest.mark.parametrize("kind, body", BLOCKS)
def test_blocks_run(place, monkeypatch, capsys, kind, body):
    if kind == "python":
        exec(compile(body, "block", "exec"), {})
        return
    removed = take_converted(place) if "convert_datasets" in body else {}
    scored = 0
    for line in body.splitlines():
        words = shlex.split(line, comments=True)
        if words[0] == "bash":  # tests/mmseg/test_evaluate.py starts two processes: they take their time
            assert (ROOT / words[1]).is_file() and (ROOT / words[2]).is_file() and words[3] == "2"
            continue
        assert words[0] == "python", f"nobody runs {line!r}"
        capsys.readouterr()
        run(words, monkeypatch)
        if words[1] == "tools/test.py":
            scored += 1
            expected = "no score over 1" if "test_evaluator.format_only=True" in words else "mIoU "
            assert expected in capsys.readouterr().out
            assert len(list(place.glob("work_dirs/*/*/results.json"))) >= 1
        if "--out" in words:
            assert list((place / words[words.index("--out") + 1]).glob("*.png"))
    for path, labels in removed.items():
        np.testing.assert_array_equal(np.asarray(Image.open(path)), labels, err_msg=str(path))
    for file in place.glob("work_dirs/**/results.json"):
        found = json.loads(file.read_text())
        assert found["dataset"]["images"] in (1, 2, 3)


def take_converted(place: Path) -> dict[Path, np.ndarray]:
    """The label maps that conversions make, of the split val, removed; with the lists of images."""
    taken = {}
    for pattern in CONVERTED:
        for path in place.glob(f"data/**/{pattern}"):
            if "train2017" not in path.parts:
                taken[path] = np.asarray(Image.open(path))
    listed = place / "data/VOCdevkit/VOC2010/ImageSets/SegmentationContext"
    trained = (listed / "train.txt").read_text().split()
    taken = {path: labels for path, labels in taken.items() if path.stem not in trained}
    for path in taken:
        path.unlink()
    shutil.rmtree(listed)
    assert len(taken) == 2 + 2 + 2 + 4
    return taken


def test_blocks_were_found():
    kinds = [block.values[0] for block in BLOCKS]
    commands = sum(len(block.values[1].splitlines()) for block in BLOCKS if block.values[0] == "sh")
    assert kinds.count("python") >= 2 and commands >= 20
