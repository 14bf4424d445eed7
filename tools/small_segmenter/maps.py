"""The product's own maps of the words that are in a training picture, kept in a file."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ovseg
from ovseg.masks.encoded import Asked, Setup, parse_words, rate
from ovseg.options import MaskOptions
from small_segmenter.pictures import Picture

LEAST = 0.004  # share of the picture below which a word is not asked for


def make_maps(pictures: list[Picture], file: Path, minutes: float) -> None:
    """Write {key: {name: map}} for as many pictures as there is time for; goes on where the file ends."""
    kept = read_maps(file) if file.is_file() else {}
    setup = Setup(ovseg.load_model(), ovseg.load_segmenter("grabcut"), MaskOptions())
    ended = time.monotonic() + 60 * minutes
    for count, picture in enumerate(one for one in pictures if one.key not in kept):
        names = list(
            dict.fromkeys(name for k, name in picture.names.items() if (picture.labels == k).mean() >= LEAST)
        )
        if names:
            asked = Asked.of(setup, parse_words(names, 0.0))
            rated = rate(setup, asked, setup.model.dense_features(picture.image, options=setup.options))
            kept[picture.key] = {one.word.text: one.maps.max(axis=0) for one in rated}
        if count % 100 == 0 or time.monotonic() > ended:
            save_maps(kept, file)
            print(f"{len(kept)} pictures", flush=True)
        if time.monotonic() > ended:
            return
    save_maps(kept, file)
    print(f"{len(kept)} pictures", flush=True)


def save_maps(maps: dict[str, dict[str, NDArray[np.float32]]], file: Path) -> None:
    """One array for each picture and name; the new file takes the old one's place whole."""
    arrays = {
        f"{key}|{name}": grid.astype(np.float16) for key, own in maps.items() for name, grid in own.items()
    }
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    partial.replace(file)


def read_maps(file: Path) -> dict[str, dict[str, NDArray[np.float32]]]:
    """What ``save_maps`` wrote."""
    out: dict[str, dict[str, NDArray[np.float32]]] = {}
    with np.load(file) as found:
        for entry in found.files:
            key, name = entry.split("|")
            out.setdefault(key, {})[name] = found[entry].astype(np.float32)
    return out
