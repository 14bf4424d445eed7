"""The engine: every image once, kills and changes, several processes, pictures that cannot be read."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ovseg.errors import DataError, OvsegError, UsageError
from ovseg.evaluation.data.items import ItemSet
from ovseg.evaluation.tables.rows import Counted, World, join, measure_rows, number, numbers, plain, skip


class Counter:
    """A measure that counts what it is asked for; it can be stopped before a group."""

    def __init__(self, stop_before=None):
        self.groups, self.stop_before = [], stop_before

    def __call__(self, samples, wanted):
        if len(self.groups) == self.stop_before:
            raise KeyboardInterrupt
        self.groups.append((list(samples), list(wanted)))
        return {name: [f"{name} {sample} of {sum(samples)}" for sample in samples] for name in wanted}


def items(count=10, broken=(), content=""):
    def load(index):
        if index in broken:
            raise DataError(f"expected a whole image, got {index}")
        return index

    return ItemSet("numbers", ("n",), [str(k) for k in range(count)], load, note=lambda index: content)


UNITS = {"one": {"setting": 1}, "two": {"setting": 2}}


def written(folder):
    """Every row that is kept: the lines of all files, in no order."""
    return sorted(line for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines())


def test_every_image_once_and_nothing_the_second_time(tmp_path):
    measure = Counter()
    found = measure_rows(items(), UNITS, measure, tmp_path, group=4)
    assert [samples for samples, _ in measure.groups] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(found["one"])[:5] == [f"one {k} of {s}" for k, s in ((0, 6), (1, 6), (2, 6), (3, 6), (4, 22))]
    again = Counter()
    assert list(measure_rows(items(), UNITS, again, tmp_path, group=4)["two"]) == list(found["two"])
    assert again.groups == []


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_stopped_run_goes_on_and_ends_in_the_same_rows(tmp_path, stop):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    wanted = {n: list(f) for n, f in measure_rows(items(), UNITS, Counter(), whole, group=4).items()}
    with pytest.raises(KeyboardInterrupt):
        measure_rows(items(), UNITS, Counter(stop), cut, group=4)
    rest = Counter()
    found = measure_rows(items(), UNITS, rest, cut, group=4)
    assert {name: list(rows) for name, rows in found.items()} == wanted
    assert len(rest.groups) == 3 - stop and written(cut) == written(whole)


def test_a_torn_line_is_measured_again(tmp_path):
    wanted = list(measure_rows(items(), UNITS, Counter(), tmp_path, group=4)["one"])
    (file,) = tmp_path.glob("one-*.jsonl")
    file.write_bytes(file.read_bytes()[:-9])
    again = Counter()
    assert list(measure_rows(items(), UNITS, again, tmp_path, group=4)["one"]) == wanted
    assert again.groups == [([8, 9], ["one"])]


def test_another_unit_or_content_is_measured_alone(tmp_path):
    measure_rows(items(), UNITS, Counter(), tmp_path, group=4)
    more = Counter()
    measure_rows(items(), {**UNITS, "three": {"setting": 3}}, more, tmp_path, group=4)
    assert [wanted for _, wanted in more.groups] == [["three"]] * 3
    changed = Counter()
    measure_rows(items(content="other"), UNITS, changed, tmp_path, group=4)
    assert len(changed.groups) == 3
    fewer = Counter()
    measure_rows(items().first(6), UNITS, fewer, tmp_path, group=4)
    assert [samples for samples, _ in fewer.groups] == [[4, 5]]  # a group of other members is another group


def test_pictures_that_cannot_be_read_are_counted(tmp_path):
    measure = Counter()
    found = measure_rows(items(5, broken=(1, 4)), UNITS, measure, tmp_path, group=4)["one"]
    assert [samples for samples, _ in measure.groups] == [[0, 2, 3]]  # the last group has none to measure
    counted = Counted()
    assert len(list(found.into(counted))) == counted.images == 3
    assert counted.skipped == ["1: expected a whole image, got 1", "4: expected a whole image, got 4"]
    again = Counter()
    list(measure_rows(items(5, broken=(1, 4)), UNITS, again, tmp_path, group=4)["one"].into(counted))
    assert len(counted.skipped) == 4
    assert again.groups == []


def test_a_unit_may_leave_a_picture_out(tmp_path):
    def measure(samples, wanted):
        return {name: [skip(f"no {s}") if s == 2 else s for s in samples] for name in wanted}

    found = measure_rows(items(4), {"one": {}}, measure, tmp_path)["one"]
    counted = Counted()
    assert list(found.into(counted)) == [0, 1, 3] and counted.skipped == ["no 2"]


class Together(World):
    """A process whose companions have been here before: ``shared`` holds what they gave."""

    shared: dict

    def gather(self, part):
        self.shared[self.rank] = part
        return [self.shared[rank] for rank in sorted(self.shared)]


def test_several_processes_share_the_groups_and_give_the_same_rows(tmp_path):
    alone = measure_rows(items(), UNITS, Counter(), tmp_path / "alone", group=3)
    shared, groups, found = {}, [], {}
    for rank in (2, 1, 0):  # the first comes last: the rows of all are there
        world = Together(rank, 3)
        object.__setattr__(world, "shared", shared)
        measure = Counter()
        try:
            found = measure_rows(items(), UNITS, measure, tmp_path / "many", world, group=3)
        except OvsegError as error:  # the rows of a process that has not been here yet
            assert rank and "are missing: the processes of a run need one folder" in str(error)
        groups += [samples for samples, _ in measure.groups]
    assert sorted(groups) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert {name: list(rows) for name, rows in found.items()} == {n: list(r) for n, r in alone.items()}
    assert written(tmp_path / "many") == written(tmp_path / "alone")


def test_progress_is_that_of_the_process(tmp_path):
    told = []
    measure_rows(items(), UNITS, Counter(), tmp_path, World(), lambda *done: told.append(done), group=4)
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_processes_meet_by_the_variables_that_torchrun_sets(tmp_path):
    script = tmp_path / "meet.py"
    script.write_text(
        "from ovseg.evaluation.tables.rows import join, leave\n"
        "world = join()\n"
        "print(world.gather(world.rank * 10))\n"
        "leave()\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"PYTHONPATH": str(Path(__file__).parents[2]), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, **shared, "RANK": rank, "WORLD_SIZE": "2"},
        )
        for rank in "01"
    ]  # fmt: skip
    assert [one.communicate(timeout=120)[0].strip() for one in started] == ["[0, 10]"] * 2


@pytest.mark.parametrize("rank, size", [("", "2"), ("x", "2"), ("2", "2"), ("0", "0")])
def test_odd_variables_of_a_launcher_are_misuse(monkeypatch, rank, size):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UsageError, match="RANK"):
        join()


def test_numbers_of_rows():
    assert plain(float("nan")) is None and plain(1 / 3) == 0.333333333
    assert str(number(None)) == "nan" and numbers([1, 2.5]) == [1.0, 2.5]
