"""Class lists as typed, as files, and as shipped."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ovseg.errors import UsageError
from ovseg.words.background import stuff, with_background
from ovseg.words.vocabulary import (
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
        ("background", "car", "tree"), (("wall", "floor"), ("car", "automobile"), ("tree",))
    )
    assert found.background == 0
    assert found.flat == ("wall", "floor", "car", "automobile", "tree") and found.owners == (0, 0, 1, 1, 2)


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "own.txt").write_text("дерево: дерево, tree\n木\n", encoding="utf-8")
    assert load_vocabulary(tmp_path / "own.txt").names == ("дерево", "木")


@pytest.mark.parametrize(
    "names",
    ["sky, tree", ["sky", "tree"], (" sky ", "tree"), iter(["sky", "tree"])],
    ids=["text", "list", "tuple", "iterator"],
)
def test_names_as_typed(names):
    found = as_vocabulary(names)
    assert found.names == ("sky", "tree") and found.owners == (0, 1) and as_vocabulary(found) is found


@pytest.mark.parametrize(
    "names",
    [
        "car, Background ",
        ["car", "background"],
        (name for name in ("car", "BACKGROUND")),
        {"car": "car, automobile", "background": ["wall", "floor"]},
        Vocabulary(("car", "background"), (("car",), ("wall",))),
        parse_vocabulary("car\nbackground: wall"),
    ],
    ids=["text", "list", "generator", "dict", "vocabulary", "file"],
)
def test_the_class_background_is_the_background_however_names_arrive(names):
    found = as_vocabulary(names)
    assert found.background == 1 and found.names[0] == "car"
    with pytest.raises(UsageError, match="background class already"):
        found.with_background("sky")


def test_other_names_are_not_the_background():
    assert as_vocabulary("back ground, backgrounds, car").background is None


def test_a_dict_gives_each_names_texts():
    found = as_vocabulary({"car": "car, automobile", "salt, pepper": ["salt, and pepper"], "sky": "sky"})
    assert found.names == ("car", "salt, pepper", "sky")
    assert found.texts == (("car", "automobile"), ("salt, and pepper",), ("sky",))


@pytest.mark.parametrize(
    "names, message",
    [
        ("", "got an empty text"),
        ("  ", "got an empty text"),
        ("sky,", "expected a name between all commas, got 'sky,'"),
        (",", "expected a name between all commas, got ','"),
        ("sky,,tree", "expected a name between all commas, got 'sky,,tree'"),
        ([], "got none"),
        ({}, "got none"),
        (["sky", " "], "at least one visible character, got ''"),
        (["\x00"], "visible character"),
        (["\u200b"], "visible character"),
        (["caf\udce9"], "not UTF-8"),
        ("sky, tree, sky", "'sky' more than once"),
        (["sky", "tree", " sky"], "'sky' more than once"),
        (["Traffic light", "traffic  Light"], "'Traffic light' and 'traffic  Light', which differ in case"),
        (["background", "Background"], "differ in case or spaces only"),
        (["sky", 3], "got int 3"),
        (["sky", None], "got NoneType None"),
        (["sky", b"tree"], "got bytes b'tree'"),
        ([["sky", "tree"]], "got list"),
        (None, "names as a list, got NoneType None"),
        (5, "names as a list, got int 5"),
        (True, "names as a list, got bool True"),
        (b"sky, tree", "names as a list, got bytes"),
        (bytearray(b"sky"), "names as a list, got bytearray"),
        (np.zeros((4, 4, 3), np.uint8), "each name as a text, got ndarray"),
        (np.array(3), "names as a list, got ndarray"),
        (np.array(["sky"]).reshape(1, 1), "each name as a text, got ndarray"),
        (Path("sky"), "names as a list, got PosixPath"),
        pytest.param({"sky", "tree"}, "in an order, got a set", id="a set"),
        (frozenset(["sky"]), "in an order, got a frozenset"),
        (itertools.repeat("sky"), "up to 100000, got more"),
        ({"car": None}, "texts for 'car' as a list, got NoneType"),
        ({"car": []}, "at least one text for 'car', got none"),
        ({"car": ""}, "at least one text of 'car', got an empty text"),
        ({"car": "car,"}, "a text of 'car' between all commas, got 'car,'"),
        ({"car": ["car", 5]}, "each text of 'car' as a text, got int 5"),
        pytest.param({"car": {"car", "automobile"}}, "in an order, got a set", id="a set of texts"),
        ({5: "car"}, "each name as a text, got int 5"),
        ({None: "car"}, "got NoneType"),
    ],
    ids=repr,
)
def test_what_are_no_names_is_misuse_in_one_line(names, message):
    with pytest.raises(UsageError, match=message) as caught:
        as_vocabulary(names)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "names, texts, message",
    [
        ((), (), "at least one name"),
        (("a", "b"), (("a",),), "each of 2 names, got 1"),
        ("ab", (("a",), ("b",)), "names as a list, got str"),
        (("a",), "a", "a row of texts for each name as a list, got str"),
        (("a",), ((),), "at least one text for 'a'"),
        (("a",), (None,), "texts for 'a' as a list"),
        ((None,), (("a",),), "each name as a text"),
    ],
)
def test_a_vocabulary_checks_what_it_is_made_of(names, texts, message):
    with pytest.raises(UsageError, match=message):
        Vocabulary(names, texts)


def test_lists_and_subclasses_of_text_become_plain():
    found = Vocabulary(["car", np.str_("sky")], [["car", np.str_("auto")], "sky, air"])
    assert found == Vocabulary(("car", "sky"), (("car", "auto"), ("sky", "air"))) and hash(found)
    assert all(type(text) is str for text in (*found.names, *found.flat))
    assert as_vocabulary(np.array(["sky", "tree"])).names == ("sky", "tree")
    assert as_vocabulary({"sky": 1, "tree": 2}.keys()).names == ("sky", "tree")


def test_a_record_holds_the_names_and_texts_and_makes_the_vocabulary_again():
    found = load_vocabulary("voc21")
    record = json.loads(json.dumps(found.describe()))
    assert record["background"] == found.background == 0
    again = Vocabulary(record["names"], record["texts"])
    assert again == found and again.digest() == found.digest()


def test_the_digest_differs_wherever_names_or_texts_do():
    made = [
        as_vocabulary("a, b"),
        as_vocabulary("b, a"),
        as_vocabulary(["a, b"]),
        as_vocabulary(["a", "b\0"]),
        as_vocabulary({"a": "a", "b": "b, c"}),
        as_vocabulary({"a": "a, b", "b": "c"}),
        as_vocabulary({"a": ["a, b"], "b": "c"}),
    ]
    assert len({one.digest() for one in made}) == len(made)
    assert all(len(one.digest()) == 64 for one in made)


@pytest.mark.parametrize("lines", [["car:"], "car:\n", "\ufeffcar"], ids=repr)
def test_a_name_without_texts_stands_for_itself(lines):
    assert parse_vocabulary(lines).texts == (("car",),)


@pytest.mark.parametrize(
    "lines, message",
    [
        ([": a"], "line 1: expected one class"),
        (["sky", "", "car: a,,b"], "line 3: expected one class.*got 'car: a,,b'"),
        (["car: a,"], "line 1: expected one class"),
        (
            ["sky, tree, road"],
            "line 1: expected one class, 'name' or 'name: text, text', got 'sky, tree, road'",
        ),
        ([], "at least one name"),
        (["# only a comment"], "at least one name"),
        (["car", "Car"], "'car' and 'Car'"),
        (["car", 5], "line 2: expected a text, got 5"),
        (None, "expected lines as a list, got NoneType"),
    ],
    ids=repr,
)
def test_lines_that_cannot_be_read(lines, message):
    with pytest.raises(UsageError, match=message):
        parse_vocabulary(lines)


TEXT = "background: wall\r\n# a comment\r\ncaf\u00e9: \u5496\u5561, caf\u00e9\r\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.replace("\r\n", "\n").encode(),
        TEXT.replace("\r\n", "\r").encode(),
    ],
    ids=["utf-8", "byte order mark", "utf-16", "utf-16 big endian", "lf", "cr"],
)
def test_a_file_is_read_in_unicode_with_any_line_ends(tmp_path, content):
    (tmp_path / "own.txt").write_bytes(content)
    found = find_vocabulary(tmp_path / "own.txt")
    assert found.names == ("background", "caf\u00e9") and found.background == 0
    assert found.texts[1] == ("\u5496\u5561", "caf\u00e9")


@pytest.mark.parametrize(
    "content, message",
    [
        ("sky\ncaf\u00e9".encode("latin-1"), "in UTF-8, .*own.txt has the byte 0xe9 in line 2: save it as"),
        ("\u5496\u5561".encode("gbk"), "in UTF-8, .* has the byte"),
        (TEXT.encode("utf-16-le"), "holds a picture or other bytes"),
        (TEXT.encode("utf-32"), "holds a picture or other bytes"),
        (b"\xff\xfea", "holds a picture or other bytes"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "holds a picture or other bytes"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "holds a picture or other bytes"),
        (b"PK\x03\x04", "holds a picture or other bytes"),
        (b"sky\0tree", "holds a picture or other bytes"),
        (b"", "own.txt: expected at least one name"),
        (b"sky\nsky\n", "own.txt: expected each name once"),
        (b"sky\n:tree\n", "own.txt: line 2: expected one class"),
    ],
    ids=repr,
)
def test_a_file_in_another_encoding_or_of_no_text_is_one_line(tmp_path, content, message):
    (tmp_path / "own.txt").write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        load_vocabulary(tmp_path / "own.txt")
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_one_line_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a FIFO"),
        ("/dev/zero", "is a device"),
        ("x" * 5000, "unknown vocabulary"),
        ("a\0b", "unknown vocabulary"),
        (None, "expected a vocabulary's name or file, got None"),
        (5, "got 5"),
        (b"voc21", "got b'voc21'"),
    ]:
        with pytest.raises(UsageError, match=message) as caught:
            load_vocabulary(path)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "own.txt").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UsageError, match="at most 16 MB"):
        load_vocabulary(tmp_path / "own.txt")


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
    assert find_vocabulary({"sky": "sky, air"}).flat == ("sky", "air")
    with pytest.raises(
        UsageError, match="unknown vocabulary 'sky': expected a file or one of.*given in a list"
    ):
        find_vocabulary("sky")
    with pytest.raises(UsageError, match="got an empty text"):
        find_vocabulary("")


def test_background_words_make_a_class_in_front():
    found = as_vocabulary("car, tree").with_background("sky, wall")
    assert found.names == ("background", "car", "tree") and found.background == 0
    assert found.owners == (0, 0, 1, 2)
    with pytest.raises(UsageError, match="background class already"):
        found.with_background(["road"])


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_an_empty_text_names_no_vocabulary(name):
    with pytest.raises(UsageError, match="expected a vocabulary's name or file, got '"):
        load_vocabulary(name)


# ------------------------------------------------------------------------------- background words by themselves


def near(*pairs):
    """An encoder of distinct texts, in which the texts of each pair are alike."""

    def encode(texts):
        features = np.eye(len(texts))
        for one, other in pairs:
            features[texts.index(one)] = 0.6 * features[texts.index(one)] + 0.8 * features[texts.index(other)]
        return features

    return encode


def test_stuff_leaves_out_what_shares_a_word_with_a_class():
    names = stuff(as_vocabulary({"Potted plants": "flower pots", "d": "diningtable"}), near())
    assert {"flower", "table"}.isdisjoint(names) and {"vegetable", "grass", "plant"} <= set(names)


def test_stuff_leaves_out_what_is_nearest_both_ways():
    assert "grass" not in stuff(as_vocabulary("lawn"), near(("lawn", "grass")))
    # "moss" is nearer to "lawn" than to anything, but "lawn" is nearest to "grass".
    names = stuff(as_vocabulary("lawn"), lambda texts: _three(texts))
    assert "moss" in names and "grass" not in names


def _three(texts):
    features = np.eye(len(texts))
    lawn, grass, moss = (texts.index(name) for name in ("lawn", "grass", "moss"))
    features[grass] = 0.9 * features[lawn] + 0.1 * features[grass]
    features[moss] = 0.5 * features[lawn] + 0.5 * features[moss]
    return features


def test_a_class_of_near_texts_still_has_a_nearest_name():
    """The nearest name of "automobile" is not "car", which is the same class."""
    encode = near(("automobile", "car"), ("road", "car"))
    assert "road" not in stuff(as_vocabulary({"car": "car, automobile"}), encode)


@pytest.mark.parametrize(
    "names, background, wanted",
    [
        ("dog, cat", ("background", "dog", "cat"), 91),
        ("dog, Background, cat", ("dog", "Background", "cat"), 91),
        ({"dog": "dog", "background": "sky"}, ("dog", "background"), 1),
        ({"background": "sky, background"}, ("background",), 2),
    ],
    ids=str,
)
def test_auto_fills_a_background_that_has_no_texts_of_its_own(names, background, wanted):
    found = with_background(as_vocabulary(names), "auto", near())
    assert found.names == background and len(found.texts[found.background]) == wanted


def test_auto_that_leaves_nothing_is_an_error():
    everything = load_vocabulary("coco_stuff164k")
    with pytest.raises(UsageError, match="^background 'auto' has no stuff"):
        with_background(everything, "auto", near())


def test_words_and_none_are_as_ever():
    given = as_vocabulary("car")
    assert with_background(given, None, near()) is given
    assert with_background(given, ["auto"], near()) == given.with_background(["auto"])
