"""Wrong command lines and odd files: exit code 1 or 2, one line "error: …", no traceback, nothing written."""

from __future__ import annotations

import os
import stat

import pytest
from PIL import Image

from ovseg.evaluation.data.scenes import make_scene
from ovseg.options import MAX_BATCH
from ovseg.options.checks import MAX_SIDE

COMMANDS = ("segment", "explain", "recognize", "mask")
DENSE = ("segment", "explain", "mask")
SIZES = ("", " ", "²", "0", "-1", "big", "1x2x3", "3.5", "nan", "inf", "1e3", "12x", "x", "0x5", "5x0",
    "9" * 5000,
         str(MAX_SIDE + 1), "٣")  # fmt: skip
NUMBERS = ("", "x", "nan", "inf", "-inf", "-1", "1e999", "²", "0x10")
WORDS = ("", " ", "x", "OPENCV", "none", "0", "é")
WRONG = {
    "size": (COMMANDS, SIZES),
    "window": (DENSE, (*SIZES, "5", "8x5", "4")),  # no whole patches of 8
    "stride": (DENSE, ("8", "0", "x")),  # without a window
    "batch": (DENSE, ("", "0", "-1", "x", "1.5", "²", str(MAX_BATCH + 1), "9" * 30, "nan")),
    "resize": (COMMANDS, WORDS),
    "templates": (COMMANDS, ("", " ", "x", "{}{}", "a {0}", os.fsdecode(b"caf\xe9 {}"))),
    "logit-scale": (("segment",), (*NUMBERS, "0")),
    "background": (("segment",), ("", ",", "wall,", "é,,")),
    "background-threshold": (("segment",), (*NUMBERS, "2")),
    "area-threshold": (("segment",), (*NUMBERS, "1.5")),
    "synonyms": (("segment",), WORDS),
    "surgery": (("explain",), ("", "x", "None", "softmax", "label_set")),
    "scores": (("recognize",), WORDS),
    "top": (("recognize",), ("", "0", "-1", "x", "1.5", "nan", "²", "999999999")),
    "method": (DENSE, ("", "x", "CLIP")),
    "model": (COMMANDS, ("", "x", "ViT-B-61", "ViT-B-16", "hf-hub:", "local-dir:")),
    "weights": (COMMANDS, ("", "x", "openai", "~/none.pt", "none.safetensors", "/dev/null", "/")),
    "device": (COMMANDS, ("", "x", "gpu", "cuda:99", "cuda:-1", "meta", "mps", "cpu:x")),
    "precision": (COMMANDS, ("", "fp8", "FP32", "fp16")),
    "vocabulary": (COMMANDS, ("", "voc22", "/", "/dev/null", "~/none.txt", "PICTURE", "n" * 300)),
    "out": (DENSE, ("", " ", "PICTURE", "PICTURE/o", "/dev/null", "/dev/null/o", "n" * 300)),
    "point-rule": (("mask",), WORDS),
    "map-threshold": (("mask",), (*NUMBERS, "1.5")),
    "prompt-with": (("mask",), WORDS),
    "mask-choice": (("mask",), WORDS),
    "clean": (("mask",), (*NUMBERS, "2")),
    "presence-threshold": (("mask",), (*NUMBERS, "2")),
    "rivals": (("mask",), ("", ",", "sky,")),
    "segmenter": (("mask",), ("", "best", "hf:", "hf:none/none/none", "VIT_B", "vit_b")),
    "segmenter-weights": (("mask",), ("none.pth", "/dev/null", "")),
    "nothing": (COMMANDS, ("1",)),
}
LINES = [
    pytest.param((command, "PICTURE", "bricks", f"--{name}={value}"), id=f"{command} --{name}={value[:40]!r}")
    for name, (commands, values) in WRONG.items()
    for command in commands
    for value in (values if command == commands[0] else values[:3])  # of the others: it is checked there too
]
OTHERS = [
    ("nothing",), ("--nothing",), ("segment",), ("segment", "PICTURE"), ("segment", "--size"), ("list", "x"),
    ("segment", "PICTURE", "PICTURE"), ("segment", "", "bricks"), ("segment", "PICTURE", "--npz", "bricks",
    "-x"),
    ("segment", "PICTURE", ""), ("segment", "PICTURE", " , "), ("segment", "PICTURE", "sky,"),
    ("segment", "PICTURE", "a, A"), ("segment", "PICTURE", os.fsdecode(b"caf\xe9")), ("segment", "PICTURE",
    "\0"),
    ("segment", "PICTURE", "word " * 90), ("mask", "PICTURE", "bench+"), ("mask", "PICTURE", "+"),
    ("mask", "PICTURE", "bench", "--segmenter=grabcut", "--segmenter-weights=random"),
    ("mask", "PICTURE", "bench " * 90), ("mask", "PICTURE", "a+a"), ("recognize", "PICTURE", "word " * 90),
    ("explain", "PICTURE", "\u200b"), ("segment", "PICTURE", "bricks", "--probabilities"),
    ("explain", "PICTURE", "bricks", "--full-size"), ("segment", "PICTURE", "bricks", "--cache=yes"),
    ("segment", "PICTURE", "bricks", "--window", "16", "--stride", "17"),
    ("segment", "PICTURE", "background, a", "--background", "wall"), ("segment", "PICTURE", "--vocabulary"),
    ("recognize", "PICTURE", "bricks", "--surgery", "x"), ("recognize", "PICTURE", "bricks", "--surgery", ""),
    ("recognize", "PICTURE", "bricks", "--window", "16"), ("recognize", "PICTURE", "bricks", "--method", "x"),
    ("recognize", "PICTURE", "bricks", "--out", "o"),
    ("models", "path", "RN50", "x"), ("models", "path", "x"), ("models", "path", ""), ("models", "pull", "x"),
    ("models", "verify", "RN50"), ("models", "verify", "vit_b"), ("models", "path", "hf:"), ("models",
    "nothing"),
    ("models", "pull", "RN50", "--offline"), ("models", "path"), ("models", "list", "x"),
    ("demo", "--out", ""), ("demo", "--out", "PICTURE"), ("demo", "x"),
]  # fmt: skip
FILES = ("empty.jpg", "text.jpg", "cut.png", "pipe.jpg", "/dev/null", "folder.jpg", "broken.png",
    "closed.png",
         "n" * 240 + ".jpg", "n" * 300, os.fsdecode(b"caf\xe9.jpg"), "nothing\n.jpg", "ftp" + "://x/y.jpg",
         "~nobody/x.jpg",
         "zero.png", "bomb.png")  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a good picture and odd files, as current directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    Image.fromarray(make_scene(1, (64, 80)).image).save("picture.png")
    whole = (folder / "picture.png").read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("a text")
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.png").write_bytes(whole[:16] + bytes(8) + whole[24:])
    (folder / "bomb.png").write_bytes(whole[:16] + b"\x7f\xff\xff\xff" * 2 + whole[24:])
    (folder / "closed.png").write_bytes(whole)
    (folder / "closed.png").chmod(0)
    (folder / "folder.jpg").mkdir()
    os.mkfifo("pipe.jpg")
    os.symlink("gone.png", "broken.png")
    return folder


