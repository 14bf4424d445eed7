"""A run survives kills, full disks, bad and changing images; nothing is lost, nothing is done twice."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovseg
import ovseg.files.write
from ovseg.annotation.folder import RunFolder, read_run
from ovseg.annotation.inputs import find_inputs, keep_stems
from ovseg.annotation.manifest import Manifest
from ovseg.errors import DataError, OvsegError, UsageError
from ovseg.evaluation.data.scenes import make_scene

HERE = Path(__file__).parent
SCRIPT = HERE / "slow_finder.py"


@pytest.fixture(scope="module")
def slow():
    """tests/annotation/slow_finder.py."""
    spec = importlib.util.spec_from_file_location("slow_finder", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_photos(folder, count):
    """Scenes of mixed sizes in three folders, and one file that is no image."""
    rng = random.Random(4)
    for seed in range(count):
        place = folder / f"s{seed % 3}"
        place.mkdir(parents=True, exist_ok=True)
        size = (rng.choice([16, 24, 32]), rng.choice([16, 32, 40]))
        Image.fromarray(make_scene(seed, size).image).save(place / f"p{seed // 3}.png")
    (folder / "s1" / "bad.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos", 10)


def tree(folder):
    """The digest of every file of a run folder but its lock; links by where they lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name == ".lock" or (path.is_dir() and not path.is_symlink()):
            continue
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def rows(folder):
    return (folder / "manifest.jsonl").read_bytes().count(b"\n")


# ------------------------------------------------------------------------------------------------ kills


def test_kills_at_random_moments_leave_the_bytes_of_an_undisturbed_run(tmp_path, slow):
    photos, rng = make_photos(tmp_path / "photos", 40), random.Random(7)
    slow.run(photos, tmp_path / "whole", slow.Brightness())
    manifest, kills, before = tmp_path / "killed" / "manifest.jsonl", 0, 0
    command = [sys.executable, str(SCRIPT), str(photos), str(tmp_path / "killed"), "0.02"]
    environment = {**os.environ, "PYTHONPATH": str(Path(ovseg.files.write.__file__).parents[2])}
    while kills < 5:
        process = subprocess.Popen(command, env=environment)
        limit = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < limit:
            if manifest.exists() and rows(tmp_path / "killed") > before:
                break
            time.sleep(0.005)
        time.sleep(rng.random() * 0.1)
        process.kill()
        if process.wait() != -9:
            break
        kills += 1
        before = rows(tmp_path / "killed")
    assert kills >= 3 and before > 3
    slow.run(photos, tmp_path / "killed", slow.Brightness())
    whole, killed = tree(tmp_path / "whole"), tree(tmp_path / "killed")
    assert len(whole) > 300 and killed == whole


def test_a_torn_line_is_cut_and_its_image_done_again(tmp_path, photos, slow):
    slow.run(photos, tmp_path / "whole", slow.Brightness())
    out, finder = tmp_path / "out", slow.Brightness()
    slow.run(photos, out, slow.Brightness())
    path = out / "manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + b"".join(lines[4:-1]) + lines[-1][:-9])  # one missing, one torn
    (out / ".ovseg-1-partial").write_bytes(b"what a killed run was writing")
    slow.run(photos, out, finder)
    assert sum(sum(wanted) for _, wanted in finder.calls) == 2
    one, other = tree(tmp_path / "whole"), tree(out)
    del one["manifest.jsonl"], other["manifest.jsonl"]  # the two lines stand at its end now
    assert one == other and rows(out) == len(lines)


def test_a_group_goes_through_clip_as_a_whole_again(tmp_path, photos, slow):
    """Scores of the fake finder depend on the batch, as the last bits of CLIP's features do."""
    out, finder = tmp_path / "out", slow.Brightness()
    slow.run(photos, out, slow.Brightness())
    before = tree(out)
    (out / "records" / "s0" / "p1.json").unlink()
    slow.run(photos, out, finder)
    assert finder.calls == [(4, [False, True, False, False])]
    assert {k: v for k, v in tree(out).items() if k != "manifest.jsonl"} == {
        k: v for k, v in before.items() if k != "manifest.jsonl"
    }


def test_a_finished_run_computes_and_writes_nothing_again(tmp_path, photos, slow):
    out, finder = tmp_path / "out", slow.Brightness()
    first = slow.run(photos, out, slow.Brightness())
    before, size = tree(out), (out / "manifest.jsonl").stat().st_size
    second = slow.run(photos, out, finder)
    assert not finder.calls and tree(out) == before and (out / "manifest.jsonl").stat().st_size == size
    assert (first.done, first.before, second.done, second.before) == (10, 0, 0, 10)
    assert first.failed == second.failed and list(first.failed) == ["s1/bad.jpg"]


