"""Text encoders around any model and tokenizer."""

from __future__ import annotations

import pytest

from ovseg.clip.loaded import LoadedClip
from ovseg.clip.text import TextEncoder


@pytest.fixture(scope="session")
def encoder():
    """Makes the encoder of a model and a tokenizer; with a cache, features are kept under the text "a test"."""

    def make(clip, tokenizer, cache=None, text="a test"):
        return TextEncoder(LoadedClip(clip, tokenizer, "", (0.0,) * 3, (1.0,) * 3, 64, text=text), cache)

    return make