def check(done, place, before):
    assert done.exit_code in (1, 2), done.output
    assert len(done.errors) == 1 and done.errors[0].startswith("error: "), done.stderr
    assert "Traceback" not in done.output and "OVSEG_DEBUG" not in done.stderr
    assert len(done.errors[0]) < 1000
    assert {name for name in os.listdir(place) if name != "out"} == before


@pytest.mark.parametrize(
    "words", [*LINES, *OTHERS], ids=lambda words: " ".join(words)[:60] if isinstance(words, tuple) else ""
)
def test_a_wrong_command_line_is_one_line(run, place, words):
    before = set(os.listdir(place))
    full = [word.replace("PICTURE", "picture.png") for word in words]
    done = run(*full)
    check(done, place, before)  # not even the folder for results was made


@pytest.mark.parametrize("file", FILES, ids=lambda file: ascii(file)[:30])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_odd_file_is_one_line(run, place, command, file):
    if file == "closed.png" and os.access(file, os.R_OK):
        pytest.skip("root may read anything")
    before = set(os.listdir(place))
    more = () if command == "recognize" else ("--out", "out")
    more += ("--segmenter", "grabcut") if command == "mask" else ()
    check(run(command, file, "bricks", "--templates", "plain", *more), place, before)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_of_odd_files_does_the_good_one(run, place, command):
    more = () if command == "recognize" else ("--out", "out")
    more += ("--segmenter", "grabcut") if command == "mask" else ()
    done = run(command, ".", "bricks", "--templates", "plain", *more)
    assert done.exit_code == 1
    assert ("picture.png: " if command == "recognize" else " of 7 images, results in out") in done.stdout
    lines = [line for line in done.errors if not line.startswith("note: with a single name")]
    told = [line for line in lines if line.startswith("warning: expected an image file, ")]
    assert [line.split(", ")[1] for line in told] == [
        "./broken.png is a link to nothing",
        "./pipe.jpg exists",
    ]
    errors = [line for line in lines if line not in told]
    assert len(errors) >= 4 and all(line.startswith("error: ") for line in errors)
    assert stat.S_ISFIFO(os.stat("pipe.jpg").st_mode)


def test_the_table_is_long_enough():
    assert len(LINES) + len(OTHERS) + len(FILES) * len(COMMANDS) >= 300
