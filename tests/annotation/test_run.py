"""A run survives kills, full disks, bad and changing images; nothing is lost, nothing is done twice."""

from __future__ import annotations

import errno
import glob
import hashlib
import importlib.util
import json
import os
import pickle
import random
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovseg
import ovseg.files.write
from ovseg.annotation.classes import read_classes
from ovseg.annotation.finder import LabelFinder, MaskFinder
from ovseg.annotation.run import reading
from ovseg.annotation.run.folder import RunFolder, read_run
from ovseg.annotation.run.images import find_inputs, read_rows
from ovseg.annotation.run.known import recognise
from ovseg.errors import DataError, OvsegError, UsageError
from ovseg.evaluation.data.scenes import make_scene
from ovseg.options import AnnotateOptions

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
    photos, rng = make_photos(tmp_path / "photos", 24), random.Random(7)
    slow.run(photos, tmp_path / "whole", slow.Brightness(), slow.FORMATS)
    manifest, kills, before = tmp_path / "killed" / "manifest.jsonl", 0, 0
    command = [sys.executable, str(SCRIPT), str(photos), str(tmp_path / "killed"), "0.02"]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    while kills < 3:
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
    assert kills >= 2 and before >= kills
    slow.run(photos, tmp_path / "killed", slow.Brightness(), slow.FORMATS)
    whole, killed = tree(tmp_path / "whole"), tree(tmp_path / "killed")
    assert len(whole) > 200 and killed == whole


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


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    settings = {"options": {}}
    with RunFolder(tmp_path, settings, {}), pytest.raises(UsageError, match="another run writes there"):
        RunFolder(tmp_path, settings, {})
    with RunFolder(tmp_path, settings, {}):
        pass


def test_a_finder_goes_to_another_process_by_the_names_of_its_models(models):
    model, segmenter = models
    finder = MaskFinder(model.with_method("clip_surgery"), segmenter, read_classes("bricks, gravel"))
    content = pickle.dumps(finder)
    assert len(content) < 200_000  # the texts' features, no weights
    again, picture = pickle.loads(content), make_scene(3, (48, 64)).image
    assert again.describe() == finder.describe()
    assert list(again.find([picture])) == list(finder.find([picture]))
    with pytest.raises(UsageError, match="can be loaded again"):
        pickle.dumps(ovseg.load_model("tiny", "random"))


# ------------------------------------------------------------------------------------- settings and formats


def test_other_settings_are_named_and_refused_unless_told(tmp_path, photos, slow):
    out = tmp_path / "out"
    slow.run(photos, out, slow.Brightness())
    before = tree(out)
    other = slow.Brightness(clean=0.5)
    with pytest.raises(UsageError, match=r"got others: options.clean null -> 0.5\. Take another folder"):
        slow.run(photos, out, other)
    assert tree(out) == before
    (photos / "s0" / "new.png").write_bytes((photos / "s0" / "p0.png").read_bytes())
    done = slow.run(photos, out, other, mix=True)
    assert (done.done, done.before) == (1, 10)
    _, records, _ = read_run(out)
    assert len({record.run for record in records()}) == 2


def test_another_class_list_numbers_every_file_anew(tmp_path, photos, slow):
    """Numbers of classes in files of finished images would be those of the old list."""
    out = tmp_path / "out"
    slow.run(photos, out, slow.Brightness(), formats=("yolo",))
    finder = slow.Brightness()
    slow.run(photos, out, finder, formats=("yolo",), names=["bright", "new"], mix=True)
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


def test_a_folder_with_something_else_in_its_settings_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"kind": "other"}')
    with pytest.raises(DataError, match=r"run\.json holds something else"):
        RunFolder(tmp_path, {}, {})
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
    monkeypatch.setattr(reading, "AHEAD", 1)

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


def digests(folder, names):
    return {name: digest for name, digest in tree(folder).items() if name.split("/")[0] in names}


@pytest.mark.parametrize("kind", [ValueError, MemoryError, OvsegError])
def test_a_picture_that_the_finder_cannot_take_leaves_its_batch(tmp_path, photos, slow, kind):
    """The others are one batch, which is the same in a later call."""

    class Picky(slow.Brightness):
        def find(self, pictures, wanted=None):
            for picture, found in zip(pictures, super().find(pictures, wanted), strict=True):
                if picture.shape[:2] == (33, 33):
                    raise kind("too\nlarge")
                yield found

    (photos / "s1/bad.jpg").unlink()
    Image.fromarray(make_scene(1, (33, 33)).image).save(photos / "s0" / "p00.png")  # in the first group
    out = tmp_path / "out"
    done = slow.run(photos, out, Picky())
    assert done.done == 10 and list(done.failed) == ["s0/p00.png"] and "\n" not in str(done.failed)
    scores = {record.stem: record.regions[0].score for record in read_run(out)[1]()}
    full = ["s0/p3", "s1/p0", "s1/p1", "s1/p2"]  # the only group of four pictures that can be found
    assert len(scores) == 10 and scores == {stem: 0.4 if stem in full else 0.3 for stem in scores}
    before = digests(out, ("records",))
    (out / "records/s0/p1.json").unlink()
    slow.run(photos, out, Picky())
    assert digests(out, ("records",)) == before