def test_two_runs_do_not_write_into_one_folder(tmp_path, photos, slow):
    first = RunFolder(tmp_path / "out", slow.SETTINGS, {})
    with first, pytest.raises(UsageError, match="another run writes there"):
        RunFolder(tmp_path / "out", slow.SETTINGS, {})
    slow.run(photos, tmp_path / "out", slow.Brightness())


# ------------------------------------------------------------------------------------- settings and formats


def test_other_settings_are_named_and_refused_unless_told(tmp_path, photos, slow):
    out = tmp_path / "out"
    slow.run(photos, out, slow.Brightness())
    before = tree(out)
    other = {**slow.SETTINGS, "options": {"task": "instances", "clean": 0.5}}
    with pytest.raises(UsageError, match=r"got others: options.clean null -> 0.5\. Take another folder"):
        slow.run(photos, out, slow.Brightness(), settings=other)
    assert tree(out) == before
    (photos / "s0" / "new.png").write_bytes((photos / "s0" / "p0.png").read_bytes())
    done = slow.run(photos, out, slow.Brightness(), settings=other, mix=True)
    assert (done.done, done.before) == (1, 10)
    _, records, _ = read_run(out)
    assert len({record.run for record in records()}) == 2


def test_another_class_list_numbers_every_file_anew(tmp_path, photos, slow):
    """Numbers of classes in files of finished images would be those of the old list."""
    out = tmp_path / "out"
    slow.run(photos, out, slow.Brightness(), formats=("yolo",))
    other = {**slow.SETTINGS, "classes": {"names": ["bright", "new"]}}
    finder = slow.Brightness()
    slow.run(photos, out, finder, formats=("yolo",), settings=other, mix=True)
    assert not finder.calls
    assert '0: "bright"\n  1: "new"\n  2: "dark"' in (out / "yolo/data.yaml").read_text()
    _, records, _ = read_run(out)
    for record in records():
        listed = (out / "yolo/labels" / f"{record.stem}.txt").read_text().splitlines()
        wanted = [{"dark": "2", "bright": "0"}[one.label] for one in record.regions]
        assert [row.split()[0] for row in listed] == wanted


def test_a_format_that_is_asked_for_later_needs_no_model(tmp_path, photos, slow):
    out, finder = tmp_path / "out", slow.Brightness()
    slow.run(photos, tmp_path / "whole", slow.Brightness(), formats=("coco", "voc"))
    slow.run(photos, out, slow.Brightness(), formats=("coco",))
    slow.run(photos, out, finder, formats=("coco", "voc"))
    assert not finder.calls
    one, other = tree(tmp_path / "whole"), tree(out)
    assert one["voc/labelmap.txt"] and {k: v for k, v in one.items() if k[:3] in ("voc", "coc", "rec")} == {
        k: v for k, v in other.items() if k[:3] in ("voc", "coc", "rec")
    }


def test_a_folder_with_something_else_in_its_settings_is_refused(tmp_path, slow):
    (tmp_path / "run.json").write_text('{"kind": "other"}')
    with pytest.raises(DataError, match=r"run\.json holds something else"):
        RunFolder(tmp_path, slow.SETTINGS, {})
    with pytest.raises(DataError, match=r"has no run\.json"):
        read_run(tmp_path.parent)


# ---------------------------------------------------------------------------------- bad and changing images


def test_a_bad_image_is_recorded_and_tried_again_when_its_file_changes(tmp_path, photos, slow):
    out = tmp_path / "out"
    first = slow.run(photos, out, slow.Brightness())
    assert "bad.jpg" in first.failed["s1/bad.jpg"]
    finder = slow.Brightness()
    slow.run(photos, out, finder)
    assert not finder.calls
    slow.run(photos, out, finder, retry=True)
    assert not any(any(wanted) for _, wanted in finder.calls) and rows(out) == 11
    Image.fromarray(make_scene(1, (16, 16)).image).save(photos / "s1" / "bad.jpg")
    last = slow.run(photos, out, finder)
    assert last.done == 1 and not last.failed and (out / "yolo/labels/s1/bad.txt").is_file()


