"""The generated trees for the tests of evaluation."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import ovseg.mmseg  # noqa: F401  # before any test imports mmseg


@pytest.fixture(scope="session")
def trees() -> ModuleType:
    """tests/mmseg/trees.py: ``trees.write_tree("ade20k", root)``."""
    path = Path(__file__).with_name("trees.py")
    spec = importlib.util.spec_from_file_location("mmseg_trees", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).parents[2]
