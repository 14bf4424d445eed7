"""The embedded SAM answers ten times as fast as GrabCut; what is asked of both says so itself."""

from __future__ import annotations

import pytest

from ovseg.evaluation.data.scenes import NAMES
from ovseg.masks import TextToMask
from ovseg.segmenters.load import load_segmenter


@pytest.fixture(scope="session")
def segmenter():
    return load_segmenter("tiny")


@pytest.fixture(scope="session")
def t2m(model, segmenter):
    return TextToMask(model, segmenter)


@pytest.fixture(scope="session")
def always(model, segmenter):
    """Never says that a text is absent."""
    return TextToMask(model, segmenter, presence_threshold=0.0)


@pytest.fixture(scope="session")
def things():
    """The names of a scene's objects."""
    return lambda scene: [name for name in scene.present if NAMES.index(name) >= 6]