def test_images_that_vanish_or_change(tmp_path, photos, slow, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr("ovseg.annotation.ahead.AHEAD", 1)

    class Vanishing(slow.Brightness):
        def find(self, pictures, wanted=None):
            for path in photos.glob("s2/*.png"):
                path.unlink()
            return super().find(pictures, wanted)

    first = slow.run(photos, out, Vanishing())
    assert any("does not exist" in reason for reason in first.failed.values()) and first.done >= 7
    kept = {name for name in first.failed if name.startswith("s2/")}
    os.utime(photos / "s0" / "p0.png", (1, 1))  # touched: the same
    Image.fromarray(make_scene(99, (20, 20)).image).save(photos / "s0" / "p1.png")  # another picture
    second = slow.run(photos, out, slow.Brightness())
    assert second.done == 1 and not kept & set(second.failed)  # what is no longer there is not asked for
    _, records, _ = read_run(out)
    sizes = {record.stem: record.size for record in records()}
    assert sizes["s0/p1"] == (20, 20)


@pytest.mark.parametrize("kind", [ValueError, MemoryError, OvsegError])
def test_a_picture_that_the_finder_cannot_take_does_not_stop_the_others(tmp_path, photos, slow, kind):
    class Picky(slow.Brightness):
        def find(self, pictures, wanted=None):
            for picture, found in zip(pictures, super().find(pictures, wanted), strict=True):
                if picture.shape[1::-1] == sizes[0]:
                    raise kind("too\nnarrow")
                yield found

    sizes = [ovseg.load_image(path).shape[1::-1] for path in sorted(photos.rglob("*.png"))]
    narrow = sizes.count(sizes[0])
    done = slow.run(photos, tmp_path / "out", Picky())
    assert done.done == 10 - narrow and len(done.failed) == 1 + narrow
    assert all("\n" not in reason for reason in done.failed.values())


def test_decoding_ahead_is_bounded(monkeypatch, tmp_path, photos):
    from ovseg.annotation import ahead

    monkeypatch.setattr(ahead, "AHEAD_BYTES", 1)
    loaded = []
    monkeypatch.setattr(
        ahead, "load_image", lambda path: loaded.append(path) or np.zeros((4, 4, 3), np.uint8)
    )
    jobs, _ = find_inputs([photos], recursive=True)
    stream = ahead.load_ahead(jobs, 3)
    next(stream)
    time.sleep(0.05)
    assert len(loaded) <= 5  # what is used, what is next, and what the threads had begun
    assert len(list(stream)) == len(jobs) - 1 and len(loaded) == len(jobs)


# --------------------------------------------------------------------------------------------- full disks


@pytest.mark.parametrize("seconds", [0, 0.02], ids=["the finder is first", "the writer is first"])
def test_a_full_disk_stops_the_run_in_one_line_and_loses_nothing(
    tmp_path, photos, slow, monkeypatch, seconds
):
    slow.run(photos, tmp_path / "whole", slow.Brightness())
    out, create, left = tmp_path / "out", ovseg.files.write._create, [25]

    def full(partial):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return create(partial)

    monkeypatch.setattr(ovseg.files.write, "_create", full)
    for room in (25, 40):
        left[0] = room
        with pytest.raises(OvsegError, match="No space left on device"):
            slow.run(photos, out, slow.Brightness(seconds))
        assert rows(out) >= 1
        for stem in Manifest(out / "manifest.jsonl").rows:
            assert (out / "records" / f"{stem}.json").is_file() or stem == "s1/bad"
    monkeypatch.undo()
    slow.run(photos, out, slow.Brightness())
    assert tree(out) == tree(tmp_path / "whole")


def test_a_file_that_cannot_be_written_is_its_own_images_fault_where_there_is_room(
    tmp_path, photos, slow, monkeypatch
):
    """A path that is too long for the file system, or a fault in a writer: the other images go on."""
    from ovseg.annotation.formats import WRITERS

    write = WRITERS["labelme"].write
    faults = {"s0/p1": OvsegError("expected to write x: File name too long"), "s2/p0": ValueError("a fault")}

    def faulty(writer, record):
        if record.stem in faults:
            raise faults[record.stem]
        write(writer, record)

    monkeypatch.setattr(WRITERS["labelme"], "write", faulty)
    done = slow.run(photos, tmp_path / "out", slow.Brightness())
    assert done.done == 8 and done.failed["s0/p1.png"].endswith("File name too long")
    assert done.failed["s2/p0.png"] == "unexpected ValueError: a fault"
    assert not list((tmp_path / "out").glob(".ovseg-*"))
    monkeypatch.undo()
    assert slow.run(photos, tmp_path / "out", slow.Brightness(), retry=True).done == 2


def test_a_row_that_does_not_fit_leaves_the_manifest_as_it_was(tmp_path, monkeypatch):
    with Manifest(tmp_path / "m") as manifest:
        manifest.append({"stem": "a"})
        before = (tmp_path / "m").read_bytes()
        write = os.write
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))
        with pytest.raises(OvsegError, match="No space left"):
            manifest.append({"stem": "b"})
        monkeypatch.undo()
        assert (tmp_path / "m").read_bytes() == before
        manifest.append({"stem": "c"})
    with Manifest(tmp_path / "m") as again:
        assert list(again.rows) == ["a", "c"] and not again.damaged


