"""Bounds of a request's size and time, and of how many requests are worked on at once."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Event, Lock

from starlette.requests import ClientDisconnect, Request

from ovseg.options import ServeOptions

JsonObject = dict[str, object]
DRAINED, DRAINING = 256 << 20, 2.0
"""Bytes of a refused body that are read and dropped, and seconds for it."""

LOOKS = 0.25
"""Seconds after which who waits looks whether the server is being stopped."""
ENDING = 3.0
"""Seconds that a server which is being stopped waits for work."""
THREADS = "ovseg-serve"
STOPPED = "expected a server, this one is being stopped"


class Refused(Exception):
    """A request that is answered with ``status`` and a line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Deadline:
    """The time at which a request has to be answered; work in several steps asks before each one."""

    def __init__(self, seconds: float, stop: Event | None = None) -> None:
        self._end = time.monotonic() + seconds
        self._stop = stop

    @property
    def left(self) -> float:
        """Seconds that are left, 0 where there are none or the server is being stopped."""
        if self._stop is not None and self._stop.is_set():
            return 0.0
        return max(0.0, self._end - time.monotonic())


Work = Callable[[JsonObject, Deadline], JsonObject]
"""From a request's body to its answer; it runs in a worker's thread."""


def is_working() -> bool:
    """Whether a worker's thread of a server that has been closed has not ended yet."""
    return any(one.name.startswith(THREADS) for one in threading.enumerate())


class Gate:
    """Lets a bounded number of requests in, and works on them in a bounded number of threads.

    A thread cannot be stopped: a request that ran out of time is answered, but it keeps its place until its
    work has ended, so that there is never more work than the bounds say.

    Args:
        options: how long, how large and how many.
        stop: set by whoever ends the server: whoever waits is told so.
    """

    def __init__(self, options: ServeOptions, stop: Event) -> None:
        self.options = options
        self._pool = ThreadPoolExecutor(options.workers, THREADS)
        self._stop = stop
        self._lock = Lock()
        self._inside = 0

    async def answer(self, request: Request, work: Work) -> bytes:
        """The answer to a request as JSON.

        Args:
            request: its body is read here, and only where there is a place.
            work: makes the answer.

        Raises:
            Refused: there is no place, the body is too large or no JSON object, time has run out, or the
                server is being stopped.
            Exception: whatever the work raises.
        """
        self._enter()
        deadline = Deadline(self.options.timeout, self._stop)
        future: Future[bytes] | None = None
        try:
            raw = await read_body(request, self.options.max_bytes, deadline)
            future = self._pool.submit(lambda: as_line(work(parse(raw), deadline)))
        finally:
            if future is None:
                self._leave()
            else:
                future.add_done_callback(lambda _: self._leave())
        waited = asyncio.wrap_future(future)
        while not waited.done() and deadline.left:
            await asyncio.wait([waited], timeout=min(LOOKS, deadline.left))
        if not waited.done():
            waited.add_done_callback(_forget)
            future.cancel()
            if self._stop.is_set():
                raise Refused(503, STOPPED)
            raise Refused(504, f"expected an answer within {self.options.timeout:g} seconds, it took longer")
        return waited.result()

    @property
    def inside(self) -> int:
        """Requests that are read, wait, or are worked on."""
        with self._lock:
            return self._inside

    def close(self) -> None:
        """Let nothing more begin, and wait a little for what is being done."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        end = time.monotonic() + ENDING
        while self.inside and time.monotonic() < end:
            time.sleep(0.02)

    def _enter(self) -> None:
        if self._stop.is_set():
            raise Refused(503, STOPPED)
        most = self.options.workers + self.options.waiting
        with self._lock:
            if self._inside >= most:
                raise Refused(503, f"expected at most {most} requests at the same time: try again later")
            self._inside += 1

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1


def _forget(late: asyncio.Future[bytes]) -> None:
    """Take a result that nobody waits for any more: asyncio complains about an error that nobody took."""
    if not late.cancelled():
        late.exception()


async def read_body(request: Request, most: int, deadline: Deadline) -> bytes:
    """The body of a request, whose bytes are counted as they arrive.

    Raises:
        Refused: it is larger than ``most`` bytes, is not there in time, or its sender has gone.
    """
    try:
        return await asyncio.wait_for(_read(request, most), deadline.left)
    except (TimeoutError, asyncio.TimeoutError):
        raise Refused(408, "expected the whole body in time, it took longer") from None
    except ClientDisconnect:
        raise Refused(400, "expected the whole body, the connection was closed") from None


async def _read(request: Request, most: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and declared.isascii() and (len(declared) > 18 or int(declared) > most):
        raise Refused(413, f"expected a body of at most {most} bytes")
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > most:
            raise Refused(413, f"expected a body of at most {most} bytes")
    return bytes(parts)


async def drain(request: Request) -> None:
    """Read and drop what is left of a refused request's body, within bounds.

    A connection that is closed while its sender still sends is reset, and the sender never sees the answer.
    """

    async def drop() -> None:
        dropped = 0
        async for part in request.stream():
            dropped += len(part)
            if dropped > DRAINED:
                return

    with suppress(TimeoutError, asyncio.TimeoutError, ClientDisconnect, RuntimeError):
        await asyncio.wait_for(drop(), DRAINING)


def parse(raw: bytes) -> JsonObject:
    """The JSON object in the body of a request.

    Raises:
        Refused: it holds something else.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):  # broken, not UTF-8, nested too deeply, numbers of too many digits
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "expected a JSON object, got something else")
    return body


def as_line(content: object) -> bytes:
    """JSON on one line, in ASCII: a text may hold what UTF-8 cannot."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
