"""``ovseg serve`` as a command: what it refuses, and a process that is asked and ended by Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")


def test_a_process_serves_until_it_is_interrupted(tmp_path):
    words = ["serve", "--port", "0", "--model", "tiny", "--segmenter", "tiny", "--root", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ovseg.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OVSEG_HOME": str(tmp_path / "home")},
    )
    try:
        said = process.stdout.readline()
        found = re.fullmatch(r"(ovseg-[0-9a-f]{12}) serves on (\S+) \(Ctrl-C ends it\)\n", said)
        assert found, said + process.stderr.read()
        with urllib.request.urlopen(f"{found[2]}/health", timeout=60) as answer:
            assert json.load(answer)["status"] == "UP"
        with urllib.request.urlopen(f"{found[2]}/versions", timeout=60) as answer:
            assert json.load(answer) == {"versions": [found[1]]}
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "stopped" and "Traceback" not in errors


def test_a_port_in_use_is_one_line(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("serve", "--port", port)
    assert done.exit_code == 1
    assert done.errors == [f"error: wanted a free port, 127.0.0.1:{port}: Address already in use"]


@pytest.mark.parametrize(
    "words, line",
    [
        (("--port", "70000"), "wanted --port in 0..65535, got 70000"),
        (("--root", "nowhere"), "wanted --root as a folder, got nowhere"),
        (("--hosts", "a b"), "wanted a host such as localhost:8080, got 'a b'"),
        (("--hosts", "localhost/data"), "wanted a host such as localhost:8080"),
        (("--host", "no-such-host.invalid"), "wanted --host as an address of this machine"),
        (("--timeout", "0"), "wanted --timeout in 0.1..86400, got 0"),
        (("--workers", "0"), "wanted --workers in 1..64, got 0"),
        (("--token", " "), "wanted --token as a text"),
        (("--model", "nothing"), "unknown model"),
    ],
)
def test_misuse_is_one_line(run, words, line):
    done = run("serve", *words, *(() if "--port" in words else ("--port", "0")))
    assert done.exit_code == 2 and len(done.errors) == 1 and line in done.errors[0], done.errors


def test_without_the_extra_the_command_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run("serve")
    assert done.exit_code == 2 and len(done.errors) == 1
    assert "wanted fastapi and uvicorn" in done.errors[0] and "pip install 'ovseg[serve]'" in done.errors[0]
