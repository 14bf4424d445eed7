"""Results are whole or not there, whoever writes beside and whatever is in the way."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg.errors import OvsegError, UsageError
from ovseg.files import write as writers
from ovseg.results.figures import palette

PICTURE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
LABELS = np.array([[0, 1], [2, 255]], np.uint8)
WRITE = {
    "picture": lambda path: writers.write_picture(path, PICTURE),
    "labels": lambda path: writers.write_labels(path, LABELS, palette(3)),
    "mask": lambda path: writers.write_mask(path, LABELS > 0),
    "arrays": lambda path: writers.write_arrays(path, a=LABELS, names=["x", "y"]),
    "json": lambda path: writers.write_json(path, {"a": 1}),
}
each = pytest.mark.parametrize("write", WRITE.values(), ids=WRITE)


@pytest.mark.parametrize(
    "name, form",
    [
        ("a.jpg", "JPEG"),
        ("a.JPG", "JPEG"),
        ("a.Jpeg", "JPEG"),
        ("a.png", "PNG"),
        ("a.PNG", "PNG"),
        ("a", "PNG"),
    ],
)
def test_the_ending_decides_the_format_in_upper_and_lower_case(tmp_path, name, form):
    writers.write_picture(tmp_path / name, PICTURE)
    with Image.open(tmp_path / name) as read:
        assert read.format == form and read.size == (40, 30)


def test_what_is_written_reads_back(tmp_path):
    for write in WRITE.values():
        write(tmp_path / "a.png")
    writers.write_arrays(tmp_path / "a.npz", a=LABELS, names=["x", "y"])
    with np.load(tmp_path / "a.npz") as read:
        assert np.array_equal(read["a"], LABELS) and read["names"].tolist() == ["x", "y"]
    writers.write_mask(tmp_path / "m.png", LABELS > 0)
    writers.write_picture(tmp_path / "g.png", LABELS)
    for name, wanted in (("m.png", (LABELS > 0) * 255), ("g.png", LABELS)):
        with Image.open(tmp_path / name) as read:
            assert np.array_equal(np.asarray(read), wanted)


@pytest.mark.parametrize("name", ["picture", "labels", "mask"])
def test_pictures_carry_the_mark(tmp_path, name):
    for ending in ("png", "jpg") if name == "picture" else ("png",):
        WRITE[name](tmp_path / f"a.{ending}")
        assert writers.MARK in (tmp_path / f"a.{ending}").read_bytes()[:1024]
        with Image.open(tmp_path / f"a.{ending}") as read:
            assert writers.MARK.decode() in str(read.info)


def test_json_has_no_numbers_that_json_lacks(tmp_path):
    content = {"miou": float("nan"), "rows": (1.5, [float("inf")]), "name": "дерево", "bad": "a\udcff"}
    writers.write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["rows"] == [1.5, [None]]
    assert "дерево" in text


@pytest.mark.parametrize(
    "call",
    [
        lambda path: writers.write_json(path, {"a": {1, 2}}),
        lambda path: writers.write_json(path, {"a": np.float32(1)}),
        lambda path: writers.write_picture(path, PICTURE.astype(float)),
        lambda path: writers.write_picture(path, PICTURE[..., :2]),
        lambda path: writers.write_picture(path, PICTURE[:0]),
        lambda path: writers.write_labels(path, LABELS.astype(int), palette(3)),
        lambda path: writers.write_labels(path, PICTURE, palette(3)),
        lambda path: writers.write_mask(path, LABELS),
    ],
)
def test_content_of_another_kind_is_misuse(tmp_path, call):
    with pytest.raises(UsageError, match="expected"):
        call(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_picture_too_large_for_jpeg_is_one_line(tmp_path):
    with pytest.raises(OvsegError, match="expected a JPEG of at most 65535 pixels"):
        writers.write_picture(tmp_path / "a.jpg", np.zeros((1, 70_000, 3), np.uint8))


def _taken(folder):
    (folder / "taken").mkdir()
    return folder / "taken", "it exists and is a folder"


def _below_a_file(folder):
    (folder / "file").write_bytes(b"")
    return folder / "file" / "a.png", "file is no folder"


def _fifo(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe", "it exists and is no file"


@each
@pytest.mark.parametrize(
    "make",
    [
        _taken,
        _below_a_file,
        _fifo,
        lambda folder: (folder / "missing" / "a.png", "No such file"),
        lambda folder: (folder / ("n" * 251 + ".png"), None),
        lambda folder: (folder / ("n" * 252 + ".png"), "a file name of at most 255 bytes"),
        lambda folder: (folder / ("я" * 130 + ".png"), "a file name of at most 255 bytes"),
        lambda folder: (folder / "a\0b", "null"),
        lambda folder: (Path("/proc/nothing/a.png"), "expected to write"),
    ],
)
def test_what_is_in_the_way_is_one_line_and_nothing_is_left(tmp_path, write, make):
    path, message = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    if message is None:
        write(path)
        return
    with pytest.raises(OvsegError, match=message) as caught:
        write(path)
    assert "\n" not in str(caught.value) and sorted(tmp_path.rglob("*")) == before


@each
def test_a_device_is_never_replaced(tmp_path, monkeypatch, write):
    """No real device is written to: run by root, a regression would replace the machine's /dev/null."""

    def is_a_device(path):
        return os.stat_result((stat.S_IFCHR | 0o666, *[0] * 9))

    (tmp_path / "null").write_bytes(b"the device")
    monkeypatch.setattr(writers.os, "lstat", is_a_device)
    with pytest.raises(OvsegError, match="null: it exists and is no file"):
        write(tmp_path / "null")
    monkeypatch.undo()
    assert (tmp_path / "null").read_bytes() == b"the device" and len(list(tmp_path.iterdir())) == 1


