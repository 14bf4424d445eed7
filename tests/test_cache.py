"""Results kept by an image's content, and the folder where everything else is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ovseg.errors import UsageError
from ovseg.files.cache import ContentCache
from ovseg.files.paths import home, sha256_of


@dataclass(frozen=True)
class Look:
    image: np.ndarray
    parts: tuple[np.ndarray, ...]


def test_what_is_kept_is_neither_the_callers_array_nor_changed_by_whom_it_is_handed_to():
    cache = ContentCache()
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    found = cache.get(image, lambda pixels: Look(pixels, (pixels[0], pixels[:, :2])))
    before = image.copy()
    for array in (found.image, *found.parts):
        assert not np.shares_memory(array, image)
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    image[:] = 7  # the caller's own stays writable, and what is kept stays as it was
    assert np.array_equal(found.image, before)
    assert cache.get(before, lambda pixels: None) is found


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: [a], lambda a: {"a": (a,)}, lambda a: Look(a, ())])
def test_arrays_are_read_only_wherever_the_value_holds_them(wrap):
    made = []

    def make(pixels):
        made.append(pixels.astype(float))
        return wrap(made[0])

    ContentCache().get(np.zeros((2, 2, 3), np.uint8), make)
    assert not made[0].flags.writeable


def test_the_key_is_the_content_shape_and_type_and_the_oldest_goes_first():
    cache, made = ContentCache(most=2), []
    images = [np.zeros((2, 6), np.uint8), np.zeros((6, 2), np.uint8), np.zeros((2, 6), np.int8)]
    for image in [*images, images[2], images[1].T.T, images[0]]:
        cache.get(image, lambda pixels: made.append(pixels.shape))
    assert len(made) == 4 and len(cache) == 2


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_home_counts_as_unset(monkeypatch, value):
    monkeypatch.delenv("OVSEG_HOME")
    wanted = home()
    monkeypatch.setenv("OVSEG_HOME", value)
    assert home() == wanted and home().name == "ovseg"


def test_a_tilde_in_home_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OVSEG_HOME", "~/kept")
    assert home() == tmp_path / "kept"
    monkeypatch.setenv("OVSEG_HOME", "~no-such-user/kept")
    with pytest.raises(UsageError, match="OVSEG_HOME as a folder, got '~no-such-user/kept'"):
        home()


def test_a_files_digest(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a").startswith("ba7816bf")
