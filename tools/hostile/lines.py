"""Command lines: wrong options, wrong words, odd files; run in this process."""

from __future__ import annotations

import os
from random import Random

from typer.testing import CliRunner

from hostile.call import Call
from hostile.place import Place
from ovseg.apps.cli import app

COMMANDS = ("segment", "explain", "recognize", "mask")
SIZES = ("32", "16x24", "", " ", "²", "0", "-1", "big", "1x2x3", "3.5", "nan", "inf", "1e3", "12x", "x",
    "0x5", "9" * 5000, "16385",
    "٣", "8")  # fmt: skip
NUMBERS = ("0.5", "1", "0", "", "x", "nan", "inf", "-inf", "-1", "1e999", "²", "0x10", "1_0", "1,5")
WORDS = ("", " ", "x", "OPENCV", "none", "0", "é", "\0", "a\nb")
FILES = ("", " ", "nowhere", "picture.png", "names.txt", "many", ".", "/", "/dev/null", "~/none",
    "~nobody/x", "../here", "n" * 300,
    "a\0b", "\udce9", "gone-link.png", "pipe.jpg", "text.jpg")  # fmt: skip
VALUES = {
    "size": SIZES,
    "window": ("16", "8x16", "12", *SIZES),
    "stride": ("8", "0", "x", "100"),
    "batch": ("1", "2", "", "0", "-1", "x", "1.5", "²", "4097", "9" * 30, "nan"),
    "resize": ("opencv", "pillow", "bilinear", *WORDS),
    "templates": ("plain", "a {}", "{}{}", "a {0}", "{", "\udce9 {}", *WORDS),
    "logit-scale": NUMBERS,
    "background-threshold": NUMBERS,
    "background": ("0.3", "wall", "wall, floor", "", ",", "wall,", "2", "nan", "é,,", "background"),
    "area-threshold": NUMBERS,
    "synonyms": ("probability", "cosine", *WORDS),
    "surgery": ("empty", "label_set", "label_set_code", "none", *WORDS),
    "top": ("1", "3", "", "0", "-1", "x", "1.5", "nan", "²", "999999999999999999999"),
    "method": ("clip", "sclip", "gem", "naclip", "CLIP", *WORDS),
    "model": ("tiny", "ViT-B-61", "ViT-B-16", "hf-hub:", "local-dir:", "local-dir:many", *WORDS),
    "weights": ("random", "openai", "none.safetensors", *FILES),
    "device": ("cpu", "cuda:99", "cuda:-1", "meta", "mps", "cpu:x", *WORDS),
    "precision": ("fp32", "bf16", "fp16", "fp8", "FP32", *WORDS),
    "vocabulary": ("voc20", "voc22", *FILES),
    "out": ("out", "a/b/c", "picture.png/o", *(file for file in FILES if file != "/")),
    "point-rule": ("components", "paper", *WORDS),
    "map-threshold": NUMBERS,
    "prompt-with": ("points", "map", "box", *WORDS),
    "mask-choice": ("score", "agreement", "both", *WORDS),
    "clean": NUMBERS,
    "presence-threshold": NUMBERS,
    "rivals": ("wall", "wall, floor", "", ",", "sky,", "\0"),
    "segmenter": ("grabcut", "tiny", "best", "hf:", "hf:none/none/none", "hf:many", "VIT_B", *WORDS),
    "segmenter-weights": ("random", *FILES),
    "nothing": ("1",),
}  # fmt: skip
FLAGS = ("--json", "--npz", "--probabilities", "--refine", "--halve-grid", "--full-size", "--offline",
    "--cache", "-x", "--", "--no-refine",
    "--help", "--version", "-h")  # fmt: skip
ONLY = {"recognize": ("top",),
    "segment": ("logit-scale", "background", "background-threshold", "area-threshold", "synonyms"),
    "explain": ("surgery",),
    "mask": ("point-rule", "map-threshold", "prompt-with", "mask-choice", "clean", "presence-threshold",
    "rivals", "segmenter",
             "segmenter-weights")}  # fmt: skip
TEXTS = ("sky", "sky, tree", "sky+tree", "", " , ", "sky,", "a, A", "\udce9", "\0", "word " * 90,
    "\u200b", "+", "a+a", "-sky", "🐄",
    "a\nb", "background, sky", "'sky'", "n" * 5000)  # fmt: skip
