"""Rows that survive a kill, and the size of a picture from the beginning of its file."""

from __future__ import annotations

import pytest
from PIL import Image

from ovseg.errors import ImageError, OvsegError
from ovseg.files.formats import upright_size
from ovseg.files.journal import append_rows, find_rows, read_row

ROWS = {"a": 1.5, "b": {"ü": [1, None]}, "c": "x\ny"}


def content(path):
    return {key: read_row(place) for key, place in find_rows(path)}


def test_rows_come_back(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert content(path) == {}
    append_rows(path, {"a": ROWS["a"]})
    append_rows(path, {key: ROWS[key] for key in "bc"})
    assert content(path) == ROWS


def test_every_cut_leaves_whole_rows_and_what_follows_is_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_rows(path, ROWS)
    whole = path.read_bytes()
    ends = [k + 1 for k, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends)
        assert list(content(path)) == list(ROWS)[:kept]
        append_rows(path, {"d": 4})
        kept += cut + 1 in ends  # the line was whole but for its end, which it now has
        assert content(path) == {key: ROWS[key] for key in list(ROWS)[:kept]} | {"d": 4}


def test_a_damaged_row_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_rows(path, ROWS)
    damaged = path.read_bytes().replace(b"1.5", b"2.5")
    path.write_bytes(damaged)
    assert list(content(path)) == ["b", "c"]
    places = dict(find_rows(path))
    path.write_bytes(b"x" * len(damaged))
    with pytest.raises(OvsegError, match="the file has changed"):
        read_row(places["b"])


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(OvsegError, match="expected to write"):
        append_rows(tmp_path / "none" / "rows.jsonl", {"a": 1})
    with pytest.raises(OvsegError, match="expected to read"):
        list(find_rows(tmp_path))


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