@each
def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch, write):
    (tmp_path / "a.png").write_bytes(b"before")

    def full(partial):
        return Path("/dev/full").open("wb")

    monkeypatch.setattr(writers, "_create", full)
    with pytest.raises(OvsegError, match=r"expected to write .*a\.png: No space left on device"):
        write(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


@each
def test_a_read_only_folder_is_one_line(tmp_path, monkeypatch, write):
    def refused(partial):
        raise PermissionError(13, "Permission denied", str(partial))

    monkeypatch.setattr(writers, "_create", refused)
    with pytest.raises(OvsegError, match=r"a\.png: Permission denied"):
        write(tmp_path / "a.png")


def test_a_stopped_write_leaves_nothing(tmp_path):
    def stop(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writers.write_file(tmp_path / "a", stop)
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_replaced_and_follows_the_umask(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o400)
    before = os.umask(0o027)
    try:
        writers.write_file(tmp_path / "a", lambda file: file.write(b"new"))
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "folder, message",
    [
        ("file", "file is no folder"),
        ("file/below", "file is no folder"),
        ("n" * 300, "too long"),
        ("a\0b", "null"),
    ],
)
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, folder, message):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=f"expected a folder for results.*{message}"):
        writers.make_folder(tmp_path / folder)


def test_a_file_in_the_folders_place_is_named_once(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError) as caught:
            writers.make_folder(folder)
        assert str(caught.value) == f"expected a folder for results, {tmp_path / 'file'} is no folder"


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_path_without_a_file_name_is_misuse(path):
    with pytest.raises(UsageError, match="expected the path of a file to write, got '[./]'"):
        writers.write_json(Path(path), {})


@pytest.mark.parametrize("device", ["/dev/null", "/dev/full", "/dev/null/below"])
def test_a_device_is_no_folder(device):
    with pytest.raises(UsageError, match=r"/dev/\w+ is no folder"):
        writers.make_folder(Path(device))


def test_a_folder_that_exists_is_kept(tmp_path):
    assert writers.make_folder(tmp_path / "a" / "b") == writers.make_folder(tmp_path / "a" / "b")


WORK = """
import sys, numpy as np
from pathlib import Path
from ovseg.files.write import write_json, write_picture
folder, mine = Path(sys.argv[1]), int(sys.argv[2])
for number in range(20):
    write_json(folder / f"{number}.json", {"by": mine, "rows": [mine] * 2000})
    write_picture(folder / f"{number}.png", np.full((20, 20, 3), mine, np.uint8))
"""


def test_several_processes_may_write_the_same_files(tmp_path):
    runs = [
        subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path), str(number)], stderr=subprocess.PIPE)
        for number in range(2)
    ]
    assert [(run.communicate()[1], run.returncode) for run in runs] == [(b"", 0)] * 2
    assert len(list(tmp_path.iterdir())) == 40  # no half file is left
    for number in range(20):
        content = json.loads((tmp_path / f"{number}.json").read_bytes())
        assert content["rows"] == [content["by"]] * 2000
        with Image.open(tmp_path / f"{number}.png") as read:
            assert len(np.unique(np.asarray(read))) == 1
