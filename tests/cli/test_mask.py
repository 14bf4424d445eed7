"""ovseg mask: masks of texts, a line for each, and one JSON that remembers every text of an image."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from ovseg.evaluation.data.scenes import make_scene

ALWAYS = ("--segmenter", "grabcut", "--presence-threshold", "0", "--templates", "plain")


@pytest.fixture
def texts():
    return make_scene(1, (64, 80)).present[:2]


def masks_of(written):
    return {one["text"]: [mask["file"] for mask in one["masks"]] for one in written["texts"]}


def test_mask_writes_masks_a_picture_and_a_record(run, read, picture, tmp_path, names_in, texts):
    out, both = tmp_path / "o", "+".join(texts)
    done = run("mask", picture, f"{texts[0]}, {both}", "--out", out, *ALWAYS)
    assert done.exit_code == 0, done.output
    written = read(out / "a.masks.json")
    assert written["image"] == str(picture) and written["size"] == [64, 80]
    (record,) = written["runs"].values()
    assert record["segmenter"] == "grabcut" and record["options"]["presence_threshold"] == 0
    assert record["model"]["name"] == "tiny" and record["vocabulary"]["digest"]
    files = masks_of(written)
    assert list(files) == [texts[0], both] and all(files.values())
    assert written["outputs"] == [name for names in files.values() for name in names]
    pictures = [name for name in names_in(out) if name.endswith(".masks.png")]
    assert len(pictures) == 1 and set(names_in(out)) == {
        *written["outputs"],
        "a.masks.json",
        ".lock",
        *pictures,
    }
    for one in written["texts"]:
        for mask in one["masks"]:
            values = read(out / mask["file"])
            assert values.shape == (64, 80) and set(np.unique(values)) <= {0, 255}
            assert (values == 255).sum() == mask["area"] > 0
            assert len(mask["points"]) == len(mask["labels"]) and 1 in mask["labels"]


def test_a_line_for_each_text_says_what_came_of_it(run, picture, tmp_path, texts):
    """It printed "1 of 1 images", also where there was no mask."""
    words = ("--segmenter", "grabcut", "--out", tmp_path / "o")
    first, second, last = run("mask", picture, f"{texts[0]}, a cow", *words).stdout.splitlines()
    assert first.startswith(f"{picture}: {texts[0]}: 1 mask, score 0.") and last.startswith("1 of 1 images")
    assert second == f"{picture}: a cow: not there (presence 0.00, needs 0.5)"
    (line, _) = run("mask", picture, "a cow+sheep", *words, "--templates", "plain").stdout.splitlines()
    assert (
        "not there (a cow: presence 0." in line
        and "sheep: presence 0." in line
        and line.endswith("needs 0.5)")
    )


def test_texts_that_look_alike_do_not_overwrite_each_other_in_a_later_run(
    run, read, picture, tmp_path, names_in
):
    """ "waves polka dots" overwrote the masks of "waves/polka dots" """
    out = tmp_path / "o"
    asked = [
        "waves polka dots",
        "waves/polka dots",
        "waves_polka_dots",
        "waves  polka, dots!",
        "Waves polka dots",
    ]
    asked += ["a cow+red", "../cow", "дерево", "word " * 40]
    for text in asked:
        assert run("mask", picture, text, "--out", out, *ALWAYS).exit_code == 0
    files = masks_of(read(out / "a.masks.json"))
    every = [name for names in files.values() for name in names]
    assert len(files) == len(asked) + 1 and all(files.values())  # one text had a comma
    assert len({name.casefold() for name in every}) == len(every)
    assert all((out / name).is_file() for name in every)


def test_a_text_asked_again_replaces_its_own_files_and_no_others(
    run, read, picture, tmp_path, names_in, texts
):
    out = tmp_path / "o"
    for text in texts:
        assert run("mask", picture, text, "--out", out, *ALWAYS, "--prompt-with", "box").exit_code == 0
    before = read(out / "a.masks.json")
    own = masks_of(before)[texts[0]]
    strange = out / own[0].replace(".1.png", ".2.png")  # called as a mask would be, but not ovseg's
    shutil.copy(out / own[0], strange)
    run("mask", picture, texts[0], "--out", out, "--segmenter", "grabcut", "--presence-threshold", "1")
    after = read(out / "a.masks.json")
    assert masks_of(after)[texts[0]] == [] and masks_of(after)[texts[1]] == masks_of(before)[texts[1]]
    assert strange.is_file() and not any((out / name).exists() for name in own)
    assert all((out / name).is_file() for name in after["outputs"]) and len(after["runs"]) == 2


def test_files_of_another_image_of_that_name_are_replaced_and_that_is_said(
    run, read, picture, tmp_path, texts
):
    out = tmp_path / "o"
    run("mask", picture, texts[0], "--out", out, *ALWAYS)
    old = read(out / "a.masks.json")["outputs"]
    Image.fromarray(make_scene(5, (32, 32)).image).save(picture)
    done = run("mask", picture, texts[1], "--out", out, *ALWAYS)
    assert done.errors[0].endswith("was of an image with other content: its masks are replaced")
    assert list(masks_of(read(out / "a.masks.json"))) == [texts[1]] and not any(
        (out / name).exists() for name in old
    )


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"texts": 5}', '{"texts": [1, {"text": 2}], "runs": []}']
)
def test_a_json_that_is_something_else_is_replaced(run, read, picture, tmp_path, content):
    (tmp_path / "a.masks.json").write_text(content)
    assert run("mask", picture, "bricks", "--out", tmp_path, *ALWAYS).exit_code == 0
    assert list(masks_of(read(tmp_path / "a.masks.json"))) == ["bricks"]


@pytest.mark.parametrize(
    "name", ["../victim.png", "victim.png", "a.masks.json", "/tmp/victim.png", "a.\0.png"]
)
def test_a_json_cannot_have_foreign_files_removed(run, read, picture, tmp_path, name):
    import json

    out = tmp_path / "o"
    out.mkdir()
    for victim in (tmp_path / "victim.png", out / "victim.png"):
        victim.write_bytes(b"precious")
    (out / "a.masks.json").write_text(json.dumps({"texts": [{"text": "bricks", "masks": [{"file": name}]}]}))
    assert run("mask", picture, "bricks", "--out", out, *ALWAYS).exit_code == 0
    assert (tmp_path / "victim.png").exists() and (out / "victim.png").exists()
    assert (out / "a.masks.json").exists()


def test_a_vocabulary_gives_each_class_s_first_text_without_the_background(run, read, picture, tmp_path):
    (tmp_path / "names.txt").write_text("background: sky, wall\ncar: red car, automobile\nbricks\n")
    words = ("--vocabulary", tmp_path / "names.txt", "--out", tmp_path / "o", *ALWAYS)
    assert run("mask", picture, *words).exit_code == 0
    assert list(masks_of(read(tmp_path / "o" / "a.masks.json"))) == ["red car", "bricks"]


def test_the_rest_of_a_run_is_done(run, read, pictures, tmp_path):
    words = ("--out", tmp_path / "o", "--segmenter", "grabcut", "--presence-threshold", "1")
    done = run("mask", pictures, "red ring", *words)
    assert done.exit_code == 1 and "2 of 3 images" in done.stdout
    for stem in "ac":
        (answer,) = read(tmp_path / "o" / f"{stem}.masks.json")["texts"]
        assert answer["masks"] == [] and answer["reason"].startswith("not in this picture: 'red ring'")
    assert not list((tmp_path / "o").glob("*red_ring.[0-9]*"))


def test_every_option_of_texttomask_is_reachable(run, read, picture, tmp_path):
    options = {
        "point_rule": "paper", "map_threshold": "0.7", "prompt_with": "points", "mask_choice": "both", "clean": "0.1",
        "presence_threshold": "0", "rivals": "sky, wall", "size": "64x96", "window": "32",
        "stride": "16",
        "batch": "2", "resize": "bilinear", "templates": "a {}",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    words += ["--halve-grid", "--no-keep-apart", "--refine", "--segmenter", "tiny"]
    done = run("mask", picture, "bricks", "--out", tmp_path / "o", *words)
    assert done.exit_code == 0, done.output
    (record,) = read(tmp_path / "o" / "a.masks.json")["runs"].values()
    assert record["options"] == {
        "point_rule": "paper", "map_threshold": 0.7, "prompt_with": "points", "mask_choice": "both", "clean": 0.1,
        "presence_threshold": 0.0, "rivals": ["sky", "wall"], "size": [64, 96], "window": 32,
        "stride": 16,
        "batch": 2, "resize": "bilinear", "templates": "a {}", "halve_grid": True, "keep_apart": False, "refine": True,
    }  # fmt: skip


def test_the_picture_of_a_large_image_is_for_viewing(run, read, tmp_path):
    Image.fromarray(make_scene(1, (40, 3000)).image).save(tmp_path / "wide.png")
    done = run("mask", tmp_path / "wide.png", "bricks", "--out", tmp_path, "--size", "16", *ALWAYS)
    assert done.exit_code == 0, done.output
    assert read(tmp_path / "wide.bricks.1.png").shape == (40, 3000)
    assert read(tmp_path / "wide.bricks.masks.png").shape[1] == 2048


def test_odd_bytes_line_breaks_and_long_names_do_their_work(run, tmp_path):
    import os

    folder, out = tmp_path / "odd", tmp_path / "out"
    folder.mkdir()
    for name in [os.fsdecode(b"caf\xe9.png"), "n" * 240 + ".png", "z :cat: [red].png"]:
        Image.fromarray(make_scene(1, (64, 80)).image).save(folder / name)
    done = run("mask", folder, "red\ncircle, the", "--out", out, *ALWAYS)
    assert done.exit_code == 0 and not done.errors and "3 of 3 images" in done.stdout
    assert r"caf\udce9.png" in done.stdout and ":cat: [red]" in done.stdout
    assert run("explain", folder, "red\ncircle, the", "--out", out, "--json").exit_code == 0
