"""``ovseg page`` as a command: what is wrong with its arguments, and a real process asked over HTTP."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from ovseg.apps.cli import app
from ovseg.errors import extra


def invoke(*words):
    done = CliRunner().invoke(app, ["page", *map(str, words)])
    return done.exit_code, done.output


def test_without_starlette_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("ovseg.apps.page.serve.find_spec", lambda name: None)
    code, said = invoke("--out", tmp_path / "run")
    assert (code, said) == (2, f"error: the page needs Starlette and uvicorn (starlette): {extra('page')}\n")


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
    monkeypatch.setattr("ovseg.apps.page.serve.check_packages", lambda: None)
    command = importlib.import_module("ovseg.apps.cli.page")
    monkeypatch.setattr(command, "load_model", lambda *_: pytest.fail("a model was loaded"))
    code, output = invoke("--out", tmp_path / "run", *(word.format(tmp_path) for word in words))
    assert code == 2 and said in output and output.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_a_line(monkeypatch, tmp_path):
    monkeypatch.setattr("ovseg.apps.page.serve.check_packages", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = invoke("--out", tmp_path / "run", "--port", port)
    assert (code, said) == (1, f"error: expected a free port, 127.0.0.1:{port}: Address already in use\n")
    code, said = invoke("--out", tmp_path / "run", "--host", "192.0.2.1")  # an address of nobody's
    assert code == 1 and said.startswith("error: expected a free port, 192.0.2.1:7860: ")


@contextmanager
def page_process(photos, tmp_path, *more):
    """A real page, with a temporary folder of its own: the process and its address."""
    pytest.importorskip("starlette", reason="Starlette is not installed")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    (tmp_path / "temporary").mkdir()
    options = {"model": "tiny", "segmenter": "tiny", "port": 0, "folder": photos, "out": tmp_path / "run"}
    flags = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ovseg.apps.cli",
            "page",
            *flags,
            "--classes",
            "purple triangle, red star",
            *more,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        # Where the tests run in the background, Ctrl-C is ignored by them and by all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            line = process.stdout.readline()
            found = re.match(r"the page is at (http://\S+/), results in ", line)
            assert found, line
            yield process, found[1]
        finally:
            process.kill()


def stop(process, sent):
    process.send_signal(sent)
    assert process.wait(60) == 130
    assert process.stderr.read().splitlines()[-1] == "stopped"


def post(address, path, body, **headers):
    request = urllib.request.Request(address + path, body, {**headers, "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_a_real_process_answers_and_leaves_nothing_behind(photos, tmp_path):
    """Fault 75: on SIGTERM the pictures that were shown or added stayed in the temporary folder."""
    with page_process(photos, tmp_path) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert "ov-picture" in answer.read().decode()
        state = post(address, "act", b'{"act": "look"}')
        assert len(state["cards"]) == 2 and state["picture"] and state["may_open"]
        assert (
            post(address, "photos?name=new.png", (photos / "scene_0.png").read_bytes())["name"] == "new.png"
        )
        stop(process, signal.SIGTERM)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [path.name for path in (tmp_path / "run" / "photos").iterdir()] == ["new.png"]


def test_a_real_process_that_others_reach_shows_its_folder_alone(photos, tmp_path):
    """Fault 66: with --host, any folder of the machine was opened by a call of the page's API."""
    (photos / "link.png").symlink_to(tmp_path / "private.png")
    (tmp_path / "private.png").write_bytes((photos / "scene_0.png").read_bytes())
    with page_process(photos, tmp_path, "--host", "0.0.0.0", "--host-names", "lab.example,a.b") as (
        process,
        address,
    ):
        address = address.replace("0.0.0.0", "127.0.0.1")
        state = post(address, "act", b'{"act": "look"}', Host="lab.example")
        assert (state["total"], state["may_open"]) == (3, False)
        asked = json.dumps({"act": "open", "folder": str(tmp_path), "key": state["key"]}).encode()
        refused = post(address, "act", asked)
        assert refused["failed"] and refused["total"] == 3
        for host in ("evil.example", "evil.example:80"):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                post(address, "act", b'{"act": "look"}', Host=host)
        stop(process, signal.SIGINT)
