"""750 hostile calls, drawn from a seed: each ends in a result or in an error of ovseg in one line.

The calls and their judge are in tools/hostile; tools/hostile_calls.py makes more of them. Eight threads at
once get what one gets.
"""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import pytest

import ovseg
from ovseg.errors import UsageError
from ovseg.evaluation.data.scenes import make_scene

CALLS, SEED, PARTS = 750, 2026, 3


@pytest.fixture(scope="module")
def hostile(import_tool):
    """The module of that name in tools/hostile, as ``hostile("run")``."""
    return lambda name: import_tool(f"hostile.{name}")


@pytest.mark.parametrize("part", range(PARTS))
def test_every_call_ends_in_a_result_or_an_error_in_one_line(hostile, tmp_path, part):
    numbers = range(part * CALLS // PARTS, (part + 1) * CALLS // PARTS)
    report = hostile("run").run_calls(tmp_path / "place", SEED, numbers)
    assert not report.failures, "\n".join(
        f"call {one.number} ({one.kind}): {one.words}\n    {one.reason}" for one in report.failures
    )
    whole = sum(report.counts.values(), start=type(report.counts["results"])())
    assert whole.total() == CALLS // PARTS and whole["result"] > 20 and whole["error"] > 20
    assert sum(count.total() > 0 for count in report.counts.values()) >= 15


def test_a_number_and_a_seed_give_the_same_call(hostile, tmp_path):
    """Otherwise a call that failed could not be looked at again."""
    kinds, Place = hostile("kinds").KINDS, hostile("place").Place
    with Place(tmp_path / "place") as place:
        for kind, (draw, _) in kinds.items():
            first, again = (draw(place, Random(f"7:{kind}")).words for _ in range(2))
            assert first == again


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: sys.exit(3), "SystemExit"),
        (lambda: _raise(UsageError("expected a,\ngot b")), "not one line"),
        (lambda: _raise(UsageError("")), "not one line"),
        (lambda: warnings.simplefilter("error"), "filters of warnings"),
        (lambda: Path("../../outside.txt").write_text("x"), "outside its folder"),
        (lambda: Path("picture.png").unlink(), "removed 'picture.png'"),
        (lambda: _raise(UsageError("expected a"), Path("left.txt")), "left 'left.txt'"),
        (lambda: _forever(), "took more than 0.2 s"),
    ],
)
def test_the_judge_finds_what_is_wrong(hostile, tmp_path, monkeypatch, make, reason):
    run, call = hostile("run"), hostile("call")
    monkeypatch.setattr(run, "LONGEST_CALL", 0.2 if "0.2" in reason else 60.0)
    with hostile("place").Place(tmp_path / "place") as place, warnings.catch_warnings():
        ended, failure = run.judged(place, call.Call("", make))
        assert ended == "traceback" and reason in failure[0]
        assert run.judged(place, call.Call("", lambda: _raise(UsageError("expected a, got b")))) == (
            "error",
            None,
        )
        assert run.judged(place, call.Call("", lambda: 5)) == ("result", None)


def _raise(error: Exception, file: Path | None = None) -> None:
    if file is not None:
        file.write_text("x")
    raise error


def _forever() -> None:
    while True:
        pass


# --------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("what", ["segment", "similarity", "recognize", "grabcut", "tiny"])
def test_eight_threads_get_what_one_gets(what):
    """Each has an image and words of its own, so that nothing of one may reach another."""
    jobs = [(make_scene(seed, (48, 64)).image, f"sky, thing {seed}") for seed in range(8)]

    def answer() -> object:
        """A model of its own, whose text cache is empty."""
        model = ovseg.load_model("tiny")
        if what in ("grabcut", "tiny"):
            segmenter = ovseg.load_segmenter(what)
            finder = ovseg.TextToMask(model, segmenter, size=32, templates="plain", presence_threshold=0)
            return lambda job: finder.predict_texts(*job)
        return lambda job: getattr(model, what)(*job, size=32, templates="plain")

    alone, together = answer(), answer()
    wanted = [alone(job) for job in jobs]
    before, shown_by = list(warnings.filters), warnings.showwarning
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(together, jobs * 2))
    assert warnings.filters == before and warnings.showwarning is shown_by
    for one, other in zip(found, wanted * 2, strict=True):
        if what in ("grabcut", "tiny"):
            assert one == other
        elif what == "segment":
            assert one.names == other.names and np.mean(one.array == other.array) > 0.999
        else:
            values = ("grid", "scores")[what == "recognize"]
            np.testing.assert_allclose(getattr(one, values), getattr(other, values), atol=1e-5)
