"""ovseg explain --compare and --tokens: contact sheets, scores, arrays, records."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from ovseg.apps.cli.sheets import read_truths
from ovseg.evaluation.data.scenes import make_scene
from ovseg.explanation import Compared, compare
from ovseg.explanation.picture import CELL, COLUMNS, EMPTY, LINES, compare_sheets
from ovseg.metrics import PerLabelScore
from ovseg.results import SimilarityMap

PLAIN = ("--templates", "plain", "--size", "48x64")
METHODS = "clip, maskclip,bimodal,gradcam"


@pytest.fixture
def labels(tmp_path):
    """labels.png, the class indices of a.png's scene, void in a corner; gives the array."""
    values = make_scene(1, (64, 80)).labels.astype(np.uint8)
    values[:4, :4] = 255
    Image.fromarray(values).save(tmp_path / "labels.png")
    return values


def test_a_sheet_the_arrays_and_a_record(run, read, picture, tmp_path, names_in, model):
    out = tmp_path / "o"
    words = ("explain", picture, "bricks, waves", "--out", out, "--npz", "--json", *PLAIN)
    done = run(*words, "--compare", METHODS)
    assert done.exit_code == 0, done.output
    stem = "a.bricks,waves.compare"
    assert names_in(out) == [f"{stem}.json", f"{stem}.npz", f"{stem}.png"]
    arrays, record = read(out / f"{stem}.npz"), read(out / f"{stem}.json")
    names = [name.strip() for name in METHODS.split(",")]
    found = compare(model, picture, "bricks, waves", names, size=(48, 64), templates="plain")
    assert sorted(arrays) == sorted([*names, "cosines", "names", "size"])
    for name in names:
        np.testing.assert_allclose(arrays[name], found.maps[name].grid, atol=1e-5)
    np.testing.assert_allclose(arrays["cosines"], found.cosines, atol=1e-5)
    assert list(record["maps"]) == names and record["explanations"] == names
    assert record["cosines"]["waves"] == pytest.approx(float(found.cosines[1]), abs=1e-5)
    assert record["maps"]["bimodal"]["waves"] == {"low": 0.0, "high": 1.0}
    assert record["outputs"] == [f"{stem}.png", f"{stem}.npz"]
    assert "gradcam is the same everywhere for bricks, waves" in done.stderr
    sheet = read(out / f"{stem}.png")
    assert sheet.shape[2] == 3 and sheet.shape[1] > 5 * 80  # the image and four maps in a line


def test_scores_against_masks_are_those_of_the_metrics(run, read, picture, tmp_path, model, labels):
    masks = ("--mask", f"{tmp_path / 'labels.png'}:{labels[40, 40]}", "--mask", tmp_path / "m.png")
    Image.fromarray((labels == labels[0, 70]).astype(np.uint8) * 255).save(tmp_path / "m.png")
    words = ("explain", picture, "bricks, waves", "--out", tmp_path / "o", "--json", *PLAIN)
    done = run(*words, "--compare", "clip,bimodal", *masks)
    assert done.exit_code == 0, done.output
    record = read(tmp_path / "o" / "a.bricks,waves.compare.json")
    found = compare(model, picture, "bricks, waves", ["clip", "bimodal"], size=(48, 64), templates="plain")
    first, second = PerLabelScore(), PerLabelScore()
    first.update("bricks", found.maps["clip"]["bricks"], labels == labels[40, 40], labels != 255)
    everywhere = np.ones(labels.shape, bool)
    second.update("waves", found.maps["clip"]["waves"], labels == labels[0, 70], everywhere)
    for name, wanted in (("bricks", first), ("waves", second)):
        got = record["maps"]["clip"][name]
        assert got["mSC"] == pytest.approx(wanted.mean_contrast(), abs=1e-4)
        assert got["IoU"] == pytest.approx(wanted.mean_iou(), abs=1e-3)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{picture}: clip: bricks mSC ") and "waves mSC" in lines[0]
    assert lines[1].startswith(f"{picture}: bimodal: ")


