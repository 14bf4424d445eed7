"""One image after the other: what fails, what is shown, and how a run is stopped."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading

import pytest
from PIL import Image

import ovseg.files.pictures
import ovseg.masks.predictor
import ovseg.model.load
from ovseg.apps.cli import shared
from ovseg.apps.cli.inputs import NamedImages, read_inputs
from ovseg.apps.cli.loop import Opened
from ovseg.errors import UsageError
from ovseg.evaluation.data.scenes import make_scene
from ovseg.model import Model

PLAIN = ("--templates", "plain")
COMMANDS = {
    "segment": (),
    "explain": (),
    "recognize": (),
    "mask": ("--segmenter", "grabcut", "--presence-threshold", "1"),
}


def command(name, *words, out=None):
    return (name, *words, *COMMANDS[name], *PLAIN, *(() if name == "recognize" else ("--out", out)))


@pytest.fixture
def terminal(monkeypatch):
    """Standard error as a terminal; gives what was drawn on it."""
    screen = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(shared.err, "is_interactive", True)
    monkeypatch.setattr(shared.err, "_file", screen)
    monkeypatch.setattr(shared.err, "_force_terminal", True)
    return screen


@pytest.mark.parametrize("name", COMMANDS)
def test_the_rest_of_a_run_is_done(run, pictures, tmp_path, name):
    done = run(*command(name, pictures, tmp_path / "none.png", "bricks, waves", out=tmp_path / "o"))
    assert done.exit_code == 1 and len(done.errors) == 2
    assert "b.jpg" in done.errors[0] and "none.png does not exist" in done.errors[1]
    assert done.stdout.count("a.png") + done.stdout.count("c.png") >= 2 or "2 of 4 images" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "error, said",
    [
        (RuntimeError("Failed to decode\n frame 0"), "unexpected RuntimeError: Failed to decode frame 0"),
        (MemoryError(), "not enough memory"),
        (ZeroDivisionError("division"), "ZeroDivisionError"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (KeyError("x"), "KeyError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_batch_survives_whatever_one_image_raises(run, pictures, tmp_path, monkeypatch, name, error, said):
    """A damaged AVIF raises RuntimeError within Pillow: the good images after it were never done."""
    load = ovseg.files.pictures.load_image

    def fails(path, *more):
        if getattr(path, "name", "") == "b.jpg":  # an array is a picture that was read before
            raise error
        return load(path, *more)

    monkeypatch.setattr(ovseg.files.pictures, "load_image", fails)
    done = run(*command(name, pictures, "bricks, waves", out=tmp_path / "o"))
    assert done.exit_code == 1
    (line,) = done.errors
    assert line.startswith(f"error: {pictures / 'b.jpg'}: ") and said in line


def test_a_disk_that_is_full_is_a_line_for_each_image(run, pictures, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ovseg.files.write._create", full)
    done = run("segment", pictures / "a.png", "bricks", "--out", tmp_path / "o", *PLAIN)
    assert done.exit_code == 1 and "No space left on device" in done.errors[0]
    assert done.stdout == "0 of 1 images\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_leaves_a_sane_terminal_and_says_what_is_done(
    run, pictures, tmp_path, monkeypatch, name, terminal
):
    load = ovseg.files.pictures.load_image

    def stopped(path, *more):
        if getattr(path, "name", "") == "b.jpg":  # an array is a picture that was read before
            raise KeyboardInterrupt
        return load(path, *more)

    monkeypatch.setattr(ovseg.files.pictures, "load_image", stopped)
    done = run(*command(name, pictures, "bricks, waves", out=tmp_path / "o"))
    assert done.exit_code == 130
    drawn = terminal.getvalue()
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")  # the cursor is shown again
    after = drawn[drawn.rindex("\x1b[?25h") :]
    count = len({path.name[0] for path in (tmp_path / "o").rglob("a.*")})
    count = done.stdout.count("a.png: bricks") if name == "recognize" else count
    assert f"stopped: {count} of 3 images are done" in after, done.output + drawn


def test_ctrl_c_before_the_first_image_claims_nothing(run, pictures, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ovseg.model.load, "load_model", stopped)
    done = run("segment", pictures, "bricks", "--out", tmp_path / "o")
    assert done.exit_code == 130 and done.errors == ["stopped"] and not (tmp_path / "o").exists()


def test_on_a_terminal_loading_and_progress_are_shown(run, pictures, tmp_path, terminal):
    words = ("--segmenter", "grabcut", "--presence-threshold", "1", "--no-cache")
    run("mask", pictures, "something new", "--out", tmp_path / "o", *words)
    drawn = terminal.getvalue()
    assert drawn.index("loading the model tiny ...") < drawn.index("loading the segmenter grabcut ...")
    assert drawn.index("prompts") < drawn.index("images")


def test_elsewhere_nothing_is_drawn(run, pictures, tmp_path):
    done = run("segment", pictures / "a.png", "something newer", "--out", tmp_path / "o")
    assert not done.errors and "\x1b" not in done.output


def test_the_little_that_an_embedded_model_knows_is_said_once(pictures, tmp_path):
    from typer.testing import CliRunner

    from ovseg.apps.cli import app

    words = ["mask", str(pictures), "bricks", "--segmenter", "tiny", "--out", str(tmp_path / "o"), *PLAIN]
    words += ["--model", "tiny"]
    said = CliRunner().invoke(app, words).stderr
    assert said.count("note: the embedded model 'tiny' knows about a hundred words") == 1
    assert said.count("note: the embedded segmenter") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_the_memory_that_a_large_image_takes_is_said(run, picture, tmp_path, monkeypatch, name):
    monkeypatch.setattr("ovseg.apps.cli.inputs.LARGE", 5_000)
    done = run(*command(name, picture, "bricks, waves", out=tmp_path / "o"))
    assert done.exit_code == 0
    assert done.errors == [f"note: {picture} has 0 megapixels, which take about 0.0 GB"]


@pytest.mark.parametrize("recursive", [(), ("-r",)])
def test_the_work_before_the_first_image_is_linear_in_the_number_of_files(
    run, tmp_path, monkeypatch, recursive
):
    """8,000 files took 116 s before the first image: names were compared with one another."""

    def count_calls(count):
        folder = tmp_path / f"{count}{len(recursive)}"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number % (count // 2)}.{'png' if number < count // 2 else 'jpg'}").touch()
        calls = 0

        def counted(frame, event, _):
            nonlocal calls
            calls += event in ("call", "c_call")

        def first(*_):
            sys.setprofile(None)
            raise KeyboardInterrupt

        monkeypatch.setattr(ovseg.files.pictures, "load_image", first)
        threading.setprofile(None)
        sys.setprofile(counted)
        try:
            assert (
                run("segment", folder, "bricks", "--out", tmp_path / "o", *recursive, *PLAIN).exit_code == 130
            )
        finally:
            sys.setprofile(None)
        return calls

    count_calls(100)  # imports and the model
    small, large = count_calls(500), count_calls(2000)
    assert large - small < 4 * small


@pytest.mark.parametrize("name", COMMANDS)
def test_files_that_are_not_read_are_told_with_what_helps(run, picture, tmp_path, name):
    for other in ("x.heic", "y.arw", "._z.png"):
        (tmp_path / other).write_bytes(b"")
    done = run(*command(name, tmp_path, "bricks, waves", out=tmp_path / "o"))
    lines = [line for line in done.errors if line.startswith("warning: ")]
    assert done.exit_code == 0 and len(lines) == 1 and ".arw" in lines[0] and "._z" not in done.output


def test_several_processes_may_write_into_one_folder(run, read, tmp_path, monkeypatch):
    """Two runs with the same image and other texts at the same time: both are in the JSON."""
    from ovseg.apps.cli import mask as mask_files

    picture = tmp_path / "a.png"
    Image.fromarray(make_scene(1, (64, 80)).image).save(picture)
    read_earlier, barrier = mask_files.read_earlier, threading.Barrier(2, timeout=0.5)

    def slowly(path):
        content = read_earlier(path)
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait()  # without the lock both read before either writes
        return content

    monkeypatch.setattr(mask_files, "read_earlier", slowly)
    image = Opened(picture, (64, 80), None)
    threads = [
        threading.Thread(
            target=mask_files.remember, args=(tmp_path / "a", image, [{"text": text, "masks": []}], {})
        )
        for text in ("cow", "dog")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one["text"] for one in read(tmp_path / "a.masks.json")["texts"]) == ["cow", "dog"]
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == [".lock"]


def test_texts_are_encoded_once_for_all_images(run, tmp_path, monkeypatch):
    for seed in range(3):
        Image.fromarray(make_scene(seed, (32, 32)).image).save(tmp_path / f"{seed}.png")
    calls = []
    encode = Model.encode_text

    def counted(self, names, *more, **others):
        calls.append(bool(others.get("progress")))
        return encode(self, names, *more, **others)

    monkeypatch.setattr(Model, "encode_text", counted)
    assert run("segment", tmp_path, "bricks", "--out", tmp_path / "o", *PLAIN).exit_code == 0
    assert calls == [True, False]  # with progress, and again for all images, when it is in memory


@pytest.mark.parametrize("name", COMMANDS)
def test_images_of_one_size_go_through_the_encoder_together(run, tmp_path, monkeypatch, name):
    for seed in range(6):
        Image.fromarray(make_scene(seed, (64, 80)).image).save(tmp_path / f"{seed}.png")
    sizes = []
    encode = Model.encode_image

    def counted(self, pixels, **others):
        sizes.append(len(pixels))
        return encode(self, pixels, **others)

    monkeypatch.setattr(Model, "encode_image", counted)
    done = run(*command(name, tmp_path, "bricks, waves", out=tmp_path / "o"))
    assert done.exit_code == 0 and sizes == [6], done.output


def test_an_error_of_the_encoder_concerns_one_image_of_a_batch(run, tmp_path, monkeypatch):
    for seed in range(3):
        Image.fromarray(make_scene(seed, (64, 80)).image).save(tmp_path / f"{seed}.png")
    bad = Model.encode_image
    calls = []

    def fails(self, pixels, **others):
        calls.append(len(pixels))
        if len(pixels) > 1 or len(calls) == 3:
            raise MemoryError
        return bad(self, pixels, **others)

    monkeypatch.setattr(Model, "encode_image", fails)
    done = run("segment", tmp_path, "bricks", "--out", tmp_path / "o", *PLAIN)
    assert calls == [3, 1, 1, 1] and done.exit_code == 1 and "2 of 3 images" in done.stdout
    assert done.errors == [f"error: {tmp_path / '1.png'}: not enough memory"]


def test_one_picture_and_one_word_are_read_and_encoded_once(run, picture, tmp_path, monkeypatch):
    counts = {"parsed": 0, "encoded": 0, "decoded": 0}

    def counting(what, function):
        def counted(*words, **others):
            counts[what] += 1
            return function(*words, **others)

        return counted

    monkeypatch.setattr(Model, "encode_text", counting("encoded", Model.encode_text))
    decode = ovseg.files.pictures.decode
    monkeypatch.setattr(ovseg.files.pictures, "decode", counting("decoded", decode))
    parse = ovseg.masks.predictor.parse_words
    monkeypatch.setattr(ovseg.masks.predictor, "parse_words", counting("parsed", parse))
    assert run(*command("mask", picture, "bricks", out=tmp_path / "o")).exit_code == 0
    assert counts == {"parsed": 1, "encoded": 1, "decoded": 1}


@pytest.mark.parametrize(
    "words, names",
    [
        (["sky", "cow"], ["sky", "cow"]),
        (["sky,", "red cow"], ["sky", "red cow"]),
        (["sky, cow"], ["sky", "cow"]),
    ],
)
def test_words_after_the_images_need_no_quotation_marks(picture, words, names):
    given = read_inputs([str(picture), *words], NamedImages())
    assert given.files == [picture] and list(given.names.names) == names


@pytest.mark.parametrize("words", [["a.png", "b.png", "sky"], ["phtos", "sky", "cow"], ["in/phtos", "sky"]])
def test_paths_of_which_none_exists_are_said_before_anything_else(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"{words[0]} does not exist"):
        read_inputs(words, NamedImages())


def test_random_weights_are_told_and_not_taken_for_the_embedded_ones(pictures, tmp_path, run):
    picture = next(one for one in sorted(pictures.iterdir()) if one.suffix == ".png")
    words = ("mask", picture, "bricks", "--weights", "random", "--segmenter", "tiny")
    done = run(*words, "--out", tmp_path / "out")
    assert "warning: the weights of the model tiny are random: its results mean nothing" in done.stderr
    assert "knows about a hundred words" not in done.stderr and "for trying out" in done.stderr


@pytest.mark.parametrize("command", ["path", "pull", "verify"])
@pytest.mark.parametrize(
    "model, said",
    [
        ("x", "unknown model 'x'"),
        ("", "expected model as a text"),
        ("ViT-B-16:openai", "unknown model 'ViT-B"),
    ],
)
def test_an_unknown_model_is_told_as_such(run, command, model, said):
    done = run("models", command, model)
    assert done.exit_code == 2 and said in done.stderr