def test_a_batch_that_fails_as_a_whole_is_said_and_done_by_the_next_call(tmp_path, photos, slow):
    class Small(slow.Brightness):
        def find(self, pictures, wanted=None):
            if len(pictures) > 1 and fails:
                raise MemoryError
            return super().find(pictures, wanted)

    fails = [True]
    done = slow.run(photos, tmp_path / "out", Small())
    assert done.done == 0 and len(done.failed) == 11
    assert "of 4 images together, not of this one alone" in done.failed["s0/p0.png"]
    fails.clear()
    assert slow.run(photos, tmp_path / "out", Small()).done == 10
    slow.run(photos, tmp_path / "whole", slow.Brightness())
    assert digests(tmp_path / "out", ("records", "coco")) == digests(tmp_path / "whole", ("records", "coco"))


def test_decoding_ahead_is_bounded(monkeypatch, photos):
    monkeypatch.setattr(reading, "AHEAD_BYTES", 1)
    loaded = []
    monkeypatch.setattr(reading, "decode", lambda *_: loaded.append(1) or np.zeros((4, 4, 3), np.uint8))
    images, _ = find_inputs([photos], recursive=True)
    stream = reading.load_ahead(images, 3)
    next(stream)
    time.sleep(0.05)
    assert len(loaded) <= 5  # what is used, what is next, and what the threads had begun
    assert len(list(stream)) == len(images) - 1 and len(loaded) == len(images)


# ------------------------------------------------------------------- images are known by their content


def test_a_folder_of_images_that_was_moved_keeps_its_rows(tmp_path, photos, slow):
    out, finder = tmp_path / "out", slow.Brightness()
    slow.run(photos, out, slow.Brightness())
    photos.rename(tmp_path / "moved")
    os.utime(tmp_path / "moved/s0/p1.png", (1, 1))  # by a copy that does not keep times
    done = slow.run(tmp_path / "moved", out, finder)
    assert not finder.calls and (done.before, done.gone) == (10, []) and list(done.failed) == ["s1/bad.jpg"]
    for link in (out / "yolo/images").rglob("*.png"):
        assert Path(os.readlink(link)).is_relative_to(tmp_path / "moved")
    slow.run(tmp_path / "moved", tmp_path / "whole", slow.Brightness())
    parts = ("records", "coco", "label-studio")
    assert digests(out, parts) == digests(tmp_path / "whole", parts)
    before = tree(out)
    slow.run(tmp_path / "moved", out, finder)
    assert tree(out) == before and not finder.calls


def test_renamed_images_and_folders_keep_their_rows(tmp_path, photos, slow):
    out, finder = tmp_path / "out", slow.Brightness()
    slow.run(photos, out, slow.Brightness())
    (photos / "s0").rename(photos / "summer")
    (photos / "s2/p0.png").rename(photos / "s2/beach.png")
    done = slow.run(photos, out, finder)
    assert not finder.calls and (done.before, done.gone) == (10, [])
    names = [one["file_name"] for one in json.loads((out / "coco/instances.json").read_text())["images"]]
    assert sorted(names) == sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    links = [Path(os.readlink(link)) for link in (out / "yolo/images").rglob("*.png")]
    assert len(links) == 10 and all(link.is_file() for link in links)
    before = tree(out)
    slow.run(photos, out, finder)
    assert tree(out) == before and not finder.calls


def test_a_copy_is_an_image_of_its_own(tmp_path, photos, slow):
    slow.run(photos, tmp_path / "out", slow.Brightness())
    (photos / "copy.png").write_bytes((photos / "s0/p0.png").read_bytes())
    done = slow.run(photos, tmp_path / "out", slow.Brightness())
    assert (done.done, done.before, done.gone) == (1, 10, [])


