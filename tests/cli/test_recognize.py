"""ovseg recognize: one line for each image."""

from __future__ import annotations

import json

import pytest

from ovseg.apps.cli.segment import ABOVE, ONE_NAME

PLAIN = ("--templates", "plain")


def test_each_image_is_a_line_of_names_with_scores(run, picture, model):
    done = run("recognize", picture, "bricks, waves, gravel", "--top", "2")
    best = model.recognize(picture, "bricks, waves, gravel").best(2)
    assert done.exit_code == 0 and not done.errors and ABOVE in done.stderr
    assert done.stdout == f"{picture}: " + ", ".join(f"{name} {score:.3f}" for name, score in best) + "\n"


def test_json_is_an_object_a_line(run, pictures, model):
    done = run("recognize", pictures, "bricks, waves", "--json", "--scores", "softmax", "--size", "48x64")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1 and len(rows) == 2 and "b.jpg" in done.stderr
    assert [row["image"] for row in rows] == [str(pictures / name) for name in ("a.png", "c.png")]
    assert rows[0]["size"] == [64, 80] and sum(rows[0]["scores"].values()) == pytest.approx(1)
    assert rows[0]["options"]["scores"] == "softmax" and rows[0]["options"]["size"] == [48, 64]
    assert rows[0]["model"]["weights"]["given"] == "embedded" and rows[0]["vocabulary"]["digest"]


def test_one_name_is_compared_with_the_empty_text_and_that_is_said(run, picture, model):
    done = run("recognize", picture, "bricks")
    score = model.recognize(picture, "bricks", surgery="empty")["bricks"]
    assert done.exit_code == 0 and done.stdout == f"{picture}: bricks {score:.3f}\n"
    assert done.errors == [ONE_NAME]
    assert not run("recognize", picture, "bricks", "--surgery", "empty", *PLAIN).errors
    done = run("recognize", picture, "bricks", "--surgery", "label_set", *PLAIN)
    assert done.exit_code == 2 and "use --surgery empty" in done.stderr


def test_a_file_name_with_a_line_break_stays_on_one_line(run, picture, tmp_path):
    picture.rename(tmp_path / "a\nb.png")
    done = run("recognize", tmp_path / "a\nb.png", "bricks, waves", *PLAIN)
    assert done.exit_code == 0 and done.stdout.count("\n") == 1


def test_words_that_the_model_cannot_know_are_said(run, picture):
    done = run("recognize", picture, "red bycicle, Hund, tree", "--model", "small", *PLAIN)
    said = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert done.exit_code == 0 and len(said) == 2
    assert said[0] == 'warning: unknown word "bycicle": did you mean bicycle?' and '"hund"' in said[1]
    done = run("recognize", picture, "aaqq, bbqq, ccqq, ddqq, eeqq, ffqq, ggqq", *PLAIN)
    said = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(said) == 6 and said[-1] == "warning: 2 more unknown words"
