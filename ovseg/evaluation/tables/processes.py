"""The processes of one run, as torchrun starts them, or one alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from ovseg.errors import UsageError

Part = TypeVar("Part")
PATIENCE = timedelta(days=7)
"""How long a process waits for the others: a part of a data set may take that much longer than another."""


@dataclass(frozen=True)
class World:
    """This process and how many there are.

    Attributes:
        rank: 0 for the first.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes the results."""
        return self.rank == 0

    def gather(self, part: Part) -> list[Part]:
        """What every process gives here, in the order of their ranks, in every process."""
        if self.size == 1:
            return [part]
        from torch import distributed

        parts: list[Part] = [part] * self.size
        distributed.all_gather_object(parts, part)
        return parts


def join() -> World:
    """Connect with the other processes of torchrun, by its environment variables.

    Raises:
        UsageError: a variable is missing or is no number.
    """
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        return World()
    numbers = []
    for name in ("RANK", "WORLD_SIZE"):
        value = os.environ.get(name, "")
        if not value.isascii() or not value.isdigit():
            raise UsageError(f"expected a number in {name}, as torchrun sets it, got {value!r}")
        numbers.append(int(value))
    world = World(*numbers)
    if world.size < 1 or world.rank >= world.size:
        raise UsageError(f"expected RANK below WORLD_SIZE, got {world.rank} of {world.size}")
    if world.size > 1:
        from torch import distributed

        if not distributed.is_initialized():
            distributed.init_process_group("gloo", timeout=PATIENCE)
    return world


def leave() -> None:
    """Part from the other processes."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
