"""Bounds of one request: its time, the size of its body, and JSON that is an object."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from threading import Event

from starlette.requests import ClientDisconnect, Request

from ovseg.errors import DataError

JsonObject = dict[str, object]
PATIENCE, SLOWEST = 10.0, 64 << 10
"""Seconds for a body, and bytes that earn it another second."""
MOST_PARTS = 1_000_000
"""Lists, objects and keys in a JSON body, each of which takes far more memory than it has letters."""
DRAINED, DRAINING = 256 << 20, 2.0
"""Bytes of a refused body that are read and dropped, and seconds for it."""
STOPPED = "the server is being stopped"


class Refused(Exception):
    """Ends a request with ``status`` and a line; ``code`` is X-AnyLabeling's word for the reason."""

    def __init__(self, status: int, line: str, code: str = "") -> None:
        super().__init__(line)
        self.status, self.code = status, code


class Late(DataError):
    """The time of a request has run out between two steps of its work."""


class Deadline:
    """The time by which a request has to be answered. Work asks before each of its steps."""

    def __init__(self, seconds: float, stop: Event | None = None) -> None:
        self._end = time.monotonic() + seconds
        self._stop = stop

    @property
    def is_stopped(self) -> bool:
        """Whether the server is being stopped."""
        return self._stop is not None and self._stop.is_set()

    @property
    def left(self) -> float:
        """The remaining seconds; 0 if there are none or the server is being stopped."""
        if self.is_stopped:
            return 0.0
        return max(0.0, self._end - time.monotonic())

    def check(self, what: str) -> None:
        """Raise Late if no time is left for ``what``."""
        if not self.left:
            raise Late(f"expected {what} in time, it took longer: ask again, or for less at once")


async def read_body(request: Request, most: int, deadline: Deadline) -> bytes:
    """The body of a request. Its bytes are counted as they arrive, and they have to arrive steadily.

    Raises:
        Refused: it has more than ``most`` bytes, comes too slowly, or its sender has gone.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and declared.isascii() and (len(declared) > 18 or int(declared) > most):
        raise Refused(413, f"expected a body of at most {most} bytes")
    parts, sent = bytearray(), request.stream()
    patience = Deadline(PATIENCE)
    try:
        while True:
            left = min(deadline.left, patience.left + len(parts) / SLOWEST)
            part = await asyncio.wait_for(anext(sent), left)
            parts += part
            if len(parts) > most:
                raise Refused(413, f"expected a body of at most {most} bytes")
    except StopAsyncIteration:
        return bytes(parts)
    except (TimeoutError, asyncio.TimeoutError):
        if deadline.is_stopped:
            raise Refused(503, STOPPED) from None
        raise Refused(408, "expected the whole body in time, it took longer") from None
    except ClientDisconnect:
        raise Refused(400, "expected the whole body, the connection was closed") from None


async def drain(request: Request) -> None:
    """Read and drop what is left of a refused request's body, within bounds.

    If a connection is closed while its sender still sends, it is reset and the sender never sees the answer.
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
        Refused: the body is something else, or has more than ``MOST_PARTS`` parts.
    """
    if sum(map(raw.count, (b"[", b"{", b":"))) > MOST_PARTS:
        raise Refused(413, f"expected JSON of at most {MOST_PARTS} lists, objects and keys")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):  # broken, not UTF-8, nested too deeply, numbers of too many digits
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "expected a JSON object, got something else")
    return body


def as_line(content: object) -> bytes:
    """JSON on one line of ASCII: a text may hold lone surrogates, which UTF-8 cannot encode."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
