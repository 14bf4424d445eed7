"""Make hostile calls of everything in ovseg, and print which ended in another way than a result or an error.

python tools/hostile_calls.py --calls 20000 --seed 7
python tools/hostile_calls.py --seed 7 --only 1234     # one call again, with its traceback
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import tempfile
import time
from pathlib import Path

from hostile.run import LONGEST_CALL, Report, run_calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=20_000, help="how many calls (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="what the calls are drawn from")
    parser.add_argument("--only", type=int, nargs="+", help="the numbers of calls to make again")
    given = parser.parse_args()
    start, cpu = time.monotonic(), time.process_time()

    def seen(number: int) -> None:
        faulthandler.dump_traceback_later(3 * LONGEST_CALL, exit=True)  # a hang that no signal ends
        if (number + 1) % 1000 == 0:
            print(f"{number + 1:,} calls, {time.monotonic() - start:.0f} s", file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        report = run_calls(Path(folder) / "place", given.seed, given.only or range(given.calls), seen)
    faulthandler.cancel_dump_traceback_later()
    print(report.table())
    print(f"{time.monotonic() - start:.0f} s, {time.process_time() - cpu:.0f} s of the processor's time")
    _print_failures(report, traces=bool(given.only))
    return 1 if report.failures else 0


def _print_failures(report: Report, traces: bool) -> None:
    for one in report.failures:
        print(f"\ncall {one.number} ({one.kind}): {one.words}\n    {one.reason}")
        if traces:
            print(one.trace)


if __name__ == "__main__":
    sys.exit(main())
