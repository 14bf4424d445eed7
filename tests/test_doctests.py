"""Every example in a docstring runs and gives what it says."""

from __future__ import annotations

import doctest
import sys
from importlib import import_module
from pathlib import Path

import pytest

import ovseg

ROOT = Path(ovseg.__file__).parent
NEEDS = {"ovseg.apps.cvat": (3, 11)}
"""Modules whose packages have no release for an older Python."""
MODULES = sorted(
    ".".join(("ovseg", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if path.stem != "__main__" and ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    for prefix, version in NEEDS.items():
        if name.startswith(prefix) and sys.version_info < version:
            pytest.skip(f"{prefix} needs Python {'.'.join(map(str, version))}")
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0 and found.failed == 0


def test_there_are_examples():
    assert len(MODULES) >= 10
