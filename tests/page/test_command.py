"""``ovseg page`` as a command: what is wrong with its arguments, and a real process asked over HTTP."""

from __future__ import annotations

import importlib.util
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from typer.testing import CliRunner

from ovseg.apps.cli import app
from ovseg.errors import extra


def invoke(*words):
    done = CliRunner().invoke(app, ["page", *map(str, words)])
    return done.exit_code, done.output


def test_without_gradio_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, said = invoke("--out", tmp_path / "run")
    assert (code, said) == (2, f"error: the page needs Gradio: {extra('page')}\n")


@pytest.mark.parametrize(
    "words, said",
    [
        (["--folder", "{}/nowhere"], "nowhere does not exist"),
        (["--folder", "{}"], "holds none"),
        (["--port", "99999"], "port"),
        (["--classes", "{}/nowhere.txt"], "expected a file of classes"),
        (["--classes", ", ".join(f"word {number}" for number in range(101))], "at most 100 words"),
        (["--out", " "], "expected --out as a folder"),
    ],
)
def test_wrong_arguments_are_a_line_before_a_model_is_loaded(monkeypatch, tmp_path, words, said):
    monkeypatch.setattr("ovseg.apps.page.serve.check_gradio", lambda: None)
    command = importlib.import_module("ovseg.apps.cli.page")
    monkeypatch.setattr(command, "load_model", lambda *_: pytest.fail("a model was loaded"))
    code, output = invoke("--out", tmp_path / "run", *(word.format(tmp_path) for word in words))
    assert code == 2 and said in output and output.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_a_line(monkeypatch, tmp_path):
    monkeypatch.setattr("ovseg.apps.page.serve.check_gradio", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = invoke("--out", tmp_path / "run", "--port", port)
    assert (code, said) == (
        2,
        f"error: expected to listen at 127.0.0.1, port {port}: Address already in use\n",
    )
    code, said = invoke("--out", tmp_path / "run", "--host", "192.0.2.1")  # an address of nobody's
    assert code == 2 and said.startswith("error: expected to listen at 192.0.2.1, port 7860: ")


def test_a_real_process_answers_and_ends(photos, tmp_path):
    pytest.importorskip("gradio", reason="Gradio is not installed")
    command = [
        *[
            sys.executable,
            "-m",
            "ovseg.apps.cli",
            "page",
            "--model",
            "tiny",
            "--segmenter",
            "tiny",
            "--port",
            "0",
        ],
        *["--folder", photos, "--classes", "purple triangle, red star", "--out", tmp_path / "run"],
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, Ctrl-C is ignored by them and by all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            line = process.stdout.readline()
            address = re.match(r"the page is at (http://127\.0\.0\.1:\d+/), results in ", line)
            assert address, line
            with urllib.request.urlopen(address[1], timeout=60) as answer:
                assert "ov-picture" in answer.read().decode()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stderr.read().splitlines()[-1] == "stopped"
        finally:
            process.kill()


def test_a_page_for_other_machines_has_no_way_to_open_a_folder():
    """Fault 66: the box was hidden and its events were registered, so a call of the API opened any folder."""
    pytest.importorskip("gradio", reason="Gradio is not installed")
    code = """
from unittest.mock import Mock
from ovseg.apps.page.layout import Page
for may_open in (True, False):
    blocks = Page(Mock(), may_open=may_open).blocks
    print(len(blocks.fns), any(one.elem_id == "ov-folder" for one in blocks.blocks.values()))
"""  # in a process of its own: Gradio closes no event loop
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (events, box), (fewer, none) = (line.split() for line in done.stdout.splitlines())
    assert (box, none) == ("True", "False") and int(events) == int(fewer) + 2