def test_a_mask_that_is_empty_has_no_score(run, read, picture, tmp_path):
    Image.fromarray(np.zeros((64, 80), np.uint8)).save(tmp_path / "m.png")
    words = ("explain", picture, "waves", "--out", tmp_path / "o", "--json", *PLAIN)
    done = run(*words, "--compare", "clip", "--mask", tmp_path / "m.png")
    assert done.exit_code == 0 and "clip: waves mask empty or full" in done.stdout
    scores = read(tmp_path / "o" / "a.waves.compare.json")["maps"]["clip"]["waves"]
    assert scores["mSC"] is None and scores["IoU"] is None


def test_a_mask_of_another_size_is_one_line(run, picture, tmp_path):
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / "m.png")
    words = ("explain", picture, "waves", "--out", tmp_path / "o", *PLAIN)
    done = run(*words, "--compare", "clip", "--mask", tmp_path / "m.png")
    assert done.exit_code == 1 and len(done.errors) == 1
    assert "expected labels of (64, 80) pixels" in done.stderr and "has (60, 80)" in done.stderr


def test_masks_want_a_single_image(run, pictures, tmp_path):
    done = run("explain", pictures, "waves", "--out", tmp_path / "o", "--compare", "clip", "--mask", "m.png")
    assert done.exit_code == 2 and "expected a single image with --mask, got 3" in done.stderr


def test_a_mask_that_is_not_there_ends_before_anything_is_written(run, picture, tmp_path):
    words = ("explain", picture, "waves", "--out", tmp_path / "o", *PLAIN)
    done = run(*words, "--compare", "clip", "--mask", tmp_path / "nowhere.png")
    assert done.exit_code == 1 and "nowhere.png does not exist" in done.stderr and len(done.errors) == 1
    assert not (tmp_path / "o").exists()


def test_an_index_leaves_void_out_and_a_mask_does_not(tmp_path, labels):
    path = str(tmp_path / "labels.png")
    (whole,), (part,), (void,) = (
        read_truths([text], labels.shape) for text in (path, f"{path}:{labels[40, 40]}", f"{path}:255")
    )
    assert whole.valid.all() and (whole.mask == (labels != 0)).all()
    assert (part.valid == (labels != 255)).all() and (part.mask == (labels == labels[40, 40])).all()
    assert void.mask.sum() == 16 and void.valid.all()


def test_saved_maps_stand_beside_the_others(run, read, picture, tmp_path):
    folder = tmp_path / "eclip"
    folder.mkdir()
    np.savez(folder / "a.npz", names=["waves"], grid_values=np.eye(4)[None])
    words = ("explain", picture, "waves", "--out", tmp_path / "o", "--npz", *PLAIN)
    done = run(*words, "--compare", f"clip, eclip={folder}")
    assert done.exit_code == 0, done.output
    assert read(tmp_path / "o" / "a.waves.compare.npz")["eclip"].tolist() == np.eye(4)[None].tolist()
    (folder / "a.npz").unlink()
    done = run(*words, "--compare", f"clip,eclip={folder}")
    assert done.exit_code == 1 and "expected saved maps, found no file" in done.stderr


def test_one_bad_image_of_several_is_told_and_the_rest_is_done(run, pictures, tmp_path, names_in):
    done = run("explain", pictures, "waves", "--out", tmp_path / "o", "--compare", "clip,bimodal", *PLAIN)
    assert done.exit_code == 1 and len(done.errors) == 1 and "2 of 3 images" in done.stdout
    assert names_in(tmp_path / "o") == ["a.waves.compare.png", "c.waves.compare.png"]


