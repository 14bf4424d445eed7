"""Right values in random combinations on odd but good pictures: a result, or misuse in one line."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

INPUT = {
    "size": ("16", "32", "24x48", "8", "7"),
    "resize": ("opencv", "pillow", "bilinear"),
    "templates": ("plain", "a {}"),
}
WINDOWS = {"window": ("8", "16", "8x24"), "stride": ("8", "4", "3"), "batch": ("1", "3")}
MODEL = {
    "method": ("clip", "maskclip", "gem", "sclip", "naclip", "segearth", "clearclip"),
    "precision": ("bf16",),
}
OPTIONS = {
    "segment": {
        **INPUT,
        **WINDOWS,
        **MODEL,
        "logit-scale": ("1e-30", "1e30", "50"),
        "area-threshold": ("0", "1", "0.2"),
        "background": ("wall, floor",),
        "background-threshold": ("0", "1", "0.5"),
        "synonyms": ("cosine", "probability"),
    },
    "explain": {**INPUT, **WINDOWS, **MODEL, "surgery": ("none", "empty", "label_set", "label_set_code")},
    "recognize": {
        **INPUT,
        "surgery": ("none", "empty", "label_set"),
        "scores": ("similarity", "softmax"),
        "top": ("1", "100"),
    },
    "mask": {
        **INPUT,
        **WINDOWS,
        **MODEL,
        "point-rule": ("paper", "components"),
        "map-threshold": ("0", "1", "0.5"),
        "prompt-with": ("points", "map", "box"),
        "mask-choice": ("score", "agreement", "both"),
        "clean": ("0", "1"),
        "presence-threshold": ("0", "0.01", "1"),
        "rivals": ("a", "sky,wall"),
        "segmenter": ("tiny", "grabcut"),
    },
}
SWITCHES = {
    "segment": ("--npz", "--json"),
    "explain": ("--npz", "--json"),
    "recognize": ("--json",),
    "mask": ("--refine", "--halve-grid"),
}
NAMES = ("a", "a, b", "background, c", "x y z, w")


@pytest.fixture
def odd_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random_values = np.random.default_rng(0)
    for name, shape in (
        ("p.png", (40, 60, 3)),
        ("thin.png", (1, 70, 3)),
        ("dot.png", (1, 1, 3)),
        ("g.tif", (30, 20)),
    ):
        Image.fromarray(random_values.integers(0, 255, shape, dtype=np.uint8)).save(name)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save("flat.png")
    return ["p.png", "thin.png", "dot.png", "g.tif", "flat.png", "."]


@pytest.mark.parametrize("seed", range(40))
def test_a_combination_of_right_values_gives_a_result_or_one_line(run, odd_pictures, seed):
    chosen = random.Random(seed)
    command = chosen.choice(list(OPTIONS))
    options = {"size": "16", "templates": "plain"}
    for name in chosen.sample(list(OPTIONS[command]), chosen.randint(0, 5)):
        options[name] = chosen.choice(OPTIONS[command][name])
    words = [command, *chosen.sample(odd_pictures, chosen.randint(1, 3)), chosen.choice(NAMES)]
    words += [word for name, value in options.items() for word in (f"--{name}", value)]
    words += [switch for switch in SWITCHES[command] if chosen.random() < 0.4]
    done = run(*words, *(() if command == "recognize" else ("--out", "o")))
    assert done.exit_code in (0, 2), done.output
    errors = [
        line for line in done.errors if not line.startswith(("note: ", "warning: this processor has no bf16"))
    ]
    assert len(errors) == (1 if done.exit_code else 0) and "OVSEG_DEBUG" not in done.output
