"""Calls of TextToMask, its sessions, and segmenters."""

from __future__ import annotations

from random import Random

import numpy as np
import torch

import ovseg
from hostile import pictures
from hostile.call import Call, told, told_options
from hostile.models import INPUT, images, through
from hostile.place import NAMES, Place
from hostile.values import NUMBERS, WORDS, anything, hostile, ignored, some_options
from ovseg.segmenters.prompts import Prompt

OPTIONS = {
    **INPUT,
    "point_rule": ("components", "paper", *WORDS),
    "map_threshold": NUMBERS,
    "halve_grid": (True, False, None, 1, "yes"),
    "prompt_with": ("points", "map", "box", *WORDS),
    "mask_choice": ("score", "agreement", "both", *WORDS),
    "refine": (True, False, None, 1),
    "clean": NUMBERS,
    "presence_threshold": NUMBERS,
    "rivals": ((), ("wall",), "wall", ["wall", "wall"], [""], [5], None, b"x", ["word " * 90], ["sky"]),
}
TEXTS = ("sky", "sky, tree", "sky+tree", "", " ", ",", "+", "sky+", "sky++tree", "sky+sky", "sky, sky",
    "word " * 90, "\0",
    "\ud800", "\u200b", ["sky", "tree"], ["a, b"], [], [""], [None], [5], ("sky",), {"sky"}, b"sky",
    None, 5, {"sky": "x"})  # fmt: skip
POINTS = (None, [], [(5, 5)], [[5, 5], [20, 20]], [(5, 5, 5)], [(-1, 5)], [(56, 5)], [(55.999999,
    39.999999)], (5, 5), 5,
    "55", [("5", "5")], [(float("nan"), 5)], [(1e30, 5)], np.zeros((0, 2)), np.zeros((2, 2, 2)),
    torch.tensor([[5, 5]]),
    torch.zeros(1, 2, device="meta"), [[True, False]], [[5, None]], {5: 5}, [(5, 5)] * 300)  # fmt: skip
LABELS = (
    None,
    [1],
    [0],
    [1, 0],
    [2],
    [True],
    [1.0],
    ["1"],
    [-1],
    [float("nan")],
    1,
    [[1]],
    [],
    np.array([1], np.uint8),
)
BOXES = (None, (5, 5, 30, 30), [5, 5, 5, 30], (30, 30, 5, 5), (-9, -9, 99, 99), (60, 60, 70, 70), (0, 0,
    1e30, 1e30), (5, 5, 30),
    [[5, 5, 30, 30]], "box", (float("nan"),) * 4, (float("-inf"), 0, float("inf"), 30), np.zeros(4), (0,
    0, 1e-9, 1e-9),
    torch.tensor([5, 5, 30, 30]), ("5", "5", "30", "30"), (5j, 5, 30, 30))  # fmt: skip
MASKS = (None, None, np.zeros((16, 16)), np.ones((256, 256), np.float32), np.full((4, 4), np.nan),
    np.zeros((0, 4)), np.zeros(5),
    np.zeros((1, 4, 4)), [[1, -1], [1, -1]], "mask", np.full((8, 8), 1e38), np.ones((3, 5), bool),
    torch.ones(4, 4))  # fmt: skip
COORDINATES = (5, 5.5, 0, 55.9, -1, 56, 1e9, float("nan"), float("inf"), "5", None, True, [5],
    np.int64(5), np.array(5), np.zeros(2),
    torch.tensor(5), 5j, b"5")  # fmt: skip
SEGMENTER_NAMES = ("tiny", "grabcut", "vit_b", "vit_h", "mobile", "VIT_B", "x", "", "hf:", "hf:x/y",
    "hf:nowhere/none/none", "hf:.",
    "hf:many", "hf:\0", "n" * 3000, "\ud800", None, 5, b"tiny")  # fmt: skip
WEIGHTS = (None, "x", "", "~nobody/x", "nowhere.pt", "text.jpg", "picture.png", "empty.jpg", "many",
    "pipe.jpg", "/dev/null", "a\0b",
    "n" * 3000, 5, b"x", True)  # fmt: skip


def load_segmenter(place: Place, rng: Random) -> Call:
    name, weights = hostile(rng, SEGMENTER_NAMES), hostile(rng, WEIGHTS)
    options = {"device": hostile(rng, ("cpu", "cuda:99", "x", "", None, "mps"))} if rng.random() < 0.3 else {}
    words = f"load_segmenter({told(name)}, {told(weights)}, offline=True{told_options(options)})"
    return Call(words, lambda: place.load_segmenter(name, weights, offline=True, **options))


