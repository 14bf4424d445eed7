"""``models``: small models; both files are loaded by path, since tests are no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def load(name: str, path: Path) -> ModuleType:
    """The module of a file, under a name that tests can import."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


load("small_towers", HERE.parent / "clip" / "towers" / "small.py")


@pytest.fixture(scope="session")
def models() -> ModuleType:
    """tests/explanation/models.py."""
    return load("explain_models", HERE / "models.py")
