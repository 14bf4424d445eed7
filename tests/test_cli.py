"""The command line as a user sees it: files, exit codes, one line for everything that goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ovseg.cli import app
from ovseg.data.scenes import make_scene

run = CliRunner().invoke


def read(path):
    """A PNG's values, or an NPZ's arrays."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return dict(arrays)
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture
def pictures(tmp_path):
    """Two good pictures and a broken one between them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in ((1, "a.png"), (2, "c.png")):
        Image.fromarray(make_scene(seed, (64, 80)).image).save(folder / name)
    (folder / "b.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


def test_segment_writes_what_it_says(pictures, tmp_path):
    out = tmp_path / "out"
    done = run(
        app, ["segment", str(pictures / "a.png"), "bricks, waves", "--out", str(out), "--npz", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in out.iterdir()) == ["a.json", "a.labels.png", "a.npz", "a.overlay.png"]
    labels = read(out / "a.labels.png")
    arrays = read(out / "a.npz")
    assert labels.shape == (64, 80) and np.array_equal(labels, arrays["labels"])
    written = json.loads((out / "a.json").read_text())
    assert written["names"] == ["bricks", "waves"] and sum(written["shares"].values()) == pytest.approx(1)


@pytest.mark.parametrize("command", [["segment"], ["explain"]], ids=str)
def test_the_rest_of_a_run_is_done(pictures, tmp_path, command):
    done = run(
        app,
        [*command, str(pictures), str(tmp_path / "none.png"), "bricks, waves", "--out", str(tmp_path / "o")],
    )
    assert done.exit_code == 1
    assert "2 of 4 images" in done.output
    assert (
        "b.jpg" in done.stderr and "none.png does not exist" in done.stderr and "Traceback" not in done.output
    )
    stems = {p.name.split(".")[0] for p in (tmp_path / "o").iterdir()}
    assert stems == {"a", "c"}


def test_explain_and_recognize(pictures, tmp_path):
    out = tmp_path / "out"
    picture = str(pictures / "a.png")
    done = run(app, ["explain", picture, "bricks", "--out", str(out), "--npz", "--json", "--size", "64x96"])
    assert done.exit_code == 0, done.output
    assert read(out / "a.npz")["values"].shape == (1, 64, 80)
    assert read(out / "a.npz")["grid_values"].shape == (1, 8, 12)
    done = run(app, ["recognize", picture, "bricks, waves, gravel", "--top", "2"])
    assert done.exit_code == 0 and done.output.count(",") == 1


def test_a_vocabulary_instead_of_names(pictures, tmp_path):
    done = run(
        app,
        ["segment", str(pictures / "a.png"), "--vocabulary", "voc21", "--out", str(tmp_path / "o"), "--json"],
    )
    assert done.exit_code == 0, done.output
    assert len(json.loads((tmp_path / "o" / "a.json").read_text())["names"]) == 21


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["segment", "PIC"], "wanted images and then the names"),
        (["segment", "PIC", ""], "got an empty text"),
        (["segment", "PIC", "PIC"], "wanted the names after the images, got an image last"),
        (["segment", "PIC", "a, a"], "more than once"),
        (["segment", "PIC", os.fsdecode(b"caf\xe9")], r"bytes that are not UTF-8: 'caf\udce9'"),
        (["segment", "PIC", "word " * 90], "at most 77 tokens"),
        (["segment", "PIC", "a", "--method", "x"], "unknown method 'x'"),
        (
            ["segment", "PIC", "a", "--model", "ViT-B-61", "--weights", "openai"],
            "unknown model 'ViT-B-61'",
        ),
        (["segment", "PIC", "a", "--model", "ViT-B-16"], "wanted --weights"),
        (["segment", "PIC", "a", "--precision", "fp16"], "fp16 wanted a GPU"),
        (["segment", "PIC", "a", "--size", "big"], "wanted --size"),
        (["segment", "PIC", "a", "--window", "5"], "multiples of the patch"),
        (["segment", "PIC", "a", "--background", "3"], "in 0..1"),
        (["segment", "PIC", "--vocabulary", "voc22"], "unknown vocabulary"),
        (["segment", "PIC", "a", "--out", "PIC"], "wanted a folder for results"),
        (["explain", "PIC", "a", "--surgery", "label_set"], "at least two names"),
        (["explain", "PIC", "a", "--surgery", "x"], "unknown surgery"),
        (["models", "path", "RN50", "x"], "unknown weights 'x'"),
        (["segment", "EMPTY", "a"], "holds none"),
    ],
)
def test_misuse_ends_with_two(pictures, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"PIC": str(pictures / "a.png"), "EMPTY": str(tmp_path / "empty")}
    full = [places.get(a, a) for a in arguments]
    done = run(
        app, full if "--out" in full or arguments[0] == "models" else [*full, "--out", str(tmp_path / "o")]
    )
    assert done.exit_code == 2, done.output
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]


def test_weights_that_are_not_there_end_with_one(pictures, tmp_path):
    done = run(
        app,
        [
            "segment",
            str(pictures / "a.png"),
            "a",
            "--model",
            "ViT-B-16",
            "--weights",
            "openai",
            "--offline",
        ],
    )
    assert done.exit_code == 1 and "ovseg models pull ViT-B-16 openai" in done.stderr
    assert run(app, ["models", "verify", "RN50"]).exit_code == 1
    assert run(app, ["models", "pull", "RN50", "--offline"]).exit_code == 1


def test_models_are_listed(home):
    done = run(app, ["models", "list"])
    assert done.exit_code == 0 and done.output.count("openai") >= 5 and str(home) in done.output
    assert run(app, ["models", "path", "RN50"]).output.strip() == str(home / "weights" / "RN50.openai.pt")


def test_a_cache_that_cannot_be_written_is_one_warning(pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OVSEG_HOME", str(tmp_path / "file"))
    done = run(app, ["segment", str(pictures / "a.png"), "bricks, waves", "--out", str(tmp_path / "o")])
    assert done.exit_code == 0 and done.stderr.count("warning:") == 1


def test_the_demo_makes_its_pictures(tmp_path):
    done = run(app, ["demo", "--out", str(tmp_path)])
    paths = done.output.split()
    assert done.exit_code == 0 and [path.rsplit("/", 1)[1] for path in paths] == ["demo.jpg", "masks.jpg"]
    assert min(read(tmp_path / "demo.jpg").shape[:2]) > 600
    assert min(read(tmp_path / "masks.jpg").shape[:2]) > 400


def test_help_teaches_and_loads_no_torch():
    code = "import sys\nfrom ovseg.cli import app\ntry: app(['segment', '--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and 'ovseg segment photo.jpg "sky, tree, building"' in done.stdout


def test_mask_writes_masks_picture_and_scores(pictures, tmp_path):
    out = tmp_path / "out"
    scene = make_scene(1, (64, 80))
    texts = [name for name in scene.present][:2]
    done = run(
        app,
        ["mask", str(pictures / "a.png"), f"{texts[0]}, {texts[0]}+{texts[1]}", "--out", str(out)]
        + ["--segmenter", "grabcut", "--presence-threshold", "0"],
    )
    assert done.exit_code == 0, done.output
    written = json.loads((out / "a.masks.json").read_text())
    assert written["segmenter"] == "grabcut"
    assert [one["text"] for one in written["texts"]] == [texts[0], f"{texts[0]}+{texts[1]}"]
    files = [mask["file"] for one in written["texts"] for mask in one["masks"]]
    assert len(files) >= 2
    assert sorted(p.name for p in out.iterdir()) == sorted([*files, "a.masks.json", "a.masks.png"])
    for one in written["texts"]:
        for mask in one["masks"]:
            values = read(out / mask["file"])
            assert values.shape == (64, 80) and set(np.unique(values)) <= {0, 255}
            assert (values == 255).sum() == mask["pixels"] > 0
            assert len(mask["points"]) == len(mask["labels"]) and 1 in mask["labels"]
            assert mask["box"] is None


def test_mask_again_replaces_what_it_wrote_for_the_same_text(pictures, tmp_path):
    """A text whose masks became fewer leaves none of the older ones; other texts' stay."""
    out = tmp_path / "out"
    first, second = make_scene(1, (64, 80)).present[:2]
    command = ["mask", str(pictures / "a.png"), "--out", str(out), "--segmenter", "grabcut"]
    for text in (first, second):
        assert (
            run(
                app, [*command[:2], text, *command[2:], "--presence-threshold", "0", "--prompt-with", "box"]
            ).exit_code
            == 0
        )
        (answer,) = json.loads((out / "a.masks.json").read_text())["texts"]
        x0, y0, x1, y1 = answer["masks"][0]["box"]
        assert 0 <= x0 < x1 <= 80 and 0 <= y0 < y1 <= 64 and answer["masks"][0]["points"] == []
    before = {path.name for path in out.iterdir()}
    own = {name for name in before if name.startswith(f"a.{first.replace(' ', '_')}.")}
    (out / f"a.{first.replace(' ', '_')}.2.png").write_bytes((out / answer["masks"][0]["file"]).read_bytes())
    assert own and run(app, [*command[:2], first, *command[2:], "--presence-threshold", "1"]).exit_code == 0
    assert {path.name for path in out.iterdir()} == before - own


