"""Class lists as typed, as files, and as shipped."""

from __future__ import annotations

import pytest

from ovseg.errors import UsageError
from ovseg.vocabulary import (
    Vocabulary,
    as_vocabulary,
    find_vocabulary,
    list_vocabularies,
    load_vocabulary,
    parse_vocabulary,
)

SIZES = {
    "ade20k": 150, "cityscapes": 19, "coco_object": 81, "coco_stuff164k": 171,
    "pascal_context59": 59, "pascal_context60": 60, "voc20": 20, "voc21": 21,
}  # fmt: skip


def test_all_data_sets_are_there():
    assert list_vocabularies() == sorted(list_vocabularies())
    assert set(SIZES) <= set(list_vocabularies())  # the peers' lists are in test_peer_vocabularies.py


@pytest.mark.parametrize("name, size", SIZES.items())
def test_a_data_sets_vocabulary(name, size):
    found = load_vocabulary(name)
    assert len(found) == size
    assert (found.background is not None) == (name in ("voc21", "pascal_context60", "coco_object"))
    # A single word this long is two that were glued.
    words = {word for text in found.flat for word in text.split()}
    assert not words & {
        "trafficlight",
        "pottedplant",
        "diningtable",
        "tvmonitor",
        "playingfield",
        "waterdrops",
    }
    assert not any("-" in name or "_" in name for name in found.names)


def test_one_line_one_class():
    found = parse_vocabulary(
        ["# a comment", "background: wall, floor", "car : car,  automobile # two", "", "tree"]
    )
    assert found == Vocabulary(
        ("background", "car", "tree"), (("wall", "floor"), ("car", "automobile"), ("tree",)), 0
    )
    assert found.flat == ("wall", "floor", "car", "automobile", "tree") and found.owners == (0, 0, 1, 1, 2)


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "own.txt").write_text("дерево: дерево, tree\n木\n", encoding="utf-8")
    assert load_vocabulary(tmp_path / "own.txt").names == ("дерево", "木")


@pytest.mark.parametrize(
    "names", ["sky, tree", ["sky", "tree"], (" sky ", "tree"), iter(["sky", "tree"])], ids=str
)
def test_names_as_typed(names):
    found = as_vocabulary(names)
    assert found.names == ("sky", "tree") and found.owners == (0, 1) and as_vocabulary(found) is found


@pytest.mark.parametrize(
    "names, message",
    [
        ("", "got an empty text"),
        ("  ", "got an empty text"),
        ([], "got none"),
        ("sky,,tree", "letters in them"),
        (["sky", " "], "letters in them"),
        ("sky, tree, sky", "'sky' more than once"),
        (["sky", 3], "got int 3"),
    ],
)
def test_misuse(names, message):
    with pytest.raises(UsageError, match=message):
        as_vocabulary(names)


@pytest.mark.parametrize("lines", [["car:"], [": a"], ["car: a,,b"], [], ["# only a comment"]], ids=str)
def test_lines_that_cannot_be_read(lines):
    if lines == ["car:"]:  # no text behind the colon is the name itself
        assert parse_vocabulary(lines).texts == (("car",),)
        return
    with pytest.raises(UsageError, match="wanted"):
        parse_vocabulary(lines)


def test_an_unknown_vocabulary_names_the_known():
    with pytest.raises(UsageError, match="unknown vocabulary 'voc22'.*voc20, .*voc21,"):
        load_vocabulary("voc22")


def test_whatever_stands_for_a_vocabulary_is_found(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("car: car, automobile\nsky\n")
    assert find_vocabulary("voc21") == load_vocabulary("voc21")
    assert find_vocabulary(str(file)).flat == ("car", "automobile", "sky")
    assert find_vocabulary("sky, tree").names == find_vocabulary(["sky", "tree"]).names == ("sky", "tree")
    assert find_vocabulary(load_vocabulary("voc20")) is not None
    with pytest.raises(UsageError, match="unknown vocabulary 'sky': wanted a file or one of"):
        find_vocabulary("sky")


def test_background_words_make_a_class_in_front():
    found = as_vocabulary("car, tree").with_background("sky, wall")
    assert found.names == ("background", "car", "tree") and found.background == 0
    assert found.owners == (0, 0, 1, 2)
    with pytest.raises(UsageError, match="background class already"):
        found.with_background(["road"])
