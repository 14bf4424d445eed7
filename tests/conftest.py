"""Shared by all tests: the embedded model once, a home of their own, the literal reference."""

from __future__ import annotations

import gc
import importlib.util
import os
import socket
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

import ovseg
from ovseg.segmenters.grabcut import GrabCut

TESTS = Path(__file__).parent

# The same examples every time, however busy the machine is; no folder beside the tests.
settings.register_profile(
    "ovseg", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ovseg")


def pytest_collection_finish():
    """What is imported by now stays: the collector of garbage need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def collected():
    """Models and images of one file's failed calls, which tracebacks hold in circles, are freed after it."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Nothing a test does reaches the user's own folder, and none sees another's."""
    monkeypatch.setenv("OVSEG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def import_tool():
    """A module of tools/ by its name. As for a script there, its neighbours can be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TESTS.parent / "tools"))
        yield importlib.import_module


@pytest.fixture(scope="session")
def model():
    return ovseg.load_model("tiny", cache=False)


@pytest.fixture(scope="session")
def t2m(model):
    return ovseg.TextToMask(model, GrabCut())


@pytest.fixture(scope="session")
def always(model):
    """Never says that a text is absent."""
    return ovseg.TextToMask(model, GrabCut(), presence_threshold=0.0)


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """tests/reference/surgery.py: the paper written out literally."""
    spec = importlib.util.spec_from_file_location("reference_surgery", TESTS / "reference" / "surgery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def add_model_configs():
    """open_clip's ``add_model_config``, undone at the end: other modules list what open_clip ships."""
    from open_clip import factory

    paths, known = list(factory._MODEL_CONFIG_PATHS), dict(factory._MODEL_CONFIGS)
    yield factory.add_model_config
    factory._MODEL_CONFIG_PATHS[:], factory._MODEL_CONFIGS = paths, known


@pytest.fixture(scope="session")
def no_root():
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")


@pytest.fixture
def asked(monkeypatch):
    """Names that the network was asked for; every look-up fails."""
    found = []

    def look_up(host, *_, **__):
        found.append(host)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: look_up(address))
    return found


@pytest.fixture(scope="session")
def trees() -> ModuleType:
    """tests/mmseg/trees.py: ``trees.write_tree("ade20k", root)`` generates a small data set."""
    spec = importlib.util.spec_from_file_location("mmseg_trees", TESTS / "mmseg" / "trees.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return TESTS.parent
