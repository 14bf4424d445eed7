"""Calls of results: their methods, and the making of them by hand."""

from __future__ import annotations

import json
from random import Random

import numpy as np

import ovseg
from hostile.call import Call, told
from hostile.place import Place
from hostile.values import NUMBERS, SIZES, anything, hostile

PATHS = ("x.png", "x.npz", "x.json", "x.jpg", "x.PNG", "x", "", " ", ".png", "x.txt", "many",
    "many/x.png", "nowhere/x.png", "new",
    "text.jpg/x.png", "picture.png", "folder.jpg", "/proc/x.png", "/dev/null", "a\0b.png",
    "n" * 300 + ".png",
    "\udce9.png", "~/x.png", "~nobody/x.json", "gone-link.png", "x" + "/y" * 200 + ".npz", b"x.png",
    None, 5)  # fmt: skip
LABELS = (np.zeros((4, 4), np.uint8), np.full((4, 4), 7, np.uint8), np.zeros((4, 4), np.int64),
    np.zeros(4, np.uint8),
    np.zeros((0, 4), np.uint8), np.full((4, 4), 255, np.uint8), np.zeros((4, 4, 1), np.uint8),
    np.zeros((4, 4)))  # fmt: skip
MAPS = (np.zeros((2, 4, 4), np.float32), np.zeros((2, 4, 4)), np.zeros((1, 4, 4)), np.zeros((4, 4)),
    np.full((2, 4, 4), np.nan),
    np.zeros((2, 0, 4)), np.zeros((2, 4, 4), "U1"), np.zeros((2, 4, 4), complex))  # fmt: skip
SCORES = (
    np.zeros(2, np.float32),
    np.zeros(3),
    np.zeros((2, 1)),
    np.array(["a", "b"]),
    np.full(2, np.nan),
    np.zeros(0),
)
NAMES = (("a", "b"), ["a", "b"], ("a",), (), "ab", ("a", "a"), (None, 5), None)
XY = (
    np.zeros((2, 2), np.float32),
    np.zeros((2, 3)),
    np.zeros(2),
    np.zeros((0, 2)),
    np.array([["a", "b"]] * 2),
)
MARKS = (np.ones(2, np.uint8), np.full(2, 2), np.zeros(3), np.array(["1", "0"]), np.array([np.nan, 1]))


def result(place: Place, rng: Random) -> Call:
    one = rng.choice(place.results)
    value, size, number = anything(rng), hostile(rng, SIZES), hostile(rng, NUMBERS)
    makers = [
        ("len, names and contains", lambda: (len(one), value in one)),
        (
            f"== {told(value)}",
            lambda: isinstance(value, np.ndarray) or one == value,
        ),  # NumPy answers for its own
        ("repr", lambda: repr(one)),
        ("_repr_html_", lambda: one._repr_html_()),
        ("list", lambda: list(one)),
    ]
    for name, argument in (("__getitem__", value), ("index", value), ("at", size), ("best", number)):
        if hasattr(one, name) and not isinstance(one, ovseg.TextMasks):
            makers.append((f"{name}({told(argument)})", _bound(one, name, argument)))
    for name in ("to_coco", "to_detections", "describe"):
        if hasattr(one, name):
            makers.append((f"{name}()", _bound(one, name)))
    if hasattr(one, "describe"):
        makers.append(("describe() as JSON", lambda: json.dumps(one.describe())))
    for name in ("areas", "boxes", "shares", "values", "union", "points"):
        if hasattr(one, name):
            makers.append((name, lambda name=name: getattr(one, name)))
    if not isinstance(one, ovseg.TextMasks):
        makers.append(("np.asarray", lambda: np.asarray(one)))
    words, make = rng.choice(makers)
    return Call(f"{type(one).__name__}: {words}", make)


def save(place: Place, rng: Random) -> Call:
    one, path = rng.choice(place.results), hostile(rng, PATHS)
    if isinstance(path, int):
        path = None  # a number would be taken for an open file
    return Call(f"{type(one).__name__}.save({told(path)})", lambda: one.save(path))


def by_hand(place: Place, rng: Random) -> Call:
    """The classes of results, made by a caller."""
    names = rng.choice(NAMES)
    labels, maps, scores = hostile(rng, LABELS), hostile(rng, MAPS), hostile(rng, SCORES)
    more, size = hostile(rng, (None, maps)), hostile(rng, SIZES)
    xy, marks = hostile(rng, XY), hostile(rng, MARKS)
    makers = (
        (
            f"LabelMap({told(labels)}, {told(names)}, {told(more)})",
            lambda: ovseg.LabelMap(labels, names, more),
        ),
        (
            f"SimilarityMap({told(maps)}, {told(names)}, {told(size)})",
            lambda: ovseg.SimilarityMap(maps, names, size),
        ),
        (f"Recognition({told(scores)}, {told(names)})", lambda: ovseg.Recognition(scores, names)),
        (f"PointPrompts({told(xy)}, {told(marks)})", lambda: ovseg.PointPrompts(xy, marks)),
    )
    words, make = rng.choice(makers)
    return Call(words, make)


def _bound(one: object, name: str, *arguments: object) -> object:
    return lambda: getattr(one, name)(*arguments)
