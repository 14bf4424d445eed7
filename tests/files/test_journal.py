"""Rows that survive a kill, and the size of a picture from the beginning of its file."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys

import pytest
from PIL import Image

from ovseg.errors import ImageError, OvsegError, UsageError
from ovseg.files.formats import upright_size
from ovseg.files.journal import Journal, read_row
from ovseg.files.write import locked

ROWS = [1.5, {"ü": [1, None], "file": "caf\udce9"}, "x\ny", None]


def content(path):
    return [read_row(place) for place, _ in Journal(path).rows()]


def append(path, rows):
    with Journal(path) as journal:
        journal.append(rows)


def test_rows_come_back(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert content(path) == [] and Journal(path).repair() == 0
    with Journal(path) as journal:
        assert not path.exists()  # nothing was measured: no file
        journal.append(ROWS[:1])
        assert content(path) == ROWS[:1]
        journal.append(ROWS[1:])
    assert content(path) == ROWS == [row for _, row in Journal(path).rows()]


def test_every_cut_leaves_whole_rows_and_what_follows_is_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    append(path, ROWS)
    whole = path.read_bytes()
    ends = [k + 1 for k, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends)
        assert content(path) == ROWS[:kept]
        append(path, [4])
        kept += cut + 1 in ends  # the line was whole but for its end, which it now has
        assert content(path) == [*ROWS[:kept], 4]


def test_damaged_rows_are_left_out_counted_and_removed(tmp_path):
    path = tmp_path / "rows.jsonl"
    append(path, ROWS)
    path.write_bytes(path.read_bytes().replace(b"1.5", b"2.5") + b"0123abcd {torn")
    assert content(path) == ROWS[1:]
    assert (Journal(path).repair(), Journal(path).repair()) == (2, 0)
    assert content(path) == ROWS[1:]
    place, _ = next(iter(Journal(path).rows()))
    path.write_bytes(b"x" * place.length)
    with pytest.raises(OvsegError, match="the file has changed"):
        read_row(place)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path):
    with pytest.raises(OvsegError, match="expected to write"):
        append(tmp_path / "none" / "rows.jsonl", [1])
    with pytest.raises(OvsegError, match="expected to read"):
        list(Journal(tmp_path).rows())
    path = tmp_path / "rows.jsonl"
    append(path, ROWS)
    before = path.read_bytes()
    with Journal(path) as journal:
        journal.append([5])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))  # a disk that is nearly full
        try:
            with pytest.raises(OvsegError, match="expected to write"):
                journal.append(["x" * 40])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(path) == [*ROWS, 5]


def test_a_lock_keeps_others_out_until_it_is_let_go(tmp_path):
    path = tmp_path / ".lock"
    code = (
        f"import pathlib, ovseg.files.write as w\nwith w.locked(pathlib.Path({str(path)!r}), wait=False): 0"
    )

    with locked(path), pytest.raises(UsageError, match="for this run alone, another run writes there"):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "another run writes there" in other.stderr
        with locked(path, wait=False):
            pass
    with locked(path, wait=False):
        pass
    with pytest.raises(OvsegError, match="expected to write"), locked(path / ".lock"):
        pass


def test_sizes_of_files(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 3)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("L", (4, 3)).save(tmp_path / "a.png")
    Image.new("I;16", (4, 3)).save(tmp_path / "a.tif")
    assert [upright_size(tmp_path / f"a.{e}") for e in ("jpg", "png", "tif")] == [(4, 3), (3, 4), (3, 4)]
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    (tmp_path / "c.png").write_bytes(b"")
    for name in ("b.png", "c.png", "none.png"):
        with pytest.raises(ImageError, match="expected"):
            upright_size(tmp_path / name)
