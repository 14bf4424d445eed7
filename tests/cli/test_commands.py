"""The group of commands: help, version, completion, lists, weights and the demo."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib import resources

import pytest

import ovseg
import ovseg.model.load
from ovseg.apps.cli import COMMANDS as TABLE
from ovseg.apps.cli.loading import EXPLANATIONS, METHODS
from ovseg.clip.attention import list_methods
from ovseg.clip.models import list_models
from ovseg.explanation import get_explanation, list_explanations
from ovseg.options import (
    AnnotateOptions,
    ExplainOptions,
    MaskOptions,
    ModelOptions,
    RecognitionOptions,
    SegmentOptions,
)
from ovseg.segmenters.load import list_segmenters
from ovseg.words.vocabulary import list_vocabularies

COMMANDS = {
    ("segment",): SegmentOptions,
    ("explain",): ExplainOptions,
    ("recognize",): RecognitionOptions,
    ("mask",): MaskOptions,
    ("annotate",): AnnotateOptions,
    ("serve",): None,
    ("demo",): None,
    ("list", "models"): None,
    ("list", "methods"): None,
    ("list", "segmenters"): None,
    ("list", "vocabularies"): None,
    ("models", "list"): None,
    ("models", "pull"): None,
    ("models", "verify"): None,
    ("models", "path"): None,
}


ABSENT = {("recognize", "method"), ("explain", "method")}
"""Options of the classes that a command has no use for, or has with other values."""


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERMINAL_WIDTH", "300")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_s_help_has_an_example(run, words, wide):
    done = run(*words, "--help")
    assert done.exit_code == 0 and f"Example: ovseg {' '.join(words)}" in done.stdout


@pytest.mark.parametrize("words", [words for words, options in COMMANDS.items() if options], ids=" ".join)
def test_every_option_of_the_classes_is_there_with_its_default(run, words, wide):
    said = run(*words, "--help").stdout
    for options in (ModelOptions, COMMANDS[words]):
        for field in fields(options):
            if (words[0], field.name) in ABSENT:
                continue
            assert f"--{field.name.replace('_', '-')}" in said
            if isinstance(field.default, (str, float)):
                default = field.default if isinstance(field.default, str) else f"{field.default:g}"
                assert re.search(rf"--{field.name.replace('_', '-')} .*\[default: {default}\]", said), (
                    field.name
                )


@pytest.mark.parametrize("name", TABLE)
def test_the_overview_says_what_the_command_s_own_help_says(run, name, wide):
    line = TABLE[name][1]
    assert line in run("--help").stdout and line in run(name, "--help").stdout


def test_names_that_are_known_without_torch_are_those_of_the_tables():
    rows = {name: get_explanation(name) for name in list_explanations()}  # those of other tests' own included
    own = {name for name, row in rows.items() if str(row.maps.__module__).startswith("ovseg.")}
    assert set(EXPLANATIONS) == own and len(own) > 20
    assert list(METHODS) == [name for name in list_methods() if name in METHODS]


def test_an_unknown_option_of_any_length_is_one_short_line(run):
    done = run("segment", "a.png", "sky", "--" + "n" * 5000)
    assert done.exit_code == 2 and len(done.errors) == 1
    assert done.errors[0].startswith("error: no such option: --nnn") and len(done.errors[0]) < 1000


def test_the_version_is_shown(run):
    assert run("--version").stdout == f"ovseg {ovseg.__version__}\n"


def test_a_shell_can_complete(run, monkeypatch):
    assert run("--show-completion", "bash").exit_code in (0, 1)  # 1: the shell is not known here
    monkeypatch.setenv("_OVSEG_COMPLETE", "complete_bash")
    for line, expected in (
        ("ovseg mas", "mask"),
        ("ovseg segment --resi", "--resize"),
        ("ovseg segment --resize pil", "pillow"),
        ("ovseg segment --vocabulary cityscap", "cityscapes"),
    ):
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
        from typer.testing import CliRunner

        from ovseg.apps.cli import app

        done = CliRunner().invoke(app, [], prog_name="ovseg")
        assert expected in done.stdout.split(), done.output


@pytest.mark.parametrize(
    "what, names",
    [
        ("models", list(list_models())),
        ("methods", list_methods()),
        ("segmenters", list(list_segmenters())),
        ("vocabularies", list_vocabularies()),
    ],
    ids=["models", "methods", "segmenters", "vocabularies"],
)
def test_names_are_listed_one_a_line(run, what, names):
    done = run("list", what)
    assert done.exit_code == 0 and [line.split()[0] for line in done.stdout.splitlines()] == list(names)


def test_tags_are_listed_with_their_model(run):
    (line,) = [one for one in run("list", "models").stdout.splitlines() if one.startswith("ViT-B-16 ")]
    assert "openai" in line.split()


def test_known_weights_are_listed(run, home):
    done = run("models", "list")
    assert done.exit_code == 0 and done.stdout.count("openai") >= 5 and str(home) in done.stdout
    assert run("models", "path", "RN50").stdout.strip() == str(home / "weights" / "RN50.openai.pt")


def test_weights_that_are_not_there_end_with_one(run, picture, tmp_path):
    words = ("--model", "ViT-B-16", "--weights", "openai", "--offline", "--out", tmp_path / "o")
    done = run("segment", picture, "a", *words)
    assert done.exit_code == 1 and "ovseg models pull ViT-B-16 openai" in done.stderr
    assert not (tmp_path / "o").exists()
    assert run("models", "verify", "RN50").exit_code == 1
    assert run("models", "pull", "RN50", "--offline").exit_code == 1


def test_a_cache_that_cannot_be_written_is_one_warning(run, picture, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OVSEG_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(ovseg.model.load, "load_model", ovseg.model.load.load_model.__wrapped__)
    done = run("segment", picture, "bricks, waves", "--out", tmp_path / "o", "--templates", "plain")
    assert done.exit_code == 0 and len(done.errors) == 1 and done.errors[0].startswith("warning: ")


def test_the_demo_works_without_scikit_image_and_says_so(run, read, tmp_path, monkeypatch):
    files = resources.files

    def without(package):
        if package == "skimage":
            raise ModuleNotFoundError(package)
        return files(package)

    monkeypatch.setattr("ovseg.apps.demo.resources.files", without)
    done = run("demo", "--out", tmp_path)
    assert done.exit_code == 0 and (tmp_path / "demo.jpg").is_file()
    assert done.errors == ["note: 5 photographs are left out: pip install scikit-image brings them"]
