"""Label Studio in an environment of its own, and the routes of its API that the trial needs."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ovseg.errors import OvsegError, one_line

PACKAGES = ("label-studio", "playwright")
"""What the environment holds; playwright drives the machine's own Chromium, and downloads none."""
USER, PASSWORD = "trial@ovseg.local", "a-password-for-the-trial"
START = 900.0
"""Seconds for the first start, which makes the database."""
ANSWER = 300.0
SETTINGS = {
    "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
    "ML_BLOCK_LOCAL_IP": "false",  # else a backend of this machine is refused with status 403
    "SSRF_PROTECTION_ENABLED": "false",
    "LATEST_VERSION_CHECK": "false",
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
}


def make_environment(folder: Path, program: str = "label-studio", packages: Sequence[str] = PACKAGES) -> Path:
    """The python of an environment with a program, which is installed if it is missing.

    Args:
        folder: of the environment.
        program: what it has to hold in its folder bin.
        packages: what pip installs otherwise.

    Raises:
        OvsegError: pip fails.
    """
    python = folder / "bin" / "python"
    if not (folder / "bin" / program).is_file():
        venv.create(folder, with_pip=True)
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", *packages], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = " ".join(done.stderr[-400:].split())
            raise OvsegError(f"expected {packages[0]}, pip said: {said}")
    return python


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


class Studio:
    """A Label Studio that runs from ``with`` to its end.

    Args:
        python: of an environment with Label Studio.
        folder: where it keeps its data; ``files`` below it are those that it serves as local files.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        self.files = folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self.port, self.token = free_port(), secrets.token_hex(20)
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Studio:
        command = [
            *(str(self.python.parent / "label-studio"), "start", "--no-browser"),
            *("--internal-host", "127.0.0.1", "-p", str(self.port)),
            *("--data-dir", str(self.folder / "data"), "--username", USER, "--password", PASSWORD),
            *("--user-token", self.token, "--enable-legacy-api-token"),
        ]
        (self.folder / "data").mkdir(exist_ok=True)
        known = {**os.environ, **SETTINGS, "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(self.files)}
        with (self.folder / "label-studio.log").open("w") as log:
            self.process = subprocess.Popen(command, env=known, stdout=log, stderr=log)
        wait_for(f"{self.url}/health", self.process, START)
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)

    def ask(self, route: str, body: object = None) -> Any:
        """The JSON that a route answers: GET, or POST with a body.

        Args:
            route: the path with its query.
            body: sent as JSON; bytes are a form that ``form`` made.

        Raises:
            OvsegError: another status than 2xx, with what was said.
        """
        kind = f"multipart/form-data; boundary={BOUNDARY}" if isinstance(body, bytes) else "application/json"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Token {self.token}", "Content-Type": kind}
        request = urllib.request.Request(f"{self.url}{route}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            said = " ".join(error.read().decode(errors="replace").split())
            raise OvsegError(f"{route}: status {error.code}, {said[:300]}") from None
        except OSError as error:
            raise OvsegError(f"{route}: {one_line(error)}") from None


BOUNDARY = "ovseg-trial-boundary"


def form(files: Sequence[Path]) -> bytes:
    """Files as a form, for ``Studio.ask``."""
    parts = []
    for path in files:
        head = f'Content-Disposition: form-data; name="{path.name}"; filename="{path.name}"'
        parts += [f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode(), path.read_bytes(), b"\r\n"]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


class Backend:
    """``ovseg serve`` that runs from ``with`` to its end.

    Args:
        studio: where it takes images from.
        arguments: further ones of ``ovseg serve``.
    """

    def __init__(self, studio: Studio, arguments: Sequence[str]) -> None:
        self.port, self.token = free_port(), secrets.token_hex(20)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = studio.folder / "ovseg-serve.log"
        self.command = [
            *(sys.executable, "-m", "ovseg.apps.cli", "serve", "--port", str(self.port), "--verbose"),
            *("--hosts", f"127.0.0.1:{studio.port}", *arguments),
        ]
        self.known = {"OVSEG_SERVE_TOKEN": self.token, "OVSEG_LABEL_STUDIO_TOKEN": studio.token}

    def __enter__(self) -> Backend:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.command, env={**os.environ, **self.known}, stdout=log, stderr=log
            )
        wait_for(f"{self.url}/health", self.process, START)
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Return when an address answers.

    Raises:
        OvsegError: the process ended, or the time is over.
    """
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        if process.poll() is not None:
            raise OvsegError(f"expected {url}, its process ended with {process.returncode}: see its log")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise OvsegError(f"expected {url} within {seconds:g} s, got no answer")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and wait for it."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
