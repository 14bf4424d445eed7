"""Results kept by an image's content, and the folder where everything else is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ovseg.errors import UsageError
from ovseg.files import cache
from ovseg.files.cache import ContentCache
from ovseg.files.paths import home, sha256_of
from ovseg.files.pictures import load_image


@dataclass(frozen=True)
class Look:
    image: np.ndarray
    parts: tuple[np.ndarray, ...]


def test_what_is_kept_is_neither_the_callers_array_nor_changed_by_whom_it_is_handed_to():
    kept = ContentCache()
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    found = kept.get(image, lambda pixels: Look(pixels, (pixels[0], pixels[:, :2])))
    before = image.copy()
    for array in (found.image, *found.parts):
        assert not np.shares_memory(array, image)
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    image[:] = 7  # the caller's own stays writable, and what is kept stays as it was
    assert np.array_equal(found.image, before)
    assert kept.get(before, lambda pixels: None) is found


def test_a_picture_is_hashed_once_and_copied_at_most_once_by_all_caches(monkeypatch, tmp_path):
    hashed = []
    monkeypatch.setattr(
        cache, "hashlib", SimpleNamespace(sha256=lambda a: hashed.append(a) or hashlib.sha256(a))
    )
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3)).save(tmp_path / "a.png")
    read, own = load_image(tmp_path / "a.png"), np.zeros((2, 4, 3), np.uint8)
    for given, copies in ((read, False), (own, True), (load_image(own), True)):
        hashed.clear()
        first, second = ContentCache(), ContentCache()
        kept = first.get(given, lambda pixels, second=second: second.get(pixels, lambda again: again))
        assert len(hashed) == 1 and (kept is not given) == copies
        assert first.get(kept, lambda _: None) is kept and len(hashed) == 1
    own[:] = 9  # the digest of what can change is not remembered
    assert first.get(own, lambda _: "other") == "other"
    number = id(kept)
    del kept, first, second
    assert number not in cache._DIGESTS


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: [a], lambda a: {"a": (a,)}, lambda a: Look(a, ())])
def test_arrays_are_read_only_wherever_the_value_holds_them(wrap):
    made = []

    def make(pixels):
        made.append(pixels.astype(float))
        return wrap(made[0])

    ContentCache().get(np.zeros((2, 2, 3), np.uint8), make)
    assert not made[0].flags.writeable


def test_the_key_is_the_content_shape_and_type_and_the_oldest_goes_first():
    kept, made = ContentCache(most=2), []
    images = [np.zeros((2, 6), np.uint8), np.zeros((6, 2), np.uint8), np.zeros((2, 6), np.int8)]
    for image in [*images, images[2], images[1].T.T, images[0]]:
        kept.get(image, lambda pixels: made.append(pixels.shape))
    assert len(made) == 4 and len(kept) == 2


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
