"""Standard output that is full, gone, or cannot show a letter; and what is loaded for which command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ovseg.apps.cli import shared
from ovseg.apps.cli.shared import command_line_form, tell
from ovseg.errors import UsageError, WeightsError

NAMED = ("logit_scale", "surgery", "point_rule")
LIGHT = (["--help"], ["--version"], ["list", "vocabularies"], ["models", "list"], ["models", "path", "RN50"])


def ovseg(*words, **options):
    command = [sys.executable, "-m", "ovseg.apps.cli", *words]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **options)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_a_full_disk_is_one_line(words):
    with open("/dev/full", "w") as full:
        done = ovseg(*words, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "error: expected to write: No space left on device\n"


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_a_reader_who_has_gone_is_no_error(words):
    reading, writing = os.pipe()
    os.close(reading)
    done = ovseg(*words, stdout=writing)
    os.close(writing)
    assert done.returncode == 0 and done.stderr == ""


def test_an_ascii_terminal_shows_what_it_can(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "200"}
    done = ovseg("segment", "--help", stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0 and "--logit-scale" in done.stdout and done.stdout.isascii()
    done = ovseg("segment", tmp_path, "--vocabulary", "дом", stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 2 and done.stderr.startswith(r"error: unknown --vocabulary '\u0434")


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_a_stream_that_is_closed_is_no_error(words):
    line = f'"{sys.executable}" -m ovseg.apps.cli {" ".join(words)}'
    done = subprocess.run(["sh", "-c", f"{line} >&-"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
    done = subprocess.run(["sh", "-c", f"{line} 2>&-"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_errors_that_cannot_be_shown_keep_their_exit_code(where):
    line = f'"{sys.executable}" -m ovseg.apps.cli nothing {where}'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr == ""


def test_images_are_done_although_nobody_reads_the_lines(run, pictures, tmp_path, monkeypatch):
    """`| head -1` ended the run with exit code 1."""

    def gone(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    monkeypatch.setattr("ovseg.apps.cli.shared.discard_stdout", lambda: None)
    words = ("--segmenter", "grabcut", "--templates", "plain", "--presence-threshold", "1")
    done = run("mask", pictures, "bricks", "--out", tmp_path / "o", *words)
    assert done.exit_code == 1 and (tmp_path / "o" / "c.masks.json").exists()  # b.jpg is broken
    done = run("recognize", pictures, "bricks, waves", "--templates", "plain")
    assert done.exit_code == 0  # it ends, whatever b.jpg is


WRONG = (
    ["segment", "nothing"],
    ["mask", "nothing.png", "sky"],
    ["mask", __file__, "sky", "--segmenter", "sam"],
    ["explain", __file__, "sky", "--method", "grad"],
    ["segment", __file__, "sky", "--model", "ViT-B-61"],
    ["annotate", "nothing", "--classes", "sky", "--out", "nowhere"],
)


@pytest.mark.parametrize(
    "words", [*LIGHT, ["segment", "--help"], *WRONG], ids=lambda words: " ".join(words)[-40:]
)
def test_no_torch_is_loaded_for_what_needs_none(words):
    code = (
        "import sys\nfrom ovseg.apps.cli import app\ntry: app(sys.argv[1:])\nexcept SystemExit: pass\n"
        "sys.exit(bool({'torch', 'open_clip', 'matplotlib', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_messages_name_options_as_one_types_them(monkeypatch):
    monkeypatch.setattr(shared, "FLAGS", {name: f"--{name.replace('_', '-')}" for name in NAMED})
    for message, shown in (
        ("expected logit_scale above 0, got 0", "expected --logit-scale above 0, got 0"),
        (
            "surgery='label_set' needs two, use surgery='empty'",
            "--surgery label_set needs two, use --surgery empty",
        ),
        (
            "unknown surgery 'x': expected one of empty, None",
            "unknown --surgery 'x': expected one of empty",
        ),
        (
            "unknown point_rule 'x': expected one of a, b, None",
            "unknown --point-rule 'x': expected one of a, b",
        ),
        ("expected each name once, got name='x'", "expected each name once, got name='x'"),
    ):
        assert command_line_form(UsageError(message)) == shown
    assert command_line_form(WeightsError("expected weights\nof x")) == "expected weights of x"


def test_a_line_is_flushed_at_once(capsys):
    assert tell("one line") and capsys.readouterr().out == "one line\n"
