"""Values that no argument, or hardly any, expects."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from random import Random

import numpy as np
import torch
from PIL import Image


class FailingRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class FailingArray:
    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise RuntimeError("no array")


class FailingLength:
    def __len__(self) -> int:
        raise RuntimeError("no length")


def ignored(number: int, error: Exception) -> None:
    """A good ``on_error``."""


class Text(str):
    """A text of a type of one's own."""


class Number(float):
    """A number of a type of one's own."""


ANYTHING: tuple[Callable[[], object], ...] = (
    lambda: None, lambda: True, lambda: False, lambda: 0, lambda: -1, lambda: 5, lambda: 2.5, lambda: 10**30,
    lambda: float("nan"), lambda: float("inf"), lambda: float("-inf"), lambda: -0.0, lambda: 5e-324,
    lambda: 1e308, lambda: 3j, lambda: "", lambda: " ", lambda: "x", lambda: "\0", lambda: "\ud800",
    lambda: "a\nb", lambda: "n" * 5000, lambda: "²", lambda: "\u200b", lambda: "nan", lambda: "{}",
    lambda: "{0.__class__}", lambda: b"", lambda: b"x", lambda: bytearray(b"x"), lambda: memoryview(b"x"),
    lambda: [], lambda: (), lambda: {}, lambda: set(), lambda: [None], lambda: [[]], lambda: [5],
    lambda: ["a", "a"], lambda: ["a", None], lambda: {"a": None}, lambda: {5: "a"}, lambda: {"a": {"b": 1}},
    lambda: iter(()), lambda: iter(["a", "b"]), lambda: range(3), lambda: object(), lambda: type,
    lambda: len, lambda: ..., lambda: NotImplemented, lambda: np.nan, lambda: np.zeros(0),
    lambda: np.zeros(2),
    lambda: np.zeros((2, 2, 2, 2)), lambda: np.array("a"), lambda: np.array(["a", "b"]),
    lambda: np.array(5),
    lambda: np.array(None), lambda: np.float32(0.5), lambda: np.int64(16), lambda: np.bool_(True),
    lambda: np.str_("a"), lambda: np.datetime64("2020"), lambda: np.ma.masked, lambda: torch.tensor(5),
    lambda: torch.zeros(2, 2), lambda: torch.zeros(2, device="meta"), lambda: torch.tensor(0.5).bfloat16(),
    lambda: torch.float32, lambda: torch.device("cpu"), lambda: pathlib.Path("x"), lambda: io.BytesIO(b"x"),
    lambda: io.StringIO("x"), lambda: Image.new("RGB", (4, 4)), lambda: FailingRepr(),
    lambda: FailingArray(),
    lambda: FailingLength(), lambda: Text("sky"), lambda: Number(0.5), lambda: ValueError("x"),
)  # fmt: skip
"""Makers, because an iterator or an open file can be used up only once."""

NUMBERS = (0, -1, 1, 2, 3, 7, 8, 16, 33, 10**6, 2**31, 2**63, 10**30, 0.5, 1.0, 1.0001, -0.1, 1e-45, 1e999,
    float("nan"), "0.5", "1", "", True, None, np.float32(0.3), np.int8(-5), np.uint64(2**63),
    np.array([0.5]),
    np.array(0.5), torch.tensor(0.5), np.float64("nan"), [0.5], (8, 8), (1,), "8x8", 0.5j)  # fmt: skip
SIZES = (8, 16, 32, 33, 1, (8, 8), [16, 24], np.array([16, 24]), (16, 24.0), np.int32(16), 0, -8, (0, 8),
    (8,),
    (8, 8, 8), 1.5, "32", "16x16", (8, None), 10**6, 2**70, True, (True, 8), float("nan"), None, ((8, 8),
    8),
    {8: 8}, {8, 16}, 16385, (16385, 8))  # fmt: skip
WORDS = ("", " ", "x", "NONE", "none", "all", "\0", "é", "paper", "plain", "empty", "label_set",
    "opencv", None, 5,
    True, [], ["x"], b"plain", "x" * 3000)  # fmt: skip
TEMPLATES = ("plain", "paper", "", "x", "{}", "a {}", "{} {}", "{0}", "{a}", "{", "}", "{!r}",
    "{:>1000000}", ["{}"], [], [""],
    ["{}", 5], ["{}", "{} {}"], None, 5, ("a {}", "b {}"), {"a {}"}, b"{}", "\0{}", ["\ud800 {}"],
    np.array(["a {}"]))  # fmt: skip


def anything(rng: Random) -> object:
    return rng.choice(ANYTHING)()


def hostile(rng: Random, near: Sequence[object]) -> object:
    """A value that is near to what is wanted, or far from it."""
    return rng.choice(near) if rng.random() < 0.7 else anything(rng)


def some_options(rng: Random, near: Mapping[str, Sequence[object]], most: int = 2) -> dict[str, object]:
    """Up to ``most`` options, each with a hostile value."""
    names = rng.sample(sorted(near), min(len(near), rng.randint(0, most)))
    return {name: hostile(rng, near[name]) for name in names}
