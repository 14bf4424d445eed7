"""Making the calls, and judging how each one ended."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from hostile.call import Call
from hostile.kinds import KINDS
from hostile.place import Place
from hostile.writes import watched
from ovseg.errors import OvsegError

LONGEST_CALL = 120.0
"""Seconds after which a call counts as one that hangs; the slowest takes about one."""
LONGEST_MESSAGE = 2000


class Hangs(BaseException):
    """No Exception: nobody on the way catches it."""


@dataclass(frozen=True)
class Failure:
    """A call that ended in another way than with a result or an error of ovseg's."""

    number: int
    kind: str
    words: str
    reason: str
    trace: str = ""


@dataclass
class Report:
    """``counts`` by kind and by how the calls ended: "result", "error" or "traceback"."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})
    failures: list[Failure] = field(default_factory=list)

    def table(self) -> str:
        rows = [("kind", "calls", "results", "errors", "tracebacks")]
        whole: Counter[str] = Counter()
        for kind, count in self.counts.items():
            whole += count
            rows.append((kind, *_numbers(count)))
        rows.append(("all", *_numbers(whole)))
        return "\n".join(f"{row[0]:40}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows)


def run_calls(
    folder: Path, seed: int, numbers: Sequence[int], seen: Callable[[int], None] = lambda number: None
) -> Report:
    """Make the calls with these numbers. A number and the seed give the same call whatever was made before.

    Args:
        folder: an empty folder that all files are written to.
        seed: what all calls are drawn from.
        numbers: which calls.
        seen: called with the number of each call that was made.
    """
    report = Report()
    names, weights = list(KINDS), [weight for _, weight in KINDS.values()]
    with Place(folder) as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in numbers:
            rng = Random(f"{seed}:{number}")
            kind = rng.choices(names, weights)[0]
            try:
                call = KINDS[kind][0](place, rng)
            except Exception as error:  # the tool's own mistake, which loses no other call
                call = Call("while it was drawn", partial(_raise, error))
            ended, failure = judged(place, call)
            report.counts[kind][ended] += 1
            if failure is not None:
                report.failures.append(Failure(number, kind, call.words, *failure))
            seen(number)
    return report


def _raise(error: Exception) -> None:
    raise error


def judged(place: Place, call: Call) -> tuple[str, tuple[str, str] | None]:
    """How a call ended, and for a traceback the reason and the trace."""
    filters, shown_by, before = list(warnings.filters), warnings.showwarning, set(os.listdir(place.here))
    ended, reason, trace, misuse = "result", "", "", False
    with watched(place.folder) as outside:
        try:
            with at_most(LONGEST_CALL):
                said = call.check(call.make())
            ended = "error" if said else "result"
        except OvsegError as error:
            ended, reason, misuse = "error", _wrong_message(error), error.exit_code == 2
        except (Exception, Hangs, SystemExit) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            trace = traceback.format_exc()
    left = sorted(set(os.listdir(place.here)) - before)
    if list(warnings.filters) != filters or warnings.showwarning is not shown_by:
        reason = reason or "the filters of warnings are others than before"
    if outside:
        reason = reason or f"wrote {outside[0]}, outside its folder"
    if misuse and left:
        reason = reason or f"an error of misuse left {left[0]!r}"
    if set(before) - set(os.listdir(place.here)):
        reason = reason or f"removed {sorted(before - set(os.listdir(place.here)))[0]!r}"
    _remove(place, left)
    return ("traceback", (reason, trace)) if reason else (ended, None)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise ``Hangs`` in the main thread after ``seconds``."""

    def stop(*_: object) -> None:
        raise Hangs(f"the call took more than {seconds:g} s")

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def _wrong_message(error: OvsegError) -> str:
    try:
        text = str(error)
    except Exception as inner:
        return f"the message of {type(error).__name__} cannot be made: {inner}"
    if not text.strip() or len(text.splitlines()) != 1 or len(text) > LONGEST_MESSAGE:
        return (
            f"the message of {type(error).__name__} is not one line of reasonable length: {ascii(text)[:300]}"
        )
    return ""


def _remove(place: Place, names: list[str]) -> None:
    import shutil

    for name in names:
        path = place.here / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _numbers(count: Counter[str]) -> tuple[str, ...]:
    return tuple(
        f"{number:,}" for number in (count.total(), *(count[end] for end in ("result", "error", "traceback")))
    )
