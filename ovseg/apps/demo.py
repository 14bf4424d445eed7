"""The main job on the embedded models, on photographs of installed packages and on a scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.evaluation.data.scenes import NAMES, make_scene
from ovseg.explanation import compare, explain_tokens
from ovseg.explanation.picture import Truth, compare_sheets, score_maps, token_sheet
from ovseg.files.pictures import load_image
from ovseg.files.write import make_folder, write_picture
from ovseg.masks import TextToMask
from ovseg.model import Model, load_model
from ovseg.results import SimilarityMap, figures
from ovseg.results.masks import draw_masks
from ovseg.segmenters.base import Segmenter
from ovseg.weights.known import TINY

HEIGHT = 220
ABSENT = "sheep"
EXPLAINED_SCENE = 11
EXPLANATIONS = (
    "clip", "rclip", "maskclip", "naclip", "clip_surgery", "gradcam_input", "bimodal", "legrad",
    "grad_eclip", "plrp", "rollout",
)  # fmt: skip
STEP_BY_STEP = ("cat", "motorcycle", "person")
"""Texts that are shown as image, map, points and mask, for the last example that has the text."""


@dataclass(frozen=True)
class Example:
    """A picture (H, W, 3), the names it is segmented into, and the one that is explained."""

    image: NDArray[np.uint8]
    names: tuple[str, ...]
    shown: str


@dataclass(frozen=True)
class Photograph:
    """A photograph that a package ships, and what is asked about it."""

    package: str
    place: str
    names: tuple[str, ...]
    shown: str

    def path(self) -> Path | None:
        """The file; None where the package is not installed, or came without it."""
        try:
            path = Path(str(resources.files(self.package))) / self.place
        except ModuleNotFoundError:
            return None
        return path if path.is_file() else None


PHOTOGRAPHS = (
    Photograph("skimage", "data/chelsea.png", ("cat", "wall", "blanket"), "cat"),
    Photograph("skimage", "data/coffee.png", ("cup", "table", "spoon"), "cup"),
    Photograph("skimage", "data/astronaut.png", ("person", "flag", "rocket"), "person"),
    Photograph(
        "skimage", "data/motorcycle_left.png", ("motorcycle", "wall", "floor", "window"), "motorcycle"
    ),
    Photograph("skimage", "data/rocket.jpg", ("sky", "tower", "rocket", "tree"), "sky"),
    Photograph("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", ("person", "flag", "wall"), "person"),
)


def examples() -> list[Example]:
    """Those of ``PHOTOGRAPHS`` that are here."""
    found = []
    for photograph in PHOTOGRAPHS:
        path = photograph.path()
        if path is not None:
            found.append(Example(load_image(path), photograph.names, photograph.shown))
    return found


def missing() -> int:
    """How many of ``PHOTOGRAPHS`` are not here."""
    return sum(photograph.path() is None for photograph in PHOTOGRAPHS)


def run(model: Model, segmenter: Segmenter, folder: Path) -> Iterator[tuple[Path, str]]:
    """Write the pictures of README and docs, one after the other.

    Args:
        model: segments and explains.
        segmenter: makes the masks.
        folder: where the pictures go; made where it is missing.

    Yields:
        The path of each picture that has been written, and what it shows.
    """
    shown = examples()
    make_folder(folder)
    finder, blocks = TextToMask(model, segmenter), load_model(TINY)  # many explanations need a ViT's blocks
    steps = {example.shown: example for example in shown if example.shown in STEP_BY_STEP}
    pictures: dict[str, tuple[str, Callable[[], NDArray[np.uint8]]]] = {
        "steps.jpg": (
            "three photographs, the map of a word, the points taken from the map, the masks made from them",
            lambda: figures.grid([_steps(finder, example) for example in steps.values()]),
        ),
        "demo.jpg": (
            "each photograph segmented into some names, and the map of one name by CLIP Surgery and by CLIP",
            lambda: figures.grid([_row(model, example) for example in shown]),
        ),
        "masks.jpg": (
            f"masks made from a word, and {ABSENT!r}, which is in no picture and gets none",
            lambda: figures.grid(_masks(finder, shown)),
        ),
        "explanations.jpg": (
            "one shape of a generated scene by many explanations, with their scores against its mask",
            lambda: _explanations(blocks),
        ),
        "tokens.jpg": (
            "a caption token by token: which of its words the image answers to",
            lambda: _tokens(blocks),
        ),
    }
    for name, (what, draw) in pictures.items():
        write_picture(folder / name, draw())
        yield folder / name, what


def _steps(finder: TextToMask, example: Example) -> list[NDArray[np.uint8]]:
    """The image, the map of its text that points are taken from, the points, and the masks made of them."""
    image, text = figures.fit(example.image, HEIGHT), example.shown
    found = finder.predict_texts(image, [text])[0]
    values = SimilarityMap(found.maps, (text,), (image.shape[0], image.shape[1]))[text]
    points = masks = image
    for prompts in found.points:
        points = figures.draw_points(points, prompts.xy, prompts.labels)
    for mask, colour in zip(found.masks, figures.palette(len(found)).tolist(), strict=True):
        masks = figures.overlay_mask(masks, mask, tuple(colour))
    count = f"{len(found)} mask" + ("s" if len(found) != 1 else "")
    titles = ("image", f"map of “{text}”", "points", count)
    steps = (image, figures.overlay_heat(image, values), points, masks)
    return [figures.titled(step, title) for title, step in zip(titles, steps, strict=True)]


def _explanations(model: Model) -> NDArray[np.uint8]:
    """A thing of a scene by many explanations, with their scores against its mask."""
    scene = make_scene(EXPLAINED_SCENE, (160, 208))
    thing = scene.present[0]
    mask = scene.labels == NAMES.index(thing)
    truth = Truth(mask, np.ones(mask.shape, bool))
    found = compare(model, scene.image, thing, EXPLANATIONS)
    return next(compare_sheets(scene.image, found, [truth], score_maps(found.maps, [truth])))


def _tokens(model: Model) -> NDArray[np.uint8]:
    """A scene's caption token by token."""
    scene = make_scene(EXPLAINED_SCENE, (160, 208))
    return token_sheet(scene.image, explain_tokens(model, scene.image, scene.caption))


def _masks(t2m: TextToMask, shown: list[Example]) -> list[list[NDArray[np.uint8]]]:
    """Each example's explained name and one that is in none of them, as masks; four in a row."""
    cells = []
    for example in shown:
        image = figures.fit(example.image, HEIGHT)
        cells.append(draw_masks(image, t2m.predict_texts(image, [example.shown, ABSENT])))
    return [cells[start : start + 4] for start in range(0, len(cells), 4)]


def _row(model: Model, example: Example) -> list[NDArray[np.uint8]]:
    labels = model.segment(example.image, example.names)
    colours = figures.palette(len(example.names))
    surgery = model.similarity(example.image, example.shown)
    plain = model.with_method("clip").similarity(example.image, example.shown, surgery="none")
    entries = [(name, tuple(colours[labels.index(name)].tolist())) for name in labels.shares]
    overlay = figures.fit(figures.overlay_labels(example.image, labels.array, colours), HEIGHT)
    pictures = [
        figures.titled(figures.fit(example.image, HEIGHT), "image"),
        figures.with_legend(figures.titled(overlay, "segment"), entries),
    ]
    for title, found in ((f"{example.shown}: CLIP Surgery", surgery), ("original CLIP", plain)):
        heat = figures.overlay_heat(example.image, found[example.shown])
        pictures.append(figures.titled(figures.fit(heat, HEIGHT), title))
    return pictures