PICTURES = (
    "picture.png",
    "photo.jpg",
    "many",
    ".",
    "cut.png",
    "empty.jpg",
    "folder.jpg",
    "*.png",
    "http" + "://x/y.jpg",
    *FILES,
)
OTHERS = (("list",), ("list", "models"), ("list", "methods"), ("list", "segmenters"), ("list",
    "vocabularies"), ("list", "x"),
    ("list", "models", "x"), ("models", "list"), ("models", "list", "x"), ("models", "path"), ("models",
    "path", "tiny"),
    ("models", "path", "x"), ("models", "path", "ViT-B-16", "openai"), ("models", "path", ""), ("models",
    "path", "\0"),
    ("models", "pull"), ("models", "pull", "x"), ("models", "pull", "RN50", "--offline"), ("models",
    "pull", "vit_b", "--offline"),
    ("models", "pull", "hf:a/b", "--offline"), ("models", "pull", "ViT-B-16", "openai", "--offline"),
    ("models", "verify"),
    ("models", "verify", "RN50"), ("models", "verify", "vit_b"), ("models", "remove"), ("models",
    "nothing"), ("nothing",),
    ("--nothing",), ("--version",), ("--help",), ("",), ("\0",), ("segment",), ("segment",
    "picture.png"), ("demo", "x"),
    ("demo", "--out", ""), ("demo", "--out", "picture.png"), ("models", "path", "n" * 3000), ("models",
    "path", "hf:"),
    ("segment", "--help"), ("mask", "--size"), ("segment", "picture.png", "cut.png", "sky"))  # fmt: skip


def command_line(place: Place, rng: Random) -> Call:
    """segment, explain, recognize or mask with up to three options and flags."""
    command = rng.choice(COMMANDS)
    others = {name for key, names in ONLY.items() if key != command for name in names}
    known = sorted(VALUES) if rng.random() < 0.1 else sorted(set(VALUES) - others)
    options = {"size": "32", "templates": "plain"}
    options |= {name: rng.choice(VALUES[name]) for name in rng.sample(known, rng.randint(0, 3))}
    if command == "mask":
        options.setdefault("segmenter", "grabcut")
    files = [
        rng.choice(PICTURES) if rng.random() < 0.4 else "picture.png" for _ in range(rng.choice((1, 1, 1, 2)))
    ]
    text = rng.choice(TEXTS) if rng.random() < 0.4 else "sky, tree"
    words = [command, *files, *([] if "vocabulary" in options and rng.random() < 0.8 else [text])]
    for name, value in options.items():
        words += rng.choice(([f"--{name}={value}"], [f"--{name}", value]))
    if rng.random() < 0.3:
        words.insert(rng.randrange(1, len(words) + 1), rng.choice(FLAGS))
    if "--help" not in words and not {"/", "."} & set(files):
        words.append("--offline") if rng.random() < 0.2 else None
    return _line([word if word != "/" or index != 1 else "." for index, word in enumerate(words)])


def other_line(place: Place, rng: Random) -> Call:
    """The commands beside them, with a word more or less now and then."""
    words = list(rng.choice(OTHERS))
    if rng.random() < 0.2:
        words.append(rng.choice(WORDS + FLAGS))
    return _line(words)


def _line(words: list[str]) -> Call:
    return Call(
        "ovseg " + " ".join(ascii(word)[:60] for word in words),
        lambda: CliRunner().invoke(app, words),
        _ended,
    )


def _ended(done: object) -> str | None:
    """The one error line of a command that failed. AssertionError where it ended in another way."""
    error = done.exception
    assert error is None or isinstance(error, SystemExit), f"{type(error).__name__}: {error}"
    assert done.exit_code in (0, 1, 2), f"exit code {done.exit_code}"
    lines = done.stderr.splitlines()
    if done.exit_code == 2 and done.stdout.lstrip().startswith("Usage:"):  # no command: its help is shown
        return "usage"
    errors = [line for line in lines if line.startswith("error: ")]
    others = [line for line in lines if not line.startswith(("error: ", "note: ", "warning: "))]
    assert not others, f"on standard error: {others[0][:200]}"
    assert "Traceback" not in done.output and "OVSEG_DEBUG" not in done.stderr, errors
    if done.exit_code == 0:
        assert not errors, f"exit code 0 with {errors[0]}"
        return None
    assert errors, f"exit code {done.exit_code} without an error line"
    assert done.exit_code == 1 or len(errors) == 1, f"{len(errors)} error lines"
    assert all(len(line) < 1000 for line in errors), "an error line is too long"
    return errors[0].replace(os.sep + "tmp", "")
