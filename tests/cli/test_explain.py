"""ovseg explain: sheets of heat maps at a viewing size, maps on the grid."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from ovseg.apps.cli.sheets import CELL, COLUMNS, ROWS, sheets
from ovseg.evaluation.data.scenes import make_scene
from ovseg.results import SimilarityMap

PLAIN = ("--templates", "plain")


def test_explain_writes_a_sheet_the_grid_and_a_record(run, read, picture, tmp_path, names_in, model):
    out = tmp_path / "o"
    done = run("explain", picture, "bricks, a wave", "--out", out, "--npz", "--json", "--size", "64x96")
    assert done.exit_code == 0, done.output
    stem = "a.bricks,a_wave.explain"
    assert names_in(out) == [f"{stem}.json", f"{stem}.npz", f"{stem}.png"]
    arrays, record = read(out / f"{stem}.npz"), read(out / f"{stem}.json")
    found = model.similarity(picture, "bricks, a wave", size=(64, 96))
    assert np.allclose(arrays["grid_values"], found.grid, atol=1e-5) and "values" not in arrays
    assert arrays["grid_values"].shape == (2, 8, 12) and arrays["size"].tolist() == [64, 80]
    assert record["similarity"]["bricks"]["high"] == arrays["grid_values"][0].max()
    assert record["outputs"] == [f"{stem}.png", f"{stem}.npz"] and record["options"]["surgery"] == "empty"


def test_maps_at_the_image_s_size_are_written_on_request(run, read, picture, tmp_path):
    assert run("explain", picture, "bricks", "--out", tmp_path, "--npz", "--full-size", *PLAIN).exit_code == 0
    values = read(tmp_path / "a.bricks.explain.npz")["values"]
    assert values.shape == (1, 64, 80) and values.min() == 0 and values.max() == 1


def test_what_full_maps_take_is_said_before_it_is_taken(run, picture, tmp_path, monkeypatch):
    monkeypatch.setattr("ovseg.results.MAX_VALUES", 2 * 64 * 80 - 1)
    monkeypatch.setattr(sys.modules["ovseg.apps.cli.sheets"], "CELL", 16)
    words = ("explain", picture, "bricks, waves", "--out", tmp_path, "--npz", *PLAIN)
    done = run(*words, "--full-size")
    assert done.exit_code == 1 and "2 maps of 64 x 80 take" in done.stderr
    assert run(*words).exit_code == 0


def test_other_texts_do_not_overwrite_a_sheet(run, picture, tmp_path, names_in):
    for texts in ("sky", "Sky", "sky, tree", "sky/tree", "sky tree", "sky_tree"):
        assert run("explain", picture, texts, "--out", tmp_path / "o", *PLAIN).exit_code == 0
    assert len(names_in(tmp_path / "o")) == 6
    assert {"a.sky.explain.png", "a.sky,tree.explain.png", "a.sky_tree.explain.png"} <= set(
        names_in(tmp_path / "o")
    )


def test_many_texts_take_several_sheets(run, read, picture, tmp_path, names_in):
    step = COLUMNS * ROWS - 1
    names = ", ".join(f"word {number}" for number in range(step + 1))
    assert run("explain", picture, names, "--out", tmp_path / "o", *PLAIN).exit_code == 0
    first, second = names_in(tmp_path / "o")
    assert first.endswith(".explain.2.png") and second.endswith(".explain.png")
    assert read(tmp_path / "o" / second).shape[0] > read(tmp_path / "o" / first).shape[0]


def test_memory_of_the_sheets_depends_neither_on_the_image_nor_on_the_texts():
    """Twelve megapixels and 150 texts took 15 GB."""
    image = np.zeros((3000, 4000, 3), np.uint8)
    names = tuple(f"word {number}" for number in range(150))
    found = SimilarityMap(np.random.default_rng(0).random((150, 32, 43), np.float32), names, (3000, 4000))
    tracemalloc.start()
    shapes = [sheet.shape for sheet in sheets(image, found)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(shapes) == 8 and max(map(max, shapes)) <= COLUMNS * (CELL + 6) + 6
    assert peak < 150e6


def test_surgery_is_chosen_and_too_few_names_are_told_in_command_line_form(run, picture, tmp_path):
    words = ("explain", picture, "--out", tmp_path / "o", *PLAIN)
    for surgery in ("none", "label_set", "label_set_code", "empty"):
        assert run(*words[:2], "bricks, waves", *words[2:], "--surgery", surgery).exit_code == 0
    done = run(*words[:2], "bricks", *words[2:], "--surgery", "label_set")
    assert done.exit_code == 2 and "use --surgery empty" in done.stderr


def test_a_strip_of_pixels_has_a_sheet_too(run, tmp_path):
    Image.fromarray(make_scene(1, (16, 900)).image[:2]).save(tmp_path / "strip.png")
    done = run("explain", tmp_path / "strip.png", "bricks", "--out", tmp_path, *PLAIN)
    assert done.exit_code == 0, done.output


def test_an_explanation_by_name_is_drawn_like_any_method(run, read, picture, tmp_path, names_in):
    out = tmp_path / "o"
    words = ("explain", picture, "bricks, waves", "--out", out, "--npz", "--json", *PLAIN)
    done = run(*words, "--method", "bimodal")
    assert done.exit_code == 0 and done.errors == [], done.output
    stem = "a.bricks,waves.explain"
    assert names_in(out) == [f"{stem}.json", f"{stem}.npz", f"{stem}.png"]
    record = read(out / f"{stem}.json")
    assert record["explanations"] == ["bimodal"] and record["options"]["surgery"] is None
    assert record["similarity"]["bricks"] == {"low": 0.0, "high": 1.0}


@pytest.mark.parametrize(
    "words, said",
    [
        (("--method", "grad"), "unknown explanation 'grad': expected one of clip, "),
        (
            ("--method", "bimodal", "--window", "32"),
            "expected --window and --batch with a training-free method",
        ),
        (("--method", ""), "at least one method"),
        (("--method", "clip, gem"), "expected one explanation with --method, got 2"),
        (("--method", "clip", "--compare", "clip"), "expected --method or --compare, got both"),
        (("--tokens",), "takes the caption as it is: expected no --templates"),
        (("--compare", "clip,"), "expected a method between all commas"),
        (("--compare", ""), "at least one method"),
        (("--compare", "clip, clip"), "expected each explanation once"),
        (("--compare", "eclip=nowhere"), "found no folder nowhere"),
        (("--compare", "clip", "--npz", "--full-size"), "--full-size needs neither --compare nor --tokens"),
        (("--mask", "m.png"), "--mask needs --compare with it"),
        (("--compare", "clip", "--mask", "a.png", "--mask", "a.png"), "once for each of 1 texts"),
        (("--compare", "clip", "--tokens"), "--tokens needs a caption in place of --compare"),
        (("--compare", "clip", "--surgery", "label_set"), "use --surgery empty"),
    ],
)
def test_misuse_of_the_modes_ends_before_anything_is_written(
    run, picture, tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    done = run("explain", "a.png", "waves", "--out", "o", *PLAIN, *words)
    assert done.exit_code == 2 and said in done.stderr and len(done.errors) == 1, done.stderr
    assert not (tmp_path / "o").exists()
