"""The embedded model as a backbone, and a few small scenes."""

from __future__ import annotations

import pytest

from ovseg.evaluation.data.registry import read_scenes
from ovseg.evaluation.tables.protocol import Protocol
from ovseg.evaluation.tables.run import Backbone, Setup, texts_of


@pytest.fixture(scope="session")
def backbone(model):
    return Backbone.of("tiny", model)


@pytest.fixture(scope="session")
def scenes():
    return read_scenes(3)


@pytest.fixture(scope="session")
def texts(scenes):
    return texts_of(scenes.names)


@pytest.fixture(scope="session")
def protocol():
    """Plain prompts, so that texts take no time."""
    return Protocol(size=64, templates="plain", group=2)


@pytest.fixture
def setup(backbone, texts, protocol, tmp_path):
    """The embedded model on the scenes, with rows in a folder of the test's own."""
    return Setup(backbone, texts, protocol, tmp_path / "rows")
