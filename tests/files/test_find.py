"""Which files of a folder are images, and what their results are called."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg.errors import UsageError
from ovseg.files import find
from ovseg.files.find import find_images, output_stems
from ovseg.files.write import write_json, write_labels, write_mask, write_picture
from ovseg.results.figures import palette


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def names(files, folder):
    return [file.relative_to(folder).as_posix() for file in files]


def test_folders_are_searched_in_order_and_nothing_is_taken_twice(tmp_path):
    touch(tmp_path, "a/x.png", "a/x.JPG", "b/x.png", "a/note.txt", "a/sub/y.png")
    (tmp_path / "none").mkdir()
    given = [tmp_path / "a", str(tmp_path / "b" / "x.png"), tmp_path / "none", tmp_path / "a"]
    files, lines = find_images(given)
    assert names(files, tmp_path) == ["a/x.JPG", "a/x.png", "b/x.png"]
    (line,) = lines
    assert "none holds none" in line and ".jpg" in line


def test_sub_folders_are_searched_on_request(tmp_path):
    touch(tmp_path, "x.png", "sub/y.png", "sub/below/z.gif", ".hidden/w.png")
    assert names(find_images([tmp_path], recursive=True)[0], tmp_path) == [
        "sub/below/z.gif",
        "sub/y.png",
        "x.png",
    ]
    os.symlink(tmp_path, tmp_path / "sub" / "circle")
    assert len(find_images([tmp_path], recursive=True)[0]) == 3


def test_hidden_files_pipes_and_broken_links_are_no_images(tmp_path):
    touch(tmp_path, "x.png", "._x.png", ".x.png", ".ovseg-17-ab")
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink(tmp_path / "gone.png", tmp_path / "link.png")
    os.symlink("circle.png", tmp_path / "circle.png")  # to itself
    (tmp_path / "folder.png").mkdir()
    assert names(find_images([tmp_path])[0], tmp_path) == ["x.png"]


def test_a_second_run_does_not_take_the_results_of_the_first(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.jpg")
    Image.fromarray(picture).save(tmp_path / "IMG.2020.1.png")
    before = find_images([tmp_path])
    write_labels(tmp_path / "photo.labels.png", picture[..., 0], palette(2))
    write_labels(tmp_path / "photo.large.png", picture[..., 0].astype(np.uint16), palette(2))
    write_mask(tmp_path / "photo.a_dog.1.png", picture[..., 0] > 0)
    for ending in ("overlay.png", "explain.jpg", "masks.png", "anything.png"):
        write_picture(tmp_path / f"photo.{ending}", picture)
    write_json(tmp_path / "photo.json", {})
    for name in ("photo", "photo.jpg"):  # converted: their mark is gone
        Image.fromarray(picture).save(tmp_path / f"{name}.overlay.webp")
    assert find_images([tmp_path]) == before and len(before[0]) == 2
    assert len(find_images([tmp_path / "photo.labels.png"])[0]) == 1  # named directly, it is taken
    (tmp_path / "out").mkdir()
    write_mask(tmp_path / "out" / "photo.cow.1.png", picture[..., 0] > 0)
    assert find_images([tmp_path], recursive=True) == before
    files, (line,) = find_images([tmp_path / "out"])
    assert not files and "1 results of ovseg are no inputs" in line


def test_photographs_with_dots_in_their_names_are_kept(tmp_path):
    touch(tmp_path, "IMG.jpg", "IMG.1.png", "scan.labels.png", ".png", "a..png")
    assert len(find_images([tmp_path])[0]) == 4


def test_formats_that_nothing_reads_are_counted_with_a_hint(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    touch(tmp_path, "a.jpg", "b.HEIC", "c.heic", "d.cr2")
    files, (line,) = find_images([tmp_path])
    assert names(files, tmp_path) == ["a.jpg"]
    assert "2 .heic (HEIC needs pillow-heif" in line and "1 .cr2 (convert" in line and "\n" not in line
    (tmp_path / "a.jpg").unlink()
    files, (line,) = find_images([tmp_path])
    assert not files and "holds none" in line and "2 .heic" in line
    monkeypatch.setattr(find, "SUFFIXES", find.SUFFIXES - {".avif"})
    touch(tmp_path, "e.avif")
    assert "1 .avif (AVIF needs a newer Pillow" in find_images([tmp_path])[1][0]


def test_heic_is_taken_where_pillow_heif_is_installed(tmp_path, monkeypatch):
    calls = []
    stand_in = types.SimpleNamespace(register_heif_opener=lambda: calls.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", stand_in)
    touch(tmp_path, "a.heic", "b.HEIF")
    assert len(find_images([tmp_path])[0]) == 2 and calls


def test_gif_and_avif_are_taken_and_read(tmp_path):
    from ovseg.files.pictures import load_image

    for ending in ("gif", "avif"):
        Image.new("RGB", (16, 12), "red").save(tmp_path / f"a.{ending}")
    files, lines = find_images([tmp_path])
    assert len(files) == 2 and not lines
    assert all(load_image(file).shape == (12, 16, 3) for file in files)


def test_a_quoted_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "pictures/a.png")
    assert find_images(["~/pictures"]) == ([tmp_path / "pictures" / "a.png"], [])
    assert find_images(["~/a.png"])[0] == [tmp_path / "a.png"]
    assert list(output_stems([tmp_path / "pictures/a.png"], ["~"]).values()) == ["pictures/a"]


@pytest.mark.parametrize(
    "files, searched, wanted",
    [
        (["a/x.jpg"], [], ["x"]),
        (["a/x.jpg", "a/y.jpg"], [], ["x", "y"]),
        (["a/x.jpg", "a/x.png"], [], ["x.jpg", "x.png"]),
        (["a/x.jpg", "b/x.jpg"], [], ["a_x", "b_x"]),
        (["a/x.jpg", "b/x.jpg", "b/y.jpg"], [], ["a_x", "b_x", "y"]),
        (["p/a/x.jpg", "q/a/x.jpg"], [], ["a_x_1", "a_x_2"]),
        (["a/s/x.jpg", "a/t/x.jpg", "a/x.jpg"], ["a"], ["s/x", "t/x", "x"]),
        (["a/s/x.jpg", "b/s/x.jpg"], ["a", "b"], ["s/a_x", "s/b_x"]),
        (["a/x.jpg", "a/x.png", "a/x.jpg.png"], [], ["x.jpg_1", "x.png", "x.jpg"]),
        (["x.tar.jpg"], [], ["x.tar"]),
    ],
)
def test_names_of_results(files, searched, wanted):
    found = output_stems(map(Path, files), searched)
    assert sorted(found.values()) == sorted(set(found.values()))
    if "x.jpg_1" not in wanted:
        assert list(found.values()) == wanted
        backwards = output_stems([Path(f) for f in reversed(files)], searched)
        assert wanted[-1][-2:] in ("_2", "_1") or backwards == found  # the order of files does not matter


def test_long_names_leave_room_for_an_ending():
    files = [Path("я" * 120 + ".jpg"), Path("я" * 120 + "ж.jpg"), Path("d" * 250)]
    stems = list(output_stems(files).values())
    assert len(set(stems)) == 3
    assert all(len(os.fsencode(stem)) <= find.LONGEST for stem in stems)
    assert output_stems(files[:1])[files[0]] == stems[0]  # whatever else is in the call


@pytest.mark.parametrize("wrong", ["photo.jpg", Path("a"), [None], [5], [b"a"]])
def test_paths_are_a_list(wrong):
    with pytest.raises(UsageError, match="expected a list of paths"):
        find_images(wrong)


def test_a_folder_that_may_not_be_read_is_told_and_the_others_are_searched(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "locked/b.png")
    plain = os.scandir

    def refused(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return plain(folder)

    monkeypatch.setattr(os, "scandir", refused)
    files, (line,) = find_images([tmp_path], recursive=True)
    assert names(files, tmp_path) == ["a.png"] and "locked cannot be searched: Permission denied" in line
    files, (line,) = find_images([tmp_path / "locked"])
    assert not files and "locked cannot be searched: Permission denied" in line


def test_names_of_many_files_take_linear_work(monkeypatch):
    counted = []
    plain = find._choices
    monkeypatch.setattr(find, "_choices", lambda *arguments: counted.append(1) or plain(*arguments))
    files = [Path(f"d{number % 50}/{number // 50}/x.jpg") for number in range(2_000)]
    stems = output_stems(files)
    assert len(set(stems.values())) == len(stems) == len(counted)


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda path: path.symlink_to("gone"), "is a link to nothing"),
        (lambda path: os.mkfifo(path), "exists, but is no file"),
    ],
    ids=["link", "pipe"],
)
def test_what_is_named_like_an_image_and_is_no_file_is_said(tmp_path, make, reason, others):
    for number in range(others):
        (tmp_path / f"{number}.png").write_bytes(b"")
    make(tmp_path / "a.PNG")
    (tmp_path / "notes.txt").symlink_to("gone")
    (tmp_path / "folder.png").mkdir()
    files, lines = find_images([tmp_path])
    assert len(files) == others
    assert lines == [f"expected an image file, {tmp_path / 'a.PNG'} {reason}"]