def test_an_image_that_is_gone_is_said(tmp_path, photos, slow):
    slow.run(photos, tmp_path / "out", slow.Brightness())
    (photos / "s0/p0.png").unlink()
    done = slow.run(photos, tmp_path / "out", slow.Brightness())
    assert done.gone == ["s0/p0.png"] and (done.done, done.before) == (0, 10)
    assert "gone, but still in the files: s0/p0.png" in (tmp_path / "out/summary.txt").read_text()


def test_another_picture_of_the_same_size_in_bytes_is_done_again(tmp_path, slow):
    path = tmp_path / "in/a.bmp"
    save(path)
    slow.run(tmp_path / "in", tmp_path / "out", slow.Brightness(), formats=("coco",))
    content = bytearray(path.read_bytes())
    content[-1] = 255
    path.write_bytes(content)
    os.utime(path, (1, 1))
    done = slow.run(tmp_path / "in", tmp_path / "out", slow.Brightness(), formats=("coco",))
    assert done.done == 1


def test_a_touched_image_is_hashed_once(tmp_path, photos, slow, monkeypatch):
    slow.run(photos, tmp_path / "out", slow.Brightness())
    os.utime(photos / "s0/p0.png", (1, 1))
    slow.run(photos, tmp_path / "out", slow.Brightness())
    monkeypatch.setattr("ovseg.annotation.run.known.sha256_of", None)
    slow.run(photos, tmp_path / "out", slow.Brightness())


@pytest.mark.parametrize("damage", [lambda path: path.write_text("{}"), Path.unlink], ids=["size", "missing"])
def test_a_record_that_is_not_what_its_row_says_is_made_again(tmp_path, photos, slow, damage):
    slow.run(photos, tmp_path / "out", slow.Brightness())
    before = digests(tmp_path / "out", ("records",))
    damage(tmp_path / "out/records/s0/p1.json")
    assert slow.run(photos, tmp_path / "out", slow.Brightness()).done == 1
    assert digests(tmp_path / "out", ("records",)) == before


def test_digest_and_picture_are_of_one_content(tmp_path, monkeypatch):
    path, decode = tmp_path / "a.png", reading.decode
    save(path)
    first = hashlib.sha256(path.read_bytes()).hexdigest()
    save(tmp_path / "b.png", (9, 9))
    (image,), _ = find_inputs([path])

    def replaced(*args):
        (tmp_path / "b.png").replace(path)
        return decode(*args)

    monkeypatch.setattr(reading, "decode", replaced)
    loaded = reading.load(image)
    assert loaded.row["sha256"] == first and loaded.picture.shape == (8, 8, 3)

    def written(*args):
        os.utime(path, (1, 1))
        return decode(*args)

    monkeypatch.setattr(reading, "decode", written)
    changed = reading.load(image).row
    assert "was changed while it was read" in changed["error"] and changed["again"] is True


@pytest.mark.parametrize(
    "error, said, again",
    [
        (MemoryError(), "not enough memory to read it", True),
        (OSError(5, "Input/output error"), "expected to read", True),
        (ValueError("of another package"), "unexpected ValueError: of another package", None),
    ],
)
def test_only_what_may_pass_is_tried_again(tmp_path, monkeypatch, error, said, again):
    save(tmp_path / "a.png")
    (image,), _ = find_inputs([tmp_path / "a.png"])

    def fail(*args):
        raise error

    monkeypatch.setattr(reading, "decode", fail)
    loaded = reading.load(image)
    assert loaded.picture is None and loaded.row["error"].startswith(said)
    assert loaded.row.get("again") is again


# -------------------------------------------------------------------------------- what strangers wrote


def test_only_the_image_that_a_run_saw_is_linked(tmp_path, photos, slow):
    from ovseg.annotation.convert import convert
    from ovseg.annotation.formats import read_annotations

    out, secret = tmp_path / "out", tmp_path / "secret"
    slow.run(photos, out, slow.Brightness(), formats=("coco",))
    secret.write_bytes(b"a key")
    record = out / "records/s0/p0.json"
    record.write_text(record.read_text().replace(str(photos / "s0/p0.png"), str(secret)))
    manifest = out / "manifest.jsonl"
    rows = [
        line[9:].replace(str(photos / "s0/p1.png"), str(secret)) for line in manifest.read_text().splitlines()
    ]
    manifest.write_text("".join(f"{zlib.crc32(row.encode()):08x} {row}\n" for row in rows))
    convert(read_annotations(out), tmp_path / "converted", ["yolo"])
    links = [os.readlink(path) for path in (tmp_path / "converted/yolo/images").rglob("*.png")]
    assert len(links) == 9 and str(secret) not in links


@pytest.mark.parametrize("name", ["records", "yolo", "records/s0"])
def test_links_in_a_run_folder_are_not_written_through(tmp_path, photos, slow, name):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a link"):
        slow.run(photos, out, slow.Brightness())
    assert not list(elsewhere.iterdir())