def text_to_mask(place: Place, rng: Random) -> Call:
    """TextToMask with any options, asked once; sometimes with no model or no segmenter."""
    options = {"size": 32, "templates": "plain", "presence_threshold": 0, **some_options(rng, OPTIONS)}
    model = anything(rng) if rng.random() < 0.05 else place.model
    segmenter = anything(rng) if rng.random() < 0.05 else rng.choice(place.segmenters)
    image = images(place, rng) if rng.random() < 0.3 else place.image
    text = hostile(rng, TEXTS) if rng.random() < 0.3 else rng.choice(NAMES)
    words = f"TextToMask({told(model)}, {told(segmenter)}{told_options(options)})"
    words += f".predict({told(image)}, {told(text)})"
    return Call(words, lambda: through(ovseg.TextToMask(model, segmenter, **options).predict(image, text)))


def predict(place: Place, rng: Random) -> Call:
    finder = rng.choice(place.finders)
    image, text = images(place, rng), hostile(rng, TEXTS)
    verb = rng.choice(("predict", "predict_texts", "predict_each"))
    more = {"on_error": hostile(rng, (None, ignored, 5))} if verb == "predict_each" else {}
    words = f"{verb}({told(image)}, {told(text)}{told_options(more)}) with {finder.segmenter.name}"
    return Call(words, lambda: through(getattr(finder, verb)(image, text, **more)))


def session(place: Place, rng: Random) -> Call:
    """A session of up to five steps; one that fails must leave it as it was."""
    finder = rng.choice(place.finders)
    image = pictures.picture(place, rng) if rng.random() < 0.2 else place.image
    steps = [_step(rng) for _ in range(rng.randint(1, 5))]
    words = f"session({told(image)}) with {finder.segmenter.name}: " + "; ".join(
        f"{name}({', '.join(map(told, given))})" for name, given in steps
    )

    def make() -> object:
        found = finder.session(image)
        last: ovseg.OvsegError | None = None
        for name, given in steps:
            before = found.result
            try:
                getattr(found, name)(*given)
            except ovseg.OvsegError as error:
                assert found.result == before, f"{name} failed and changed the session"
                last = error
        if last is not None:
            raise last
        return found.result

    return Call(words, make)


def _step(rng: Random) -> tuple[str, tuple[object, ...]]:
    name = rng.choice(("text", "click", "click", "remove_click", "box", "undo", "reset"))
    if name == "text":
        return name, (hostile(rng, TEXTS),)
    if name == "click":
        place = (hostile(rng, COORDINATES[:4]), hostile(rng, COORDINATES))
        return name, (*place, hostile(rng, (True, False, None, 1, "no"))) if rng.random() < 0.4 else place
    if name == "remove_click":
        return name, (hostile(rng, (0, 1, -1, 99, "0", None, 0.0, True)),)
    if name == "box":
        box = rng.choice(BOXES)
        return name, tuple(box) if isinstance(box, tuple) and len(box) == 4 else (
            1,
            1,
            9,
            hostile(rng, COORDINATES),
        )
    return name, ()


def segmenter(place: Place, rng: Random) -> Call:
    """encode, decode, segment_boxes and prior of one segmenter."""
    one = rng.choice(place.segmenters)
    points, labels = hostile(rng, POINTS), hostile(rng, LABELS) if rng.random() < 0.5 else None
    box, mask = hostile(rng, BOXES) if rng.random() < 0.4 else None, hostile(rng, MASKS)
    image = hostile(
        rng, (place.image, place.image[:1], place.image[:, :1], place.image[..., :2], place.image / 2, None)
    )
    prompts = hostile(rng, ([Prompt(points)], [], [None], [Prompt(points), Prompt(box=box)], Prompt(points)))
    foreign = hostile(rng, (place.segmenters[0].encode(place.image),))
    values = hostile(
        rng, (np.zeros((4, 4), np.float32), np.zeros((0, 4)), np.full((4, 4), np.nan), np.zeros(4))
    )
    made = one.encode(place.image)
    given = f"{told(points)}, {told(labels)}, {told(box)}, {told(mask)}"
    makers = (
        (f"encode({told(image)})", lambda: one.encode(image)),
        (f"decode({given})", lambda: one.decode(made, points, labels, box, mask).masks),
        (f"decode({given})", lambda: one.decode(made, points, labels, box, mask).masks),
        (f"decode of {told(foreign)}", lambda: one.decode(foreign, [(5, 5)]).masks),
        (f"decode_many({told(prompts)})", lambda: one.decode_many(made, prompts)),
        (f"segment_boxes({told(image)}, {told(box)})", lambda: one.segment_boxes(image, box)),
        (f"segment_boxes(image, [{told(box)}])", lambda: one.segment_boxes(place.image, [box])),
        (f"prior({told(values)})", lambda: one.prior(made, values)),
    )
    words, make = rng.choice(makers)
    return Call(f"{one.name[:7]}: {words}", make)
