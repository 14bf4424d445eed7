"""Make hostile calls of every part of ovseg, or requests to its server, and print which ended in a wrong way.

python tools/hostile_calls.py --calls 20000 --seed 7
python tools/hostile_calls.py --seed 7 --only 1234     # one call again, with its traceback
python tools/hostile_calls.py --server --calls 10000   # malformed requests to a real `ovseg serve`
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

GROWTH = 64
"""Megabytes by which the server's memory may grow after the first tenth of the requests."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="what they are drawn from")
    parser.add_argument("--only", type=int, nargs="+", default=[], help="the numbers of those to make again")
    parser.add_argument("--server", action="store_true", help="requests to a server, with its log")
    given = parser.parse_args()
    start, cpu = time.monotonic(), time.process_time()

    def seen(number: int) -> None:
        if (number + 1) % 1000 == 0:
            print(f"{number + 1:,}, {time.monotonic() - start:.0f} s", file=sys.stderr)

    run = requests if given.server else calls
    failures = run(given.seed, given.only or range(given.calls), bool(given.only), seen)
    seconds = time.monotonic() - start, time.process_time() - cpu
    print(f"{seconds[0]:.0f} s, {seconds[1]:.0f} s of this processor's time, {len(failures)} failures")
    print("".join(f"\n{one}\n" for one in failures), end="")
    return 1 if failures else 0


def calls(seed: int, numbers: Sequence[int], closely: bool, seen: Callable[[int], None]) -> list[str]:
    """Make these calls; what failed, with the traceback where one looks ``closely``."""
    from hostile.run import LONGEST_CALL, run_calls

    def watch(number: int) -> None:
        faulthandler.dump_traceback_later(3 * LONGEST_CALL, exit=True)  # a hang that no signal ends
        seen(number)

    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        report = run_calls(Path(folder) / "place", seed, numbers, watch)
    faulthandler.cancel_dump_traceback_later()
    print(report.table())
    return [
        f"call {one.number} ({one.kind}): {one.words}\n    {one.reason}" + closely * f"\n{one.trace}"
        for one in report.failures
    ]


def requests(seed: int, numbers: Sequence[int], closely: bool, seen: Callable[[int], None]) -> list[str]:
    """Send these requests to a server; what failed, and with ``closely`` what was sent and the server's log."""
    from hostile_http.kinds import draw
    from hostile_http.run import scratch, send_all, serving

    with scratch() as folder, serving(folder) as server:
        report = send_all(server, seed, numbers, seen)
        code = server.interrupt()
        log = server.log.read_text(errors="replace")
    print(report.table())
    first, last = report.memory[0], report.memory[-1]
    print(f"resident memory {first:.0f} MB after a tenth, {last:.0f} MB at the end; exit code {code}")
    times = ", ".join(f"{one:.3f}" for one in report.seconds)
    print(f"seconds of a good request before, during and after: {times}")
    if closely:
        print("\n".join([*(f"{draw(seed, number)[1].raw[:2000]!r}" for number in numbers), log]))
    failures = [f"request {number} ({kind}): {reason}" for number, kind, reason in report.failures]
    if last - first > GROWTH:
        failures.append(f"memory grew by more than {GROWTH} MB")
    if code != 130:
        failures.append(f"Ctrl-C gave exit code {code}, expected 130")
    return failures


if __name__ == "__main__":
    sys.exit(main())
