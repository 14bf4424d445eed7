"""The main job on the embedded model, on generated scenes and on photographs that installed packages ship."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from ovseg import figures
from ovseg.data.scenes import make_scene
from ovseg.io.images import load_image
from ovseg.io.writers import make_folder, write_picture
from ovseg.model import Model
from ovseg.segmenters.base import Segmenter
from ovseg.text_to_mask import TextToMask
from ovseg.text_to_mask.picture import draw_answers

HEIGHT = 220
ABSENT = "sheep"


@dataclass(frozen=True)
class Example:
    """A picture, the names it is segmented into, and the one that is explained."""

    image: np.ndarray
    names: tuple[str, ...]
    shown: str


def examples() -> list[Example]:
    """Three scenes, and the photographs that scikit-image and matplotlib ship."""
    found = []
    for seed in (11, 23, 42):
        scene = make_scene(seed, (160, 208))
        found.append(Example(scene.image, scene.present, scene.present[0]))
    for package, place, names, shown in PHOTOGRAPHS:
        path = Path(str(resources.files(package))) / place
        if path.is_file():
            found.append(Example(load_image(path), names, shown))
    return found


PHOTOGRAPHS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("skimage", "data/rocket.jpg", ("sky", "building", "grass"), "sky"),
    ("skimage", "data/motorcycle_left.png", ("motorcycle", "wall", "road", "building"), "motorcycle"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", ("face", "body", "sky"), "face"),
    ("skimage", "data/chelsea.png", ("cat", "book", "grass"), "cat"),
)


def run(model: Model, sam: Segmenter, folder: Path) -> list[Path]:
    """Two pictures: every example segmented and explained, and masks by words. Their paths."""
    shown = examples()
    make_folder(folder)
    pictures = {
        "demo.jpg": figures.grid([_row(model, example) for example in shown]),
        "masks.jpg": figures.grid(_masks(TextToMask(model, sam), shown)),
    }
    for name, picture in pictures.items():
        write_picture(folder / name, picture)
    return [folder / name for name in pictures]


def _masks(t2m: TextToMask, shown: list[Example]) -> list[list[np.ndarray]]:
    """Each example's explained name and one that is in none of them, as masks; four in a row."""
    cells = []
    for example in shown:
        image = figures.fit(example.image, HEIGHT)
        cells.append(draw_answers(image, t2m.predict(image, [example.shown, ABSENT])))
    return [cells[start : start + 4] for start in range(0, len(cells), 4)]


def _row(model: Model, example: Example) -> list[np.ndarray]:
    labels = model.segment(example.image, example.names).labels
    colours = figures.palette(len(example.names))
    surgery = model.similarity(example.image, example.shown)
    plain = model.with_method("clip").similarity(example.image, example.shown, surgery=None)
    entries = [(name, tuple(colour)) for name, colour in zip(example.names, colours.tolist(), strict=True)]
    overlay = figures.fit(figures.overlay_labels(example.image, labels, colours), HEIGHT)
    pictures = [
        figures.titled(figures.fit(example.image, HEIGHT), "image"),
        figures.with_legend(figures.titled(overlay, "segment"), entries),
    ]
    for title, found in ((f"{example.shown}: CLIP Surgery", surgery), ("original CLIP", plain)):
        heat = figures.overlay_heat(example.image, found[example.shown])
        pictures.append(figures.titled(figures.fit(heat, HEIGHT), title))
    return pictures
