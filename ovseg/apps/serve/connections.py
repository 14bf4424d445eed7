"""Bounds of connections, for uvicorn: slow senders are cut off, and idle ones make room for others."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.applications import Starlette
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 512
"""Most connections; beyond them, the one that has been idle the longest is closed."""
HEAD = 10.0
"""Seconds for a request's line and headers."""
SENDING = 30.0
"""Seconds in which an answer has to be fetched."""


@dataclass
class Bounds:
    """The bounds of all connections of a server.

    Attributes:
        most: connections at once.
        head: seconds for a request's line and headers.
        busy: seconds for a request, from its headers to the end of its answer.
        waiting: the connections without a request, the longest idle first.
    """

    most: int
    head: float
    busy: float
    waiting: dict[Bounded, None] = field(default_factory=dict)


class Bounded(H11Protocol):
    """A connection that is closed if its request or the fetching of its answer takes too long."""

    bounds: Bounds
    clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_clock(self.bounds.head)
        self.bounds.waiting[self] = None
        if len(self.connections) > self.bounds.most:
            idle = (one for one in self.bounds.waiting if not one.transport.get_write_buffer_size())
            next(idle, self).abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_clock(None)
        self.bounds.waiting.pop(self, None)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self.bounds.waiting.pop(self, None)
            self._set_clock(self.bounds.busy)

    def on_response_complete(self) -> None:
        self.bounds.waiting[self] = None
        self._set_clock(SENDING)
        super().on_response_complete()  # begins the next request if it is here already

    def abort(self) -> None:
        """Close the connection at once."""
        self.bounds.waiting.pop(self, None)
        self.transport.abort()

    def _set_clock(self, seconds: float | None) -> None:
        if self.clock is not None:
            self.clock.cancel()
        self.clock = None if seconds is None else self.loop.call_later(seconds, self.abort)


def server_config(
    app: Starlette, seconds: float, connections: int = CONNECTIONS, head: float = HEAD
) -> Config:
    """Settings of uvicorn for an application.

    uvicorn's own ``limit_concurrency`` also counts connections that say nothing: a few hundred of them would
    turn every request away, that for ``/health`` too.

    Args:
        app: the application.
        seconds: the time limit of a request.
        connections: most connections at once, fewer if the system allows fewer open files.
        head: seconds for a request's line and headers.
    """
    bounds = Bounds(min(connections, _open_files() // 2), head, seconds + SENDING)
    return Config(
        app,
        http=type("Connection", (Bounded,), {"bounds": bounds}),
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
        server_header=False,
    )


def _open_files() -> int:
    """How many files this process may have open."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft != resource.RLIM_INFINITY:
            return soft
    return 2 * CONNECTIONS
