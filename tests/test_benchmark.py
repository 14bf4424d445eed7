"""tools/benchmark.py: its way of measuring, and the goals that do not depend on the machine's mood."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def benchmark(import_tool: Callable[[str], ModuleType]) -> ModuleType:
    return import_tool("benchmark")


def test_peak_is_what_is_held_at_once(benchmark: ModuleType) -> None:
    def work() -> None:
        first = torch.zeros(1_000_000)  # 4 MB, and gone before the second pair
        del first
        second = torch.zeros(2_000_000)
        second + 1  # 8 MB and 8 MB

    assert benchmark.peak_bytes(work) == pytest.approx(16e6, rel=0.01)


def test_race_takes_turns_and_leaves_the_warm_up_out(benchmark: ModuleType) -> None:
    order: list[str] = []
    seconds = benchmark.race({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4
    assert all(value >= 0 for value in seconds.values()) and set(seconds) == {"a", "b"}


def test_row_gives_ratios(benchmark: ModuleType) -> None:
    assert str(benchmark.Row("x", "s", 1.0, 2.0, None)) == "| x | 1 s | 2 s |  | 0.500 |  |"


def test_feature_surgery_needs_little_memory(benchmark: ModuleType) -> None:
    """The goal for 171 texts, under 2 % of the memory, holds for 59 already."""
    args = argparse.Namespace(vocabulary="pascal_context59", rounds=3)
    _, memory = benchmark.surgery(args, benchmark.load_reference())
    assert memory.ours / memory.literal < 0.02
