"""A real server in a process of its own, and many malformed requests to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from hostile_http import values
from hostile_http.kinds import draw
from hostile_http.wire import TOKEN, Answer, exchange, fault, post

STARTED = re.compile(r"ovseg-[0-9a-f]{12} serves on http://127\.0\.0\.1:(\d+) ")
MEGABYTE = 1 << 20
LOOKS = 50
"""Requests after which a good one is timed."""
QUICK = (
    *("--model", "tiny", "--templates", "plain", "--max-body", "1", "--max-pixels", "1000000"),
    *("--hosts", "127.0.0.1:1"),
)
"""A small model, and bounds that requests can overstep in little time."""


@dataclass
class Server:
    """A process with ``ovseg serve``, and the file that holds what it says."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def resident(self) -> float:
        """Megabytes of memory that it holds."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE

    def interrupt(self) -> int:
        """Press Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


def _hear_interrupts() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def serving(folder: Path, words: Sequence[str] = QUICK) -> Iterator[Server]:
    """Start a server with a folder of files and a token.

    Args:
        folder: an empty one for its files and its log.
        words: more of its command line: models and bounds.
    """
    root, log = folder / "root", folder / "log.txt"
    root.mkdir()
    (folder / "secret.png").write_bytes(values.PICTURE)
    (root / "link.png").symlink_to(folder / "secret.png")
    (root / "good.png").write_bytes(values.PICTURE)
    os.mkfifo(root / "pipe")
    command = [sys.executable, "-m", "ovseg.apps.cli", "serve", "--port", "0", "--root", str(root)]
    command += ["--segmenter", "tiny", "--presence-threshold", "0", *words]
    environment = {**os.environ, "OVSEG_HOME": str(folder / "home"), "OVSEG_SERVE_TOKEN": TOKEN}
    with log.open("w") as written:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
            env=environment,
            preexec_fn=_hear_interrupts,
        )
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = STARTED.match(said)
            if found is None:
                raise RuntimeError(f"the server did not start: {said}{log.read_text()}")
            yield Server(process, int(found[1]), log)
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


@dataclass
class Report:
    """What came of the requests.

    Attributes:
        statuses: of each kind, how often each status was the answer; 0 stands for none.
        failures: number, kind and reason of each answer that should not be.
        memory: megabytes after the first tenth of the requests, and at the end.
        seconds: median times of a good request before, during and after the others.
    """

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def table(self) -> str:
        """Rows of kinds, columns of statuses."""
        columns = sorted({status for counts in self.statuses.values() for status in counts})
        head = " | ".join(str(one) if one else "none" for one in columns)
        lines = [f"| request | {head} |", "|---|" + "---|" * len(columns)]
        for kind, counts in self.statuses.items():
            lines.append(f"| {kind} | " + " | ".join(str(counts[one]) for one in columns) + " |")
        return "\n".join(lines)


def good_answers(port: int) -> list[Answer]:
    """The answers to a good request of each tool."""
    return [
        exchange(port, post("/predict", values.good_predict())),
        exchange(port, post("/v1/predict", values.good_remote())),
    ]


def time_of_good(port: int, times: int = 5) -> list[float]:
    """Seconds that a good request takes, each of several times."""
    found = []
    for _ in range(times):
        start = time.monotonic()
        exchange(port, post("/predict", values.good_predict()))
        found.append(time.monotonic() - start)
    return found


def send_all(
    server: Server, seed: int, numbers: Iterable[int], seen: Callable[[int], None] = lambda _: None
) -> Report:
    """Send malformed requests one after the other, and judge the answers, the log and the memory.

    Args:
        server: where to.
        seed, numbers: which requests are drawn.
        seen: called with the number of each request that was answered.
    """
    report, listed = Report(), list(numbers)
    before = good_answers(server.port)
    for number, one in zip((-2, -1), before, strict=True):
        if one.status != 200 or not re.search(rb'"(brushlabels|shape_type)"', one.body):
            report.failures.append((number, "good request before", f"{one.status} {one.body[:200]!r}"))
    usual, during = time_of_good(server.port), list[float]()
    for done, number in enumerate(listed, 1):
        kind, sent = draw(seed, number)
        try:
            answer = exchange(server.port, sent)
            reason = fault(sent, answer)
        except OSError as error:
            answer, reason = Answer(0), f"no answer: {error!r}"
        report.statuses.setdefault(kind, Counter())[answer.status] += 1
        if reason is not None:
            report.failures.append((number, kind, reason))
        if done in (max(1, len(listed) // 10), len(listed)):
            report.memory.append(server.resident)
        if server.process.poll() is not None:
            report.failures.append((number, kind, f"the server ended with {server.process.returncode}"))
            return report
        seen(number)
        if done % LOOKS == 0:
            during += time_of_good(server.port, 1)
    report.seconds = [median(one) for one in (usual, during or usual, time_of_good(server.port))]
    if good_answers(server.port) != before:
        report.failures.append((listed[-1], "good request afterwards", "another answer than before"))
    log = server.log.read_text(errors="replace")
    for sign in ("Traceback", "exception was never", "unexpected "):
        if sign in log:
            report.failures.append((-1, "log", log[max(0, log.index(sign) - 300) :][:2000]))
    return report


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="hostile-http-") as folder:
        yield Path(folder)
