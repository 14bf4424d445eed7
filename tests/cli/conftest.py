"""The command line in this process, pictures to work on, and the embedded model loaded once."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import ovseg.masks  # before anything is patched: it binds names when it is imported
import ovseg.model.load
from ovseg.apps.cli import app
from ovseg.evaluation.data.scenes import make_scene

NOTES = ("note: the embedded model", "warning: unknown word", "note: a name above 0", "note: scores are no")
"""Lines about "tiny", which knows about a hundred words, and on the meaning of scores."""


@cache
def _loaded(*args, **options):
    return _load(*args, **options)


_load = ovseg.model.load.load_model


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch):
    """A model that was loaded with the same arguments before is taken again."""
    monkeypatch.setattr(ovseg.model.load, "load_model", _loaded)


@pytest.fixture
def run():
    """A command line as words; gives exit_code, stdout and stderr without the notes on "tiny"."""

    def invoke(*words):
        named = any(str(word).startswith("--model") for word in words)
        if words and words[0] in ("mask", "segment", "explain", "recognize", "annotate") and not named:
            words = (*words, "--model", "tiny")  # the scenes are what this model knows
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        done.errors = [line for line in done.stderr.splitlines() if not line.startswith(NOTES)]
        return done

    return invoke


@pytest.fixture
def read():
    """A PNG's values, an NPZ's arrays, or a JSON's content."""

    def values(path):
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return dict(arrays)
        if path.suffix == ".json":
            return json.loads(path.read_text())
        with Image.open(path) as picture:
            return np.asarray(picture)

    return values


@pytest.fixture
def picture(tmp_path):
    """A scene of 64 x 80 pixels as a file a.png."""
    path = tmp_path / "a.png"
    Image.fromarray(make_scene(1, (64, 80)).image).save(path)
    return path


@pytest.fixture
def pictures(tmp_path):
    """A folder with two good pictures and a broken one between them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in ((1, "a.png"), (2, "c.png")):
        Image.fromarray(make_scene(seed, (64, 80)).image).save(folder / name)
    (folder / "b.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


@pytest.fixture
def names_in():
    """The names of a folder's files, in order."""
    return lambda folder: sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
