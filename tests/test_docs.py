"""Every code block and command of README and docs runs, on a photograph that scikit-image ships."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from importlib import resources
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ovseg.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "ovseg" / "assets").glob("*.md")),
]
BLOCKS = [
    (page.name, kind, note.strip(), body)
    for page in PAGES
    for kind, note, body in re.findall(
        r"^```(\w+)([^\n]*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S
    )
]
# Run by other means: the two commands by .ci/run; training and measuring take minutes to hours, so
# tests/test_embedded.py calls the measuring on fewer scenes, and here their arguments are parsed.
ELSEWHERE = ("make demo", "make test", "make check", "make pictures")


@pytest.fixture
def photo(tmp_path, monkeypatch):
    shutil.copy(Path(str(resources.files("skimage"))) / "data" / "rocket.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)


def commands():
    for page, kind, note, body in BLOCKS:
        if kind == "sh" and note != "data":  # those run on trees, in tests/mmseg/test_page.py
            for line in body.splitlines():
                command = line.split("#", 1)[0].strip()
                if command:
                    yield pytest.param(note, command, id=f"{page}: {command}")


@pytest.mark.parametrize(
    "note, body",
    [
        pytest.param(n, b, id=f"{p}: {b.splitlines()[-1]}")
        for p, k, n, b in BLOCKS
        if k == "python" and n != "data"
    ],
)
def test_python_blocks_run(photo, note, body):
    if note == "needs-network":
        compile(body, "block", "exec")
        assert "weights=" in body  # nothing else needs it
        return
    exec(compile(body, "block", "exec"), {})


@cache
def help_of(script: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("note, command", commands())
def test_commands_run(photo, note, command):
    if command in ELSEWHERE:
        target = command.split()[1]
        assert f"\n{target}:" in (ROOT / "Makefile").read_text()
        return
    words = shlex.split(command)
    if words[0] == "python":
        said = help_of(words[1])
        assert all(w.split("=")[0] in said for w in words[2:] if w.startswith("--"))
        return
    assert words[0] == "ovseg", f"nobody runs {command!r}"
    if note == "needs-network":  # says what is missing, and that is all it can do here
        offline = [] if "verify" in words else ["--offline"]
        assert CliRunner().invoke(app, [*words[1:], *offline]).exit_code == 1
        return
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, done.output


def test_blocks_were_found_and_links_lead_somewhere():
    assert sum(kind == "python" for _, kind, _, _ in BLOCKS) >= 8
    links = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
            links += 1
    assert links > 5