def test_mask_says_what_is_not_there_and_goes_on_after_a_broken_picture(pictures, tmp_path):
    out = tmp_path / "out"
    done = run(
        app,
        [
            "mask",
            str(pictures),
            "red ring",
            "--out",
            str(out),
            "--segmenter",
            "grabcut",
            "--presence-threshold",
            "1",
        ],
    )
    assert done.exit_code == 1 and "2 of 3 images" in done.output
    for stem in "ac":
        (answer,) = json.loads((out / f"{stem}.masks.json").read_text())["texts"]
        assert answer["masks"] == [] and answer["reason"].startswith("not in this picture: 'red ring'")
    assert not list(out.glob("*red_ring*"))


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["bench+"], 2, "at least one visible character"),
        (["bench " * 90], 2, "wanted"),
        (["bench", "--segmenter", "best"], 2, "unknown segmenter 'best'"),
        (["bench", "--rule", "best"], 2, "unknown rule 'best'"),
        (["bench", "--segmenter", "vit_b", "--segmenter-weights", "none.pth"], 1, "none.pth does not exist"),
    ],
    ids=["half a text", "overlong", "segmenter", "rule", "checkpoint"],
)
def test_mask_with_bad_input_is_one_line(pictures, tmp_path, words, code, message):
    done = run(app, ["mask", str(pictures / "a.png"), *words, "--out", str(tmp_path / "o")])
    assert done.exit_code == code and message in done.output
    assert done.output.count("\n") == 1


