"""300 malformed requests, drawn from a seed, to a real server in a process of its own, which Ctrl-C ends.

The requests and their judge are in tools/hostile_http; tools/hostile_calls.py --server sends more of them.
"""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

REQUESTS, SEED = 300, 2026
GROWTH = 64
"""Megabytes; a server that kept the larger of these requests would need more."""


@pytest.fixture(scope="module")
def hostile(import_tool):
    """The module of that name in tools/hostile_http, as ``hostile("run")``."""
    return lambda name: import_tool(f"hostile_http.{name}")


def test_a_server_stands_malformed_requests_and_ends_at_ctrl_c(hostile, tmp_path):
    run = hostile("run")
    with run.serving(tmp_path) as server:
        report = run.send_all(server, SEED, range(REQUESTS))
        assert server.interrupt() == 130
        said = server.log.read_text().splitlines()
    assert not report.failures, "\n".join(
        f"{number} ({kind}): {why}" for number, kind, why in report.failures
    )
    # On a slow machine the work of a request that ran out of time may still go on, and is given up.
    assert said[-1] in ("stopped", "stopped: what was being worked on is given up")
    whole = sum(report.statuses.values(), start=type(report.statuses["words"])())
    assert whole.total() == REQUESTS and set(report.statuses) == set(hostile("kinds").KINDS)
    assert {200, 400, 401, 403, 404, 405, 413} <= set(whole)
    assert report.memory[-1] - report.memory[0] < GROWTH


def test_a_number_and_a_seed_give_the_same_request(hostile):
    """Otherwise a request that failed could not be looked at again."""
    kinds = hostile("kinds")
    assert len({kinds.draw(7, number)[0] for number in range(14)}) == 14
    for number in range(56):
        assert kinds.draw(7, number) == kinds.draw(7, number)


@pytest.mark.parametrize(
    "answer, reason",
    [
        ((0,), "no answer"),
        ((500, "application/json", b'{"error": "a"}'), "status 500"),
        ((200, "application/json", b'{"error": "Traceback (most"}'), "a traceback"),
        ((200, "application/json", b'{"a":\n1}'), "no JSON object on one line"),
        ((200, "application/json", b"[]"), "no JSON object on one line"),
        ((400, "application/json", b"{"), "no JSON with status 400"),
        ((400, "application/json", b"{}"), "without a reason"),
        ((404, "text/plain", b"gone"), "text with status 404"),
    ],
)
def test_the_judge_sees_what_is_wrong(hostile, answer, reason):
    wire = hostile("wire")
    assert reason in wire.fault(wire.post("/predict", {}), wire.Answer(*answer))


@pytest.mark.parametrize("answer", [(400, "text/plain", b"Invalid"), (200, "application/json", b"{}")])
def test_the_judge_lets_good_answers_pass(hostile, answer):
    wire = hostile("wire")
    assert wire.fault(wire.post("/predict", {}), wire.Answer(*answer)) is None
