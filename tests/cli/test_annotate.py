"""ovseg annotate, review and convert as commands."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ovseg.errors import extra
from ovseg.evaluation.data.scenes import NAMES, make_scene

WORDS = ("--segmenter", "tiny", "--templates", "plain")


@pytest.fixture
def labelled(tmp_path):
    """A data set of generated scenes with label maps, and its class list."""
    root = tmp_path / "set"
    for folder in ("images/sub", "masks/sub"):
        (root / folder).mkdir(parents=True)
    for seed in range(4):
        scene = make_scene(seed, (64, 80))
        Image.fromarray(scene.image).save(root / "images/sub" / f"s{seed}.png")
        Image.fromarray(scene.labels).save(root / "masks/sub" / f"s{seed}.png")
    (root / "classes.txt").write_text("\n".join(NAMES))
    return root


def test_a_folder_is_annotated_reviewed_and_converted(run, labelled, tmp_path, names_in):
    out = tmp_path / "run"
    words = ("annotate", labelled / "images", "-r", "--classes", labelled / "classes.txt", "--out", out)
    done = run(*words, "--format", "coco, mmseg", "--format", "yolo", *WORDS)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].startswith("4 of 4 images annotated")
    assert done.stdout.splitlines()[-1] == f"4 images in this run, results in {out}"
    assert {name.split("/")[0] for name in names_in(out)} >= {"coco", "mmseg", "yolo", "records", "run.json"}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["images"] == summary["annotated"] == 4 and sum(summary["masks"].values()) > 0
    again = run(*words, "--format", "coco,mmseg,yolo", *WORDS)
    assert again.stdout.splitlines()[-1] == f"0 images in this run, results in {out}"
    other = run(*words, "--format", "coco", *WORDS, "--presence-threshold", "0.3")
    assert other.exit_code == 2 and "options.presence_threshold 0.5 -> 0.3" in other.errors[0]

    reviewed = run("review", out, "--truth", labelled, "--out", tmp_path / "reviewed")
    assert reviewed.exit_code == 0, reviewed.output
    lines = reviewed.stdout.splitlines()
    assert lines[0].split() == ["class", "IoU", "precision", "recall", "images", "threshold"]
    assert lines[-1] == "4 images compared" and len(lines) == len(NAMES) + 3
    content = json.loads((tmp_path / "reviewed/review.json").read_text())
    assert content["mean IoU"] > 0.1 and content["thresholds"]
    drawn = {name for name in names_in(tmp_path / "reviewed") if name.startswith("worst/")}
    assert len(drawn) == len(content["worst"]) == 4 and (tmp_path / "reviewed/confusion.csv").is_file()
    words = (*words[:-1], tmp_path / "second", "--thresholds", tmp_path / "reviewed/thresholds.json", *WORDS)
    assert run(*words).exit_code == 0

    converted = run("convert", out, "--format", "cvat,voc", "--out", tmp_path / "converted")
    assert converted.exit_code == 0, converted.output
    assert converted.stdout == (f"4 images from run to cvat, voc, results in {tmp_path / 'converted'}\n")
    same = run("review", tmp_path / "converted/cvat", "--truth", out)
    assert same.stdout.splitlines()[-2].split() == ["mean", "100.00"]


def test_labels_for_every_pixel_are_scored_as_mmseg_would(run, labelled, tmp_path):
    """The IoU of review equals that of ovseg's own metric on the label files that were written."""
    from ovseg.metrics import SegmentationScore

    out = tmp_path / "run"
    done = run(
        "annotate", labelled / "images", "-r", "--classes", labelled / "classes.txt", "--out", out,
        "--task", "labels", "--format", "mmseg", "--templates", "plain",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    score = SegmentationScore(len(NAMES))
    for path in sorted((out / "mmseg/labels").rglob("*.png")):
        truth = np.asarray(Image.open(labelled / "masks/sub" / path.name).copy())
        score.update(np.asarray(Image.open(path).copy()), truth)
    run("review", out, "--truth", labelled, "--out", tmp_path / "r")
    content = json.loads((tmp_path / "r/review.json").read_text())
    assert content["mean IoU"] == pytest.approx(score.compute(), abs=1e-9)


@pytest.mark.parametrize("words", ["stripes", "stripes,"])
def test_one_class_needs_no_comma(run, picture, tmp_path, words):
    done = run("annotate", picture, "--classes", words, "--out", tmp_path / "run", *WORDS)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run/summary.json").read_text())["images"] == 1
    assert list(json.loads((tmp_path / "run/summary.json").read_text())["masks"]) in ([], ["stripes"])


@pytest.mark.parametrize("command", ["annotate", "page"])
def test_a_mistyped_folder_makes_no_run_folder(run, tmp_path, command):
    place = ("--folder", tmp_path / "phtos") if command == "page" else (tmp_path / "phtos",)
    done = run(command, *place, "--classes", "a, b", "--out", tmp_path / "run")
    assert done.exit_code == 2 and "phtos does not exist" in done.errors[0] and len(done.errors) == 1
    assert not (tmp_path / "run").exists()


def test_bad_images_are_lines_and_exit_code_1(run, pictures, tmp_path):
    out = tmp_path / "run"
    done = run("annotate", pictures, "--classes", "stripes, waves", "--out", out, *WORDS)
    assert done.exit_code == 1 and "2 of 3 images annotated" in done.stdout
    assert [line.split(":")[0] for line in done.errors] == [
        "error",
        "note",
    ] and "b.jpg is not" in done.errors[0]
    assert "failed: b.jpg:" in (out / "summary.txt").read_text()


def test_odd_names_and_bombs_stop_no_other_image(run, tmp_path):
    """Names of files and classes with whatever a file system and a text can hold; headers that lie."""
    photos, out = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    names = [
        "new\nline.png",
        "-r 'x' \"y\".png",
        "ü 😀 %s {}.png",
        "n" * 250 + ".png",
        os.fsdecode(b"\xff.png"),
    ]
    for seed, name in enumerate(names):
        Image.fromarray(make_scene(seed, (24, 32)).image).save(photos / name)
    (photos / "bomb.png").write_bytes(header_only(60_000, 60_000))
    (photos / "wide.png").write_bytes(header_only(2**31 - 1, 1))
    (photos / "empty.png").write_bytes(b"")
    os.symlink("circle.png", photos / "circle.png")
    classes = tmp_path / "classes.json"
    odd = [
        "a, b",
        'say "hi"',
        "../../up",
        "日本 ümlaut 🐶",
        "back\\slash",
        "<b>&amp;</b>",
        "%s {}",
        "null",
        "-dash",
    ]
    classes.write_text(json.dumps({"stripes": ["stripes", "waves"], **{name: [name] for name in odd}}))
    before = {path for path in tmp_path.rglob("*")}
    words = (
        "--presence-threshold",
        "0",
        "--format",
        "coco,coco-panoptic,yolo,labelme,label-studio,cvat,voc,mmseg",
    )
    done = run("annotate", photos, "--classes", classes, "--out", out, *words, *WORDS)
    assert done.exit_code == 1 and "5 of 8 images annotated" in done.stdout
    passing = ("min left", " s left", "unknown word")
    kinds = [line.split(":")[0] for line in done.errors if not any(one in line for one in passing)]
    assert kinds == ["warning", "error", "error", "error", "note"], done.errors
    told = " ".join(done.errors)
    assert "circle.png is a link to nothing" in told and "bomb.png has 60000 x 60000" in told
    new = {path for path in tmp_path.rglob("*")} - before
    cache = tmp_path / "home"  # of texts
    assert {path for path in new if path not in (out, cache)} and all(
        {out, cache} & {path, *path.parents} for path in new
    )
    content = json.loads((out / "coco/instances.json").read_text())
    assert [one["name"] for one in content["categories"]] == ["stripes", *odd] and len(content["images"]) == 5
    again = run("annotate", photos, "--classes", classes, "--out", out, *words, *WORDS)
    assert again.exit_code == 1 and "0 images in this run" in again.stdout


def header_only(width, height):
    """A PNG that says how large it is, and holds nothing."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(99)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--classes", "a, b", "--format", "pascal"], "unknown format 'pascal'"),
        (["--classes", "nothing.txt"], "expected a file of classes, a vocabulary"),
        (["--classes", "voc22"], "unknown vocabulary 'voc22': did you mean voc2"),
        (["--classes", "a, b", "--format", "cityscapes"], "Cityscapes' classes"),
        (["--classes", "voc20", "--task", "boxes"], "unknown --task"),
        (["--classes", "a, b", "--threads", "0"], "expected --threads in 1..64"),
        (["--classes", "a, b", "--thresholds", "nowhere.json"], "nowhere.json does not exist"),
        (
            ["--classes", "background, a", "--task", "labels", "--background", "wall"],
            "background class already",
        ),
        (["--classes", "a, b", "--engine", "spark"], "unknown --engine 'spark': expected one of local, ray"),
        (["--classes", "a, b", "--shape", "box"], "unknown --shape"),
    ],
)
def test_misuse_is_one_line_before_anything_is_written(run, picture, tmp_path, words, said):
    done = run("annotate", picture, "--out", tmp_path / "run", *words, *WORDS)
    assert done.exit_code == 2 and len(done.errors) == 1 and said in done.errors[0], done.errors
    assert not (tmp_path / "run").exists()


def test_the_engine_ray_without_ray_says_what_to_install(run, picture, tmp_path, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "ray" else found(name, *more)
    )
    done = run("annotate", picture, "--classes", "a, b", "--out", tmp_path / "run", "--engine", "ray", *WORDS)
    assert done.exit_code == 2 and done.errors[0].endswith(f"needs Ray Data: {extra('ray')}")
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_is_misuse(run, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run("annotate", tmp_path / "empty", "--classes", "a, b", "--out", tmp_path / "run")
    assert done.exit_code == 2 and "holds none" in done.errors[0] and not (tmp_path / "run").exists()


def test_convert_says_what_it_left_out(run, tmp_path):
    shape = {"label": "cat", "points": [[1, 1], [5, 1], [5, 5]], "shape_type": "polygon"}
    content = {"imagePath": "a.jpg", "imageHeight": 9, "imageWidth": 9}
    content["shapes"] = [shape, {**shape, "shape_type": "line"}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    words = ("convert", tmp_path / "a.json", "--format", "coco,voc", "--out", tmp_path / "out")
    done = run(*words)
    assert done.exit_code == 1 and done.stdout.startswith("1 images from labelme to coco, voc")
    assert "left out shapes 'line': 1, the first in " in done.errors[-1]
    assert (tmp_path / "out/coco").is_dir() and (tmp_path / "out/voc").is_dir()
    again = run(*words)
    assert again.exit_code == 2 and "earlier conversion" in again.errors[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("review", "RUN", "--truth", "nowhere"), "nowhere does not exist"),
        (("review", "RUN", "--truth", "FOLDER"), "cannot tell the format"),
        (("convert", "RUN", "--format", "x", "--out", "o"), "unknown format 'x'"),
        (("convert", "FOLDER", "--format", "voc", "--out", "o"), "cannot tell the format"),
    ],
)
def test_misuse_of_review_and_convert(run, picture, tmp_path, words, said):
    places = {"RUN": tmp_path / "run", "FOLDER": tmp_path / "folder", "o": tmp_path / "o"}
    (tmp_path / "folder").mkdir()
    run("annotate", picture, "--classes", "stripes, waves", "--out", tmp_path / "run", *WORDS)
    done = run(*(places.get(word, word) for word in words))
    assert done.exit_code == 2 and said in done.errors[0], done.errors


def test_classes_of_run_and_truth_have_to_meet(run, picture, tmp_path, labelled):
    run("annotate", picture, "--classes", "cow, sheep", "--out", tmp_path / "run", *WORDS)
    done = run("review", tmp_path / "run", "--truth", labelled)
    assert done.exit_code == 1 and "a class that both the run and the truth have" in done.errors[0]
    shutil.rmtree(tmp_path / "run")
    run("annotate", picture, "--classes", "stripes, waves", "--out", tmp_path / "run", *WORDS)
    done = run("review", tmp_path / "run", "--truth", labelled)
    assert done.exit_code == 1 and "an image that both the run and the truth have" in done.errors[0]
