"""The HTTP side of the page: its few paths, and who may ask for them.

A page on a loopback address is still reached by every site that the user's browser shows: directly, and, if
the site's name is made to lead to this machine (DNS rebinding), as if it were the site's own. So a request
needs a Host that leads here on purpose, and an Origin, where there is one, that is this Host. No answer allows
another origin to read it (no CORS header).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ovseg.apps.page.desk import Desk
from ovseg.apps.page.state import State
from ovseg.apps.serve.bounds import Deadline, Refused, as_line, drain, parse, read_body
from ovseg.errors import one_line

HERE = Path(__file__).parent
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
MOST_BYTES, UPLOAD_SECONDS = 512 << 20, 600.0
"""Of a photo that is added to the page, and until it has arrived."""
ACT_BYTES, ACT_SECONDS = 1 << 20, 10.0
"""Of the body of every other request."""
MOST_WAITING = 32
"""Requests that wait for the desk, which works on one at a time."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every answer: nothing is loaded from elsewhere, framed, or kept by a browser."""
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/@?#\\]+)(:[0-9]{1,5})?")


Handler: TypeAlias = "Callable[[Request], Awaitable[Response]]"


@dataclass(frozen=True)
class Names:
    """The names by which browsers may reach the page.

    Attributes:
        names: in lower case.
        addresses: whether any IP address is one: it cannot be made to lead elsewhere.
    """

    names: frozenset[str]
    addresses: bool

    @classmethod
    def of(cls, host: str, is_local: bool, more: Sequence[str] = ()) -> Names:
        """Those of a page that listens at ``host``; if others reach it, also the machine's own name.

        >>> here, lab = Names.of("127.0.0.1", True), Names.of("0.0.0.0", False, ["lab.example"])
        >>> here.allows("localhost:7860"), here.allows("evil.example:7860"), here.allows("192.0.2.7:7860")
        (True, False, False)
        >>> lab.allows("192.0.2.7:7860"), lab.allows("lab.example"), lab.allows("evil.example")
        (True, True, False)
        """
        own = [] if is_local else [host, socket.gethostname(), f"{socket.gethostname()}.local"]
        return cls(frozenset(name.lower().strip() for name in ("localhost", *own, *more)), not is_local)

    def allows(self, header: str) -> bool:
        """Whether a Host header, with or without a port, leads here on purpose."""
        found = _HOST.fullmatch(header)
        if found is None:
            return False
        name = found[1].strip("[]").lower()
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name.removesuffix(".") in self.names
        return self.addresses or address.is_loopback


class Routes:
    """What the page answers.

    Args:
        desk: does what tabs ask for.
        names: by which browsers may reach the page.
    """

    def __init__(self, desk: Desk, names: Names) -> None:
        self.desk, self.names = desk, names
        self._uploading = anyio.Lock()
        self._waiting = 0

    def app(self) -> Starlette:
        """The application that uvicorn serves."""
        return Starlette(
            routes=[
                *(Route(path, self._guarded(self.page_file), methods=["GET"]) for path in FILES),
                Route("/act", self._guarded(self.act), methods=["POST"]),
                Route("/photos", self._guarded(self.add_photo), methods=["POST"]),
                Route("/{path:path}", self._guarded(self.elsewhere), methods=METHODS),
            ]
        )

    async def page_file(self, request: Request) -> Response:
        name, kind = FILES[request.scope["path"]]
        return Response((HERE / name).read_bytes(), media_type=kind)

    async def act(self, request: Request) -> Response:
        """Do what a JSON object asks for. Its content type is one that no form of another site can send."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "expected the content type application/json")
        asked = parse(await read_body(request, ACT_BYTES, Deadline(ACT_SECONDS)))
        return await self._work(lambda: self.desk.answer(asked))

    async def add_photo(self, request: Request) -> Response:
        """Keep the file in the body; ``show=0`` leaves the photo that is shown."""
        name, show = request.query_params.get("name", ""), request.query_params.get("show") != "0"
        async with self._uploading:  # one body in memory at a time
            content = await read_body(request, MOST_BYTES, Deadline(UPLOAD_SECONDS))
            return await self._work(lambda: self.desk.upload(name, content, show))

    async def elsewhere(self, request: Request) -> Response:
        raise Refused(404, "expected a path of this page")

    async def _work(self, make: Callable[[], State]) -> Response:
        if self._waiting >= MOST_WAITING:
            raise Refused(503, f"expected at most {MOST_WAITING} requests at the same time: try again later")
        self._waiting += 1
        try:
            return Response(as_line(await run_in_threadpool(make)), media_type="application/json")
        finally:
            self._waiting -= 1

    def _guarded(self, handle: Handler) -> Handler:
        """A handler that refuses foreign senders, and whose answers have ``HEADERS``."""

        async def checked(request: Request) -> Response:
            try:
                check_sender(request, self.names)
                answer = await handle(request)
            except Refused as error:
                await drain(request)
                answer = Response(
                    as_line({"error": one_line(error)}), error.status, media_type="application/json"
                )
            answer.headers.update(HEADERS)
            return answer

        return checked


def check_sender(request: Request, names: Names) -> None:
    """Refuse what a foreign site's page could have sent.

    Raises:
        Refused: the Host is not one of ``names``, the Origin is not this Host, or the browser says that
            another site asks.
    """
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not names.allows(hosts[0]):
        raise Refused(403, "expected a Host by which this page may be reached (--host-names)")
    origins = request.headers.getlist("origin")
    if not all(re.fullmatch("https?://" + re.escape(hosts[0]), origin) for origin in origins):
        raise Refused(403, "expected a request of this page itself, got one of another site")
    is_link = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not is_link:
        raise Refused(403, "expected a request of this page itself, got one of another site")