def test_memory_of_the_sheets_depends_neither_on_the_image_nor_on_the_texts():
    image = np.zeros((3000, 4000, 3), np.uint8)
    names = tuple(f"word {number}" for number in range(5))
    maps = SimilarityMap(np.random.default_rng(0).random((5, 32, 43), np.float32), names, (3000, 4000))
    found = Compared({f"m{n}": maps for n in range(8)}, np.zeros(5, np.float32), None)
    tracemalloc.start()
    shapes = [sheet.shape for sheet in compare_sheets(image, found)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(shapes) == -(-5 // (LINES // 2))  # two lines for each text
    assert max(shape[1] for shape in shapes) <= COLUMNS * (CELL + 6) + 6
    assert peak < 150e6


def test_a_strip_of_pixels_has_a_sheet_too(run, tmp_path):
    Image.fromarray(make_scene(1, (16, 900)).image[:2]).save(tmp_path / "strip.png")
    for mode in (("--compare", "clip,legrad", "--templates", "plain"), ("--tokens",)):
        done = run("explain", tmp_path / "strip.png", "bricks", "--out", tmp_path, *mode)
        assert done.exit_code == 0, done.output


def test_explanations_that_do_not_apply_keep_their_place_and_are_named(run, read, picture, tmp_path):
    words = ("explain", picture, "bricks", "--out", tmp_path / "o", "--json", *PLAIN, "--model", "small")
    done = run(*words, "--compare", "clip,bimodal,maskclip")
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.errors if "bimodal" in line]
    assert line.startswith("note: expected an image tower with") and line.endswith("its place stays empty")
    record = read(tmp_path / "o" / "a.bricks.compare.json")
    assert record["explanations"] == ["clip", "maskclip"] and list(record["does not apply"]) == ["bimodal"]
    sheet = read(tmp_path / "o" / "a.bricks.compare.png")
    assert sheet.shape[1] > 4 * 80 and (sheet[30:70, -80:-10] == EMPTY).all()
    done = run(*words, "--compare", "bimodal,plrp")
    assert done.exit_code == 2 and done.errors[0].startswith("error: expected an image tower with")


@pytest.mark.parametrize("count, columns", [(5, 6), (6, 4), (7, 4), (11, 6), (12, 5)])
def test_lines_of_a_sheet_are_filled(count, columns):
    maps = SimilarityMap(np.eye(4, dtype=np.float32)[None], ("sky",), (CELL, CELL))
    found = Compared({f"m{n}": maps for n in range(count)}, np.zeros(1, np.float32), None)
    (sheet,) = compare_sheets(np.zeros((CELL, CELL, 3), np.uint8), found)
    assert sheet.shape[1] == columns * (CELL + 6) + 6


# ------------------------------------------------------------------------------------------ --tokens


def test_tokens_of_a_caption(run, read, picture, tmp_path, names_in, model):
    out = tmp_path / "o"
    caption = "bricks, and a wave"
    words = ("explain", picture, caption, "--tokens", "--out", out, "--npz", "--json", "--size", "48x64")
    done = run(*words)
    assert done.exit_code == 0, done.output
    json, npz, png = names_in(out)
    assert png.startswith("a.bricks,_and_a_wave~") and png.endswith(".tokens.png")
    record, arrays = read(out / json), read(out / npz)
    assert [token["token"] for token in record["tokens"]] == arrays["tokens"].tolist()
    assert arrays["tokens"].tolist() == ["[start]", "bricks", ",", "and", "a", "wave", "[end]"]
    best = record["best"]
    cosines = [token["cosine"] for token in record["tokens"]]
    assert cosines[best[0]] == max(cosines) and len(best) == 3
    similar = model.similarity(picture, [caption], templates="plain", size=(48, 64))
    np.testing.assert_allclose(arrays["grid_values"], similar.grid, atol=1e-5)
    token = arrays["tokens"][best[0]]
    assert done.stdout.startswith(f"{picture}: {token} {max(cosines):.3f}, ")


def test_a_caption_that_is_too_long_is_misuse(run, picture, tmp_path):
    done = run("explain", picture, "word " * 80, "--tokens", "--out", tmp_path / "o")
    assert done.exit_code == 2 and "at most 77 tokens" in done.stderr and not (tmp_path / "o").exists()