# --------------------------------------------------------------------------------------------- full disks


@pytest.mark.parametrize("seconds", [0, 0.02], ids=["the finder is first", "the writer is first"])
def test_a_full_disk_stops_the_run_in_one_line_and_loses_nothing(
    tmp_path, photos, slow, monkeypatch, seconds
):
    slow.run(photos, tmp_path / "whole", slow.Brightness())
    out, create, left = tmp_path / "out", ovseg.files.write._create, [0]

    def full(partial):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return create(partial)

    monkeypatch.setattr(ovseg.files.write, "_create", full)
    for room in (10, 20):
        left[0] = room
        with pytest.raises(OvsegError, match="No space left on device"):
            slow.run(photos, out, slow.Brightness(seconds))
        assert rows(out) >= 1
        for stem in read_rows(out / "manifest.jsonl"):
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
    done = slow.run(photos, tmp_path / "out", slow.Brightness(), retry=True)
    assert (done.done, list(done.failed)) == (2, ["s1/bad.jpg"])


def test_a_write_that_fails_once_is_tried_again_by_the_next_call(tmp_path, photos, slow, monkeypatch):
    """As a network file system has it: ESTALE."""
    out, create, left = tmp_path / "out", ovseg.files.write._create, [7]

    def stale(partial):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ESTALE, "Stale file handle")
        return create(partial)

    monkeypatch.setattr(ovseg.files.write, "_create", stale)
    done = slow.run(photos, out, slow.Brightness())
    assert done.done == 9 and any("Stale file handle" in reason for reason in done.failed.values())
    done = slow.run(photos, out, slow.Brightness())
    assert done.done == 1 and list(done.failed) == ["s1/bad.jpg"]


def test_every_stage_shows_progress(tmp_path, photos, slow):
    seen = []
    for formats in (("coco",), ("coco", "label-studio", "labelme")):
        slow.run(
            photos, tmp_path / "out", slow.Brightness(), formats, progress=lambda *told: seen.append(told)
        )
    assert ("images", 11, 11, 1) in seen and ("files", 10, 10, 1) in seen
    assert seen[-10:] == [("label-studio", number, 10, 1) for number in range(1, 11)]


def test_an_unwritable_place_is_one_line(tmp_path, photos, slow):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="file is no folder"):
        slow.run(photos, tmp_path / "file" / "out", slow.Brightness())


# ------------------------------------------------------------------------------------------------- inputs


def save(path, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)


@pytest.mark.parametrize(
    "pattern", ["**/*.png", "a/**/*.png", "**", "**/b/*", "**/**/*.png", "./a/../**/x.png"]
)
def test_a_pattern_finds_what_glob_finds_and_goes_round_in_no_link(tmp_path, monkeypatch, pattern):
    """Fault 70: with two links to itself in a folder, "**" never ended."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/b/c.png", "a/x.png", "y.png", ".h/z.png", "a/.q/r.png", "b/we[i]rd.png"):
        save(tmp_path / name)
    wanted = {os.path.realpath(name) for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)}
    for number in range(2):
        (tmp_path / f"link{number}").symlink_to(tmp_path)
        (tmp_path / "a" / f"link{number}").symlink_to("..")
    found = [os.path.realpath(image.path) for image in find_inputs([pattern])[0]]
    assert len(found) == len(wanted) > 0 and set(found) == wanted


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
    images, _ = find_inputs([tmp_path / "in"])
    assert [image.stem for image in images] == ["x.jpg", "x.png"]
    rows = read_rows(tmp_path / "out/manifest.jsonl")
    assert [(image.stem, image.path.name) for image in recognise(images, rows)] == [
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
    slow.run(tmp_path / "in", tmp_path / "out", slow.Brightness(), slow.FORMATS)
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
    with pytest.raises(UsageError, match="expected"):
        find_inputs([given])


def test_label_maps_of_a_run_follow_edges_where_asked(tmp_path, models):
    names, picture = ["bricks", "gravel", "waves"], make_scene(3, (48, 64)).image
    options = AnnotateOptions(task="labels", edges="guided", templates="plain")
    (found,) = LabelFinder(models[0], read_classes(names), options).find([picture])
    wanted = models[0].segment(picture, names, edges="guided", templates="plain")
    plain = models[0].segment(picture, names, templates="plain")
    assert wanted != plain and {one.label for one in found.regions} == set(wanted.areas)
    assert all(np.array_equal(one.mask.array(), wanted[one.label]) for one in found.regions)
