"""``ovseg serve`` as a command: what it refuses. tests/annotation/test_hostile_requests.py runs it."""

from __future__ import annotations

import importlib
import socket
import sys

import pytest

from ovseg.errors import extra

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")


def test_a_port_in_use_is_one_line(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("serve", "--port", port)
    assert done.exit_code == 1
    assert done.errors == [f"error: expected a free port, 127.0.0.1:{port}: Address already in use"]


@pytest.mark.parametrize(
    "words, line",
    [
        (("--port", "70000"), "expected --port in 0..65535, got 70000"),
        (("--root", "nowhere"), "expected --root as a folder, got nowhere"),
        (("--hosts", "a b"), "expected a host such as localhost:8080, got 'a b'"),
        (("--hosts", "localhost/data"), "expected a host such as localhost:8080"),
        (("--host", "no-such-host.invalid"), "expected --host as an address of this machine"),
        (("--timeout", "0"), "expected --timeout in 0.1..86400, got 0"),
        (("--workers", "0"), "expected --workers in 1..64, got 0"),
        (("--token", " "), "expected --token as a text"),
        (("--model", "nothing"), "unknown --model"),
    ],
)
def test_misuse_is_one_line(run, words, line):
    done = run("serve", *words, *(() if "--port" in words else ("--port", "0")))
    assert done.exit_code == 2 and len(done.errors) == 1 and line in done.errors[0], done.errors


@pytest.mark.parametrize("name", ["OVSEG_SERVE_TOKEN", "OVSEG_LABEL_STUDIO_TOKEN"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_token_is_no_server_without_a_password(run, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    done = run("serve", "--port", "0")
    assert done.exit_code == 2 and len(done.errors) == 1 and "token" in done.errors[0]


def test_without_the_extra_the_command_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run("serve")
    assert done.exit_code == 2 and len(done.errors) == 1
    assert "ovseg serve needs FastAPI and uvicorn" in done.errors[0] and extra("serve") in done.errors[0]


@pytest.mark.parametrize(
    "words, warned",
    [((), False), (("--host", "localhost"), False), (("--host", "0.0.0.0"), True),
     (("--host", "0.0.0.0", "--token", "secret"), False)],
)  # fmt: skip
def test_an_address_for_everybody_without_a_token_is_warned_of(run, monkeypatch, words, warned):
    served = []
    module = importlib.import_module("ovseg.apps.cli.serve")
    monkeypatch.setattr(
        module, "run_server", lambda app, opened, stop, seconds, verbose: served.append(opened.getsockname())
    )
    done = run(
        "serve", "--model", "tiny", "--segmenter", "tiny", "--templates", "plain", "--port", "0", *words
    )
    assert done.exit_code == 0 and len(served) == 1
    assert f":{served[0][1]} (Ctrl-C ends it)" in done.stdout
    assert ("whoever reaches this address may use the server" in done.stderr) == warned