def test_texts_that_look_alike_in_a_file_name_stay_apart():
    from ovseg.cli.mask import _slugs

    texts = ["red car", "red/car", "red_car", "Red car", "дерево", "../x", "???", "red car~2"]
    texts += ["car 2", "car/2", "car_2", "word " * 20, "word " * 21]
    slugs = _slugs(texts)
    assert len({slug.lower() for slug in slugs.values()}) == len(texts) and slugs["дерево"] == "дерево"
    assert all("/" not in slug and slug for slug in slugs.values())


def test_odd_bytes_line_breaks_and_long_names(tmp_path):
    """A name that is no UTF-8, a text of two lines and a file name too long for endings do their work."""
    folder, out = tmp_path / "odd", tmp_path / "out"
    folder.mkdir()
    names = [os.fsdecode(b"caf\xe9.png"), "n" * 240 + ".png", "z :cat: [red].png"]
    for name in names:
        Image.fromarray(make_scene(1, (64, 80)).image).save(folder / name)
    texts = "red\ncircle, the"
    done = run(
        app,
        [
            "mask",
            str(folder),
            texts,
            "--out",
            str(out),
            "--segmenter",
            "grabcut",
            "--presence-threshold",
            "0",
        ],
    )
    assert done.exit_code == 0 and "3 of 3 images" in done.output and not done.stderr
    assert all(len(os.fsencode(file.name)) <= 255 for file in out.iterdir())
    for name in (names[0], names[2]):
        written = json.loads((out / f"{name[:-4]}.masks.json").read_text())["texts"]
        assert [one["text"] for one in written] == texts.split(", ")
        files = [mask["file"] for one in written for mask in one["masks"]]
        assert files and all((out / file).is_file() for file in files)
    done = run(app, ["explain", str(folder / names[2]), texts, "--out", str(out)])
    assert done.exit_code == 0, done.output
    for missing in (str(folder / "z :cat: [blue].png"), "a text in place of a picture" * 20):
        done = run(app, ["mask", missing, "a", "--out", str(out), "--segmenter", "grabcut"])
        assert (
            done.exit_code == 1 and done.stderr == f"error: wanted an image file, {missing} does not exist\n"
        )
