"""Send malformed requests to a real `ovseg serve`, and print which were answered in a wrong way.

python tools/hostile_requests.py --requests 10000 --seed 7
python tools/hostile_requests.py --seed 7 --only 1234     # one request again, with the server's log
"""

from __future__ import annotations

import argparse
import sys
import time

from hostile_http.kinds import draw
from hostile_http.run import scratch, send_all, serving

GROWTH = 64
"""Megabytes by which the server's memory may grow after the first tenth of the requests."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="what the requests are drawn from")
    parser.add_argument("--only", type=int, nargs="+", help="the numbers of requests to send again")
    given = parser.parse_args()
    start = time.monotonic()

    def seen(number: int) -> None:
        if (number + 1) % 1000 == 0:
            print(f"{number + 1:,} requests, {time.monotonic() - start:.0f} s", file=sys.stderr)

    with scratch() as folder, serving(folder) as server:
        report = send_all(server, given.seed, given.only or range(given.requests), seen)
        code = server.interrupt()
        log = server.log.read_text(errors="replace")
    print(report.table())
    first, last = report.memory[0], report.memory[-1]
    print(f"resident memory {first:.0f} MB after a tenth, {last:.0f} MB at the end; exit code {code}")
    print(f"{time.monotonic() - start:.0f} s, {len(report.failures)} failures")
    for number, kind, reason in report.failures:
        print(f"\nrequest {number} ({kind}): {reason}")
    if given.only:
        for number in given.only:
            print(f"\n{draw(given.seed, number)[1].raw[:2000]!r}")
        print(f"\n{log}")
    grown = last - first > GROWTH
    if grown:
        print(f"memory grew by more than {GROWTH} MB")
    return 1 if report.failures or grown or code != 130 else 0


if __name__ == "__main__":
    sys.exit(main())
