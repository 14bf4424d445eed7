"""A run that stops leaves the terminal as it was, and a record says what was in the model."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import ovseg.mmseg.runtime as runtime
from ovseg.errors import DataError, UsageError
from ovseg.mmseg.evaluate import evaluate
from ovseg.mmseg.metrics import ExactIoUMetric
from ovseg.weights.files import state_digest

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
spec = importlib.util.spec_from_file_location("labels", Path(__file__).with_name("test_labels.py"))
labels = importlib.util.module_from_spec(spec)
spec.loader.exec_module(labels)


@pytest.fixture
def config(tmp_path):
    for name in "ab":
        labels.save(tmp_path / f"images/{name}.png", labels.picture(0))
        labels.save(tmp_path / f"labels/{name}.png", np.zeros((16, 24), np.uint8))
    return labels.settings(tmp_path, ["sky", "tree"])


@pytest.fixture
def terminal(monkeypatch):
    """What reaches a terminal on standard error."""
    said = io.StringIO()
    console = Console(file=said, force_terminal=True, width=80)
    monkeypatch.setattr(runtime, "Console", lambda **_: console)
    return said


@pytest.mark.parametrize("error", [DataError("no label"), RuntimeError("out of memory"), KeyboardInterrupt()])
def test_a_run_that_stops_shows_the_cursor_again(error, config, terminal, tmp_path, monkeypatch):
    def stop(*_):
        assert HIDE in terminal.getvalue()
        raise error

    monkeypatch.setattr(ExactIoUMetric, "process", stop)
    config.custom_hooks = [{"type": "ProgressHook"}]
    with pytest.raises(type(error)):
        labels.run(config, tmp_path)
    said = terminal.getvalue()
    assert said.rindex(SHOW) > said.rindex(HIDE)
    assert said.endswith("\n") or said.endswith(SHOW)  # the message begins on a line of its own


def test_a_run_that_ends_shows_the_cursor_once(config, terminal, tmp_path):
    config.custom_hooks = [{"type": "ProgressHook"}]
    labels.run(config, tmp_path)
    assert terminal.getvalue().count(HIDE) == terminal.getvalue().count(SHOW) == 1
    assert "2/2" in terminal.getvalue()


def test_a_record_tells_of_a_checkpoint_that_was_loaded_over_the_weights(config, tmp_path, monkeypatch):
    from mmseg.registry import MODELS

    first = labels.run(config, tmp_path)
    segmentor = MODELS.build(config.model)
    assert first["weights"]["state"] == state_digest(segmentor.clip)
    with torch.no_grad():
        for parameter in segmentor.clip.parameters():
            parameter.mul_(1.25)
    torch.save({"state_dict": segmentor.state_dict(), "meta": {}}, tmp_path / "other.pth")
    config.load_from = str(tmp_path / "other.pth")
    found = labels.run(config, tmp_path)
    assert found["weights"]["file"] == "other.pth" != first["weights"]["file"]
    assert found["weights"]["state"] == state_digest(segmentor.clip) != first["weights"]["state"]
    assert found["weights"]["sha256"] != first["weights"]["sha256"]
    written = json.loads(Path(found["file"]).read_text())
    assert written["weights"] == found["weights"] and len(written["vocabulary"]["sha256"]) == 64
    assert written["vocabulary"]["texts"] == [["sky"], ["tree"]]


def test_a_checkpoint_that_does_not_fit_is_one_line(config, tmp_path):
    torch.save({"state_dict": {"x": torch.zeros(2)}, "meta": {}}, tmp_path / "other.pth")
    config.load_from = str(tmp_path / "other.pth")
    with pytest.raises(Exception, match="does not fit"):
        labels.run(config, tmp_path)


def test_out_needs_a_metric_that_writes(config, tmp_path):
    config.test_evaluator = [{"type": "CityscapesMetric", "output_dir": "x"}]
    with pytest.raises(UsageError, match="--out needs ExactIoUMetric or CityscapesIoUMetric"):
        labels.run(config, tmp_path, out=str(tmp_path / "out"))


def test_a_config_is_not_changed_by_its_run(config, tmp_path):
    before = config.pretty_text
    evaluate(config, labels.Run(work_dir=str(tmp_path / "work"), out=str(tmp_path / "out")))
    assert config.pretty_text == before
