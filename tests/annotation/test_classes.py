"""Class lists: synonyms, thresholds, negative words, names with anything in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ovseg.annotation.classes import Classes, parse_classes, read_classes, read_thresholds
from ovseg.errors import UsageError
from ovseg.words.vocabulary import as_vocabulary


def test_a_file_with_everything_in_it():
    found = parse_classes(
        "# a comment\n\nperson\ncar: car, automobile  # two\ndog >= 0.6: dog, puppy\n"
        '"salt, with: #pepper >= 1": "a, b", c\nnot: poster, painting\nnot: toy\n'
    )
    assert found.names == ("person", "car", "dog", "salt, with: #pepper >= 1")
    assert found.texts == (("person",), ("car", "automobile"), ("dog", "puppy"), ("a, b", "c"))
    assert found.thresholds == {"dog": 0.6} and found.negatives == ("poster", "painting", "toy")


@pytest.mark.parametrize(
    "name", ['a"b', "a,b", "a/b", "../x", "日本語", "not", "a: b", "x >= 2", "a#b", "tab\tin", "C:\\dir"]
)
def test_any_name_in_quotation_marks_or_json(name, tmp_path):
    assert parse_classes(json.dumps(name)).names == (name,)
    path = tmp_path / "classes.json"
    path.write_text(json.dumps([name]))
    assert read_classes(path).names == (name,)


def test_json_with_texts_and_not(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"car": ["car", "automobile"], "sky": "sky", "not": ["toy"]}))
    found = read_classes(str(path))
    assert found.texts == (("car", "automobile"), ("sky",)) and found.negatives == ("toy",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a, b", "line 1: expected one class"),
        ("a:", "line 1: expected one class"),
        ("ok\na: b,,c", "line 2: expected a text between all commas"),
        ("dog >= high", "line 1: expected a threshold as a number"),
        ("dog >= 1.5", "line 1: expected a threshold in 0..1"),
        ("dog\nDog", "expected each name once"),
        ("dog\nnot: Dog", "as a class or after 'not'"),
        ("not: poster", "expected at least one name"),
        ("", "expected at least one name"),
        ('"\\x"', "expected text in quotation marks"),
    ],
)
def test_wrong_lines_are_named(text, said):
    with pytest.raises(UsageError, match=said):
        parse_classes(text)


@pytest.mark.parametrize("given", ["no/such/file", "", "/dev/null", "[1]", "5"])
def test_what_is_no_class_list_is_one_line(given, tmp_path):
    if given in ("[1]", "5"):
        path = tmp_path / "x.json"
        path.write_text(given)
        given = path
    with pytest.raises(UsageError, match="expected"):
        read_classes(given)


def test_background_makes_no_object():
    found = read_classes("voc21")
    assert found.names[0] == "background" and "background" not in found.objects and len(found.objects) == 20


def test_thresholds_come_from_a_file_of_review(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('{"thresholds": {"dog": 0.25}}')
    classes = parse_classes("dog >= 0.6\ncat")
    assert classes.with_thresholds(read_thresholds(path)).thresholds == {"dog": 0.25}
    path.write_text('{"cow": 0.5}')
    with pytest.raises(UsageError, match="thresholds of the classes, got one of 'cow'"):
        classes.with_thresholds(read_thresholds(path))
    path.write_text("[]")
    with pytest.raises(UsageError, match="expected thresholds as JSON"):
        read_thresholds(Path(path))


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\x1b[31mred"])
def test_control_characters_are_no_part_of_a_name(name):
    for given in ([name], {"x": [name]}):
        with pytest.raises(UsageError, match="line breaks and control characters"):
            Classes(as_vocabulary(given))
    with pytest.raises(UsageError, match="line breaks"):
        Classes(as_vocabulary(["x"]), negatives=(name,))
