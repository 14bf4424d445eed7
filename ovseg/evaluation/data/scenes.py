"""Generated scenes: coloured shapes on textures, with pixel labels and captions.

The embedded model is trained on them, and tests, benchmarks and the demo use them. They need no files or
licence, and a seed gives the same pixels on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.options.checks import Size, check_integer, check_size, pair

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (208, 38, 42),
    "green": (44, 160, 60),
    "blue": (42, 84, 212),
    "yellow": (236, 208, 44),
    "purple": (142, 52, 176),
    "white": (240, 240, 240),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
STUFF = ("stripes", "polka dots", "checkerboard", "bricks", "waves", "gravel")
THINGS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
NAMES: tuple[str, ...] = STUFF + THINGS
"""The 42 classes of the scenes: index k of a label map is ``NAMES[k]``."""


@dataclass(frozen=True)
class Scene:
    """One generated picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, indices of ``NAMES``.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    @property
    def present(self) -> tuple[str, ...]:
        """The names that cover at least one pixel, shapes before textures."""
        found = sorted(np.unique(self.labels).tolist(), key=lambda k: (k < len(STUFF), k))
        return tuple(NAMES[k] for k in found)

    @property
    def caption(self) -> str:
        """A caption such as "a red circle and a blue star on bricks"."""
        things = [name for name in self.present if name in THINGS]
        stuff = [name for name in self.present if name in STUFF]
        return " on ".join(" and ".join(part) for part in ([f"a {t}" for t in things], stuff) if part)


def make_scene(seed: int, size: Size = (128, 128), things: int | None = None) -> Scene:
    """Generate a scene: one or two textures with coloured shapes on them.

    A shape measures a quarter to half of the short side. At most a tenth of it may cover earlier shapes; it
    is dropped after eight failed tries.

    Args:
        seed: 0 or above; the same seed gives the same scene.
        size: one side of a square or (height, width), in pixels, at least 1.
        things: the number of shapes, at most 1,000; None for 1 to 4, by the seed.

    Returns:
        The picture with its labels.

    Raises:
        UsageError: the seed, size or number of shapes is out of range.

    >>> scene = make_scene(3)
    >>> scene.image.shape, scene.labels.shape
    ((128, 128, 3), (128, 128))
    >>> scene.caption
    'a purple triangle on stripes'
    """
    check_integer("seed", seed, 0, 2**63 - 1)
    sides = check_size("size", size)
    if sides is None:
        raise UsageError("expected size as one side or (height, width), got None")
    size = pair(sides)
    if things is not None:
        check_integer("things", things, 0, 1000)
    rng = np.random.default_rng(seed)
    height, width = size
    labels = np.empty(size, np.uint8)
    image = np.empty((height, width, 3), np.float32)
    first, second = rng.choice(len(STUFF), 2, replace=False)
    labels[:], image[:] = first, _texture(rng, int(first), size)
    if rng.random() < 0.5:
        ground = _half_plane(rng, size)
        labels[ground], image[ground] = second, _texture(rng, int(second), size)[ground]
    for _ in range(things if things is not None else int(rng.integers(1, 5))):
        _put_thing(rng, image, labels)
    image += rng.normal(0, 4, image.shape)
    image *= rng.uniform(0.85, 1.1)
    return Scene(np.clip(image, 0, 255).astype(np.uint8), labels)


def _put_thing(rng: np.random.Generator, image: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
    for _ in range(8):  # tries to find a free place; a crowded scene has fewer shapes
        thing = int(rng.integers(len(THINGS)))
        mask = _shape_mask(rng, SHAPES[thing % len(SHAPES)], labels.shape)
        covered = labels[mask]
        if not mask.any() or np.mean(covered >= len(STUFF)) > 0.1:
            continue
        tint = np.array(list(COLOURS.values())[thing // len(SHAPES)], np.float32)
        shade = np.linspace(1.05, 0.9, len(labels), dtype=np.float32)[:, None, None]
        image[mask] = (np.clip(tint + rng.normal(0, 10, 3), 0, 255) * shade * np.ones_like(image))[mask]
        labels[mask] = len(STUFF) + thing
        return


def _half_plane(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.bool_]:
    y, x = np.mgrid[: size[0], : size[1]]
    angle = rng.uniform(0, 2 * np.pi)
    distance = (x / size[1] - 0.5) * np.cos(angle) + (y / size[0] - 0.5) * np.sin(angle)
    return distance > rng.uniform(-0.2, 0.2)


def _shape_mask(rng: np.random.Generator, shape: str, size: tuple[int, ...]) -> NDArray[np.bool_]:
    short = min(size)
    radius = rng.uniform(0.125, 0.25) * short
    centre = rng.uniform(0.6 * radius, np.array(size[::-1]) - 0.6 * radius)
    turn = rng.uniform(0, 2 * np.pi)
    mask = np.zeros(size, np.uint8)
    if shape in ("circle", "ring"):
        cv2.circle(mask, centre.astype(int).tolist(), round(radius), 1, -1)
        if shape == "ring":
            cv2.circle(mask, centre.astype(int).tolist(), round(0.55 * radius), 0, -1)
        return mask.astype(bool)
    if shape == "cross":
        arm = np.array([[-1, 0.32], [-0.32, 0.32], [-0.32, 1], [0.32, 1], [0.32, 0.32], [1, 0.32]])
        outline = np.concatenate([arm, -arm])
    else:
        corners = {"square": 4, "triangle": 3, "star": 10}[shape]
        angles = np.arange(corners) * 2 * np.pi / corners
        reach = np.where(np.arange(corners) % 2, 0.42, 1.15) if shape == "star" else np.full(corners, 1.1)
        outline = reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = centre + radius * outline @ rotation.T
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], (1,))
    return mask.astype(bool)


def _texture(rng: np.random.Generator, stuff: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, 3) float32: two muted colours in a pattern; only the pattern decides the name."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    x, y = x + rng.uniform(0, 64), y + rng.uniform(0, 64)
    period = rng.uniform(9, 18)
    name = STUFF[stuff]
    if name == "stripes":
        angle = rng.uniform(0, np.pi)
        mix = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period) > 0
    elif name == "polka dots":
        dx, dy = x % period - period / 2, y % period - period / 2
        mix = dx**2 + dy**2 < (0.3 * period) ** 2
    elif name == "checkerboard":
        mix = (x // (period / 2) + y // (period / 2)) % 2 == 0
    elif name == "bricks":
        row = y // (period / 2)
        mix = (y % (period / 2) < 1.6) | ((x + (row % 2) * period / 2) % period < 1.6)
    elif name == "waves":
        mix = np.sin(2 * np.pi * (y + 0.25 * period * np.sin(2 * np.pi * x / (1.6 * period))) / period)
        mix = (mix + 1) / 2
    else:  # gravel: smoothed noise
        noise = rng.normal(size=size).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), period / 9)
        mix = np.clip(0.5 + smooth / (3 * smooth.std()), 0, 1)
    base = rng.uniform(70, 185, 3)
    other = np.clip(base + rng.choice([-1, 1]) * rng.uniform(35, 65) + rng.normal(0, 12, 3), 20, 235)
    share = np.asarray(mix, np.float32)[..., None]
    return (share * other + (1 - share) * base).astype(np.float32)
