"""Calls of load_model, of Model's methods, and of vocabularies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch

import ovseg
from hostile import pictures
from hostile.call import Call, told, told_options
from hostile.place import NAMES, Place
from hostile.values import NUMBERS, SIZES, TEMPLATES, WORDS, Text, anything, hostile, ignored, some_options

MODEL_NAMES = ("tiny", "tiny", "ViT-B-16", "vit-b-16", "", "x", "ViT-B/16", "RN50", "coca_ViT-B-32",
    "hf-hub:x/y", "hf-hub:",
    "local-dir:", "local-dir:nowhere", "local-dir:.", "local-dir:\0", "foo:bar", "../x", "n" * 3000,
    "\ud800",
    "EVA02-B-16", "ViT-SO400M-14-SigLIP", "ViTamin-S", "roberta-ViT-B-32", "swin_base_patch4_window7_224",
    Text("tiny"), Path("tiny"), b"tiny", None, 5, [])  # fmt: skip
WEIGHTS = (None, "random", "RANDOM", "openai", "x", "", "~", "~nobody/x.pt", "nowhere.safetensors",
    "picture.png", ".", "many",
    "pipe.jpg", "gone-link.png", "/dev/null", "a\0b", "n" * 3000, "\ud800.pt", Path("nowhere.pt"),
    Path("text.jpg"),
    b"x", 5, True, [])  # fmt: skip
LOADING = {
    "device": ("cpu", "cpu:0", "CPU", "cpu:x", "cuda", "cuda:99", "cuda:-1", "mps", "meta", "xpu", "x",
    "", None, 5,
               torch.device("cpu")),
    "precision": ("fp32", "bf16", "fp16", "fp8", "FP32", "", None, 5),
    "method": ("clip", "sclip", "CLIP", "x", "", None, 5, []),
    "cache": (True, False, None, 1, "no"),
}  # fmt: skip
INPUT = {
    "size": SIZES,
    "window": (8, 16, (8, 16), 12, 4, 0, -8, "16", (16, 12), True, 2**40, None, 1.5),
    "stride": (8, 4, 0, 1000, "8", None, -1),
    "batch": (1, 2, 0, -1, 1.5, "2", True, None, 10**9, np.int64(2), float("nan")),
    "resize": ("opencv", "pillow", "bilinear", *WORDS),
    "templates": TEMPLATES,
}
OPTIONS = {
    "segment": {
        **INPUT,
        "logit_scale": NUMBERS,
        "background_threshold": NUMBERS,
        "background": ("wall", "wall, floor", ["wall"], [], ",", "background", {"a": 1}, ["a", "a"]),
        "area_threshold": NUMBERS,
        "synonyms": ("probability", "cosine", *WORDS),
        "edges": (None, "guided", *WORDS),
        "probabilities": (True, False, None, 1, "yes"),
    },
    "similarity": {**INPUT, "surgery": ("none", "label_set_code", *WORDS)},
    "recognize": {
        "surgery": (None, "none", "label_set_code", *WORDS),
        "scores": ("similarity", "softmax", *WORDS),
        **{name: INPUT[name] for name in ("size", "resize", "templates")},
    },
}
ODD_NAMES = ("", " ", ",", "sky,", ",sky", ["a", "a"], ["a", "A"], ["a", " a "], ["sky", "a\0b"],
    ["\ud800", "b"],
    "\u200b", ["\n", "a"], {"a": None}, {"a": []}, {"a": ""}, {"a": "b,"}, {5: "b"}, {"a": {"b": 1}},
    {"a": ["b", None]},
    {"sky": ("tree", "cow")}, {}, set("a"), frozenset("ab"), np.array(["sky", "tree"]), np.array([["a",
    "b"]]), ["sky"],
    "sky", Path("x"), "voc20", b"sky", "word " * 90, ["word " * 90, "b"], "🐄, 牛", "background, Background",
    "a\nb", "<|endoftext|>", "background, sky", {"background": "wall", "sky": "sky"})  # fmt: skip


def names(rng: Random) -> object:
    what = rng.randrange(5)
    if what == 0:
        return rng.choice(ODD_NAMES)
    if what == 1:
        return anything(rng)
    drawn = rng.sample(NAMES, rng.randint(1, 4))
    return rng.choice((drawn, ", ".join(drawn), tuple(drawn), {one: [one] for one in drawn}))


def images(place: Place, rng: Random) -> object:
    """One picture, mostly; sometimes several."""
    if rng.random() < 0.8:
        return pictures.picture(place, rng) if rng.random() < 0.5 else place.image
    several = [pictures.picture(place, rng) for _ in range(rng.randrange(4))]
    return rng.choice((several, tuple(several), iter(several), dict.fromkeys("ab", place.image), [several]))


def through(found: object) -> object:
    """What an iterator of results gives, to the end."""
    return list(itertools.islice(found, 20)) if isinstance(found, Iterator) else found


def load_model(place: Place, rng: Random) -> Call:
    options = some_options(rng, LOADING)
    device = options.get("device")
    if isinstance(device, str) and device == "cuda" and torch.cuda.is_available():
        del options["device"]
    name = hostile(rng, MODEL_NAMES) if rng.random() < 0.7 else "tiny"
    weights = hostile(rng, WEIGHTS) if rng.random() < 0.7 else None
    large = name not in ("tiny", Text("tiny")) if isinstance(name, str) else False
    if large and isinstance(weights, str) and weights == "random":
        weights = "x"  # a large model takes seconds to build
    words = f"load_model({told(name)}, {told(weights)}, offline=True{told_options(options)})"
    return Call(words, lambda: place.load_model(name, weights, offline=True, **options))


def one_method(place: Place, rng: Random) -> Call:
    """segment, similarity or recognize, of one image or of each, with any picture, names and options."""
    method = rng.choice(sorted(OPTIONS))
    options = {"size": 32, "templates": "plain", **some_options(rng, OPTIONS[method])}
    if rng.random() < 0.3:
        method += "_each"
        options |= some_options(rng, {"on_error": (None, 5, "skip", ignored)})
    if isinstance(options["size"], int) and isinstance(options.get("window"), int) and options["size"] > 64:
        del options["window"]
    image, wanted = images(place, rng), names(rng) if rng.random() < 0.5 else "sky, tree"
    words = f"{method}({told(image)}, {told(wanted)}{told_options(options)})"
    return Call(words, lambda: through(getattr(place.model, method)(image, wanted, **options)))


def encoders(place: Place, rng: Random) -> Call:
    """The parts that Model is made of."""
    model = place.model
    shapes = (
        (1, 3, 8, 8),
        (1, 3, 7, 8),
        (3, 8, 8),
        (1, 4, 8, 8),
        (1, 3, 0, 8),
        (0, 3, 8, 8),
        (1, 3, 8, 8, 1),
        (),
    )
    pixels = torch.zeros(rng.choice(shapes), dtype=rng.choice((torch.float32, torch.float16, torch.uint8)))
    pixel_values = pixels if rng.random() < 0.7 else anything(rng)
    value, other = anything(rng), anything(rng)
    size = hostile(rng, SIZES)
    makers: Sequence[tuple[str, object]] = (
        (f"encode_image({told(pixel_values)})", lambda: model.encode_image(pixel_values)),
        (f"encode_text({told(value)})", lambda: model.encode_text(value, "plain")),
        (f"encode_text('sky', {told(value)})", lambda: model.encode_text("sky", value)),
        (f"preprocess({told(value)}, {told(size)})", lambda: model.preprocess(value, size)),
        (f"preprocess([image], {told(size)})", lambda: model.preprocess([place.image], size)),
        (f"preprocess([{told(value)}], (8, 8))", lambda: model.preprocess([value], (8, 8))),
        (f"input_size({told(value)}, {told(size)})", lambda: model.input_size(value, size)),
        (f"with_method({told(value)})", lambda: model.with_method(value)),
        (
            f"dense_features(image, options={told(value)})",
            lambda: model.dense_features(place.image, options=value),
        ),
        (f"dense_features({told(value)})", lambda: model.dense_features(value)),
        (f"make_scene({told(value)}, {told(other)})", lambda: ovseg.make_scene(value, other)),
    )
    words, make = rng.choice(makers)
    return Call(words, make)


def load_image(place: Place, rng: Random) -> Call:
    source = pictures.picture(place, rng)
    more = (
        {"max_pixels": hostile(rng, (0, -1, 5, 10**9, 1.5, "9", True, 10**30))} if rng.random() < 0.2 else {}
    )
    return Call(
        f"load_image({told(source)}{told_options(more)})",
        lambda: ovseg.load_image(source, **more),
        _is_picture,
    )


def image_file(place: Place, rng: Random) -> Call:
    """A file in a folder, read as a picture."""
    path = pictures.file(place, rng)
    return Call(
        f"load_image(file {path.name}, {path.stat().st_size} bytes)",
        lambda: ovseg.load_image(path),
        _is_picture,
    )


def _is_picture(found: object) -> None:
    assert isinstance(found, np.ndarray) and found.dtype == np.uint8, told(found)
    assert found.ndim == 3 and found.shape[2] == 3 and 0 not in found.shape, told(found)