def test_an_unwritable_place_is_one_line(tmp_path, photos, slow):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="file is no folder"):
        slow.run(photos, tmp_path / "file" / "out", slow.Brightness())


# ------------------------------------------------------------------------------------------------- inputs


def save(path, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)


def test_equal_names_in_different_folders_and_endings(tmp_path, slow):
    for name in ("a/x.png", "b/x.png", "a/y.png", "a/y.jpg"):
        save(tmp_path / name)
    jobs, _ = find_inputs([tmp_path / "a", tmp_path / "b"])
    assert [(job.stem, job.name) for job in jobs] == [
        ("a_x", "a_x.png"),
        ("b_x", "b_x.png"),
        ("y.jpg", "y.jpg"),
        ("y.png", "y.png"),
    ]
    done = slow.run(tmp_path, tmp_path / "out", slow.Brightness())
    assert done.done == 4
    content = json.loads((tmp_path / "out/coco/instances.json").read_text())
    assert [one["file_name"] for one in content["images"]] == ["a/x.png", "a/y.jpg", "a/y.png", "b/x.png"]


def test_names_stay_when_other_images_come(tmp_path, slow):
    save(tmp_path / "in/x.png")
    slow.run(tmp_path / "in", tmp_path / "out", slow.Brightness(), formats=("yolo",))
    save(tmp_path / "in/x.jpg")
    jobs, _ = find_inputs([tmp_path / "in"])
    assert [job.stem for job in jobs] == ["x.jpg", "x.png"]
    with RunFolder(tmp_path / "out", slow.SETTINGS, {}) as folder:
        assert sorted((job.stem, job.image.name) for job in keep_stems(jobs, folder.manifest.rows)) == [
            ("x", "x.png"),
            ("x.jpg", "x.jpg"),
        ]


def test_lists_patterns_and_the_run_folder_within_the_images(tmp_path, monkeypatch):
    for name in ("in/a.png", "in/sub/b.png", "in/run/mmseg/labels/c.png", "else/d.png"):
        save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    jobs, lines = find_inputs(["in"], recursive=True, out=Path("in/run"))
    assert [job.name for job in jobs] == ["a.png", "sub/b.png"] and "in the run folder" in lines[0]
    assert [job.name for job in find_inputs(["in/**/*.png"], out=Path("in/run"))[0]] == ["a.png", "sub/b.png"]
    (tmp_path / "list.txt").write_text("# some\nin/a.png\n\nelse/d.png\n")
    assert [job.name for job in find_inputs(["list.txt"])[0]] == ["else/d.png", "in/a.png"]
    (tmp_path / "in/list.txt").write_text("sub/b.png\n../else/d.png\nmissing.png\n")
    assert [job.stem for job in find_inputs(["in/list.txt"])[0]] == ["d", "missing", "sub/b"]
    monkeypatch.chdir(tmp_path / "in")
    assert [job.stem for job in find_inputs([".", "../else/d.png"])[0]] == ["a", "d"]


def test_turned_photographs_are_annotated_upright(tmp_path, slow):
    """LabelMe refuses a file whose size is not that of the image as it turns it."""
    from ovseg.annotation.formats import read_annotations

    (tmp_path / "in").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(make_scene(2, (24, 40)).image).save(tmp_path / "in/a.jpg", exif=exif)
    slow.run(tmp_path / "in", tmp_path / "out", slow.Brightness())
    for name in ("run", "coco", "coco-panoptic", "yolo", "labelme", "label-studio", "cvat", "voc", "mmseg"):
        folder = tmp_path / "out" if name == "run" else tmp_path / "out" / name
        (record,) = read_annotations(folder, name).records()
        assert record.size == (40, 24) and len(record.regions) == 2
    label_file = pytest.importorskip("labelme._label_file", reason="labelme is not installed")
    assert len(label_file.read_label_file(str(tmp_path / "out/labelme/a.json")).shapes) == 2


def test_what_another_run_wrote_is_no_input(tmp_path, photos, slow):
    slow.run(photos, photos / "first", slow.Brightness())
    jobs, lines = find_inputs([photos], recursive=True, out=tmp_path / "out")
    assert len(jobs) == 11 and any("files in run folders below" in line for line in lines)
    images = photos / "first" / "yolo" / "images"
    assert len(find_inputs([images], recursive=True)[0]) == 10  # named itself, it is meant


@pytest.mark.parametrize("given", ["empty", "no/*.png", "list.txt", ""])
def test_no_images_is_misuse(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(UsageError, match="wanted"):
        find_inputs([given])
