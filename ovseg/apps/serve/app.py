"""HTTP: routes, access and statuses. Other modules make the answers."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from threading import Event

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovseg.apps.serve import x_anylabeling
from ovseg.apps.serve.bounds import JsonObject, Refused, as_line, drain
from ovseg.apps.serve.core import Core
from ovseg.apps.serve.images import Sources
from ovseg.apps.serve.label_studio import LabelStudio
from ovseg.apps.serve.workers import Gate, Work
from ovseg.errors import OvsegError, described, one_line
from ovseg.options import ServeOptions

Handler = Callable[[Request], Awaitable[Response]]
log = logging.getLogger("ovseg.serve")
X_ANYLABELING = "/v1/"
"""Paths whose errors have X-AnyLabeling's form."""
UNUSED = ("/webhook", "/train", "/validate", "/job_status", "/delete", "/duplicate_model")
"""Paths that Label Studio calls too. They are answered with an empty object, and their bodies are not read:
nothing is trained here, and the bodies hold tokens."""

PUBLIC = ("/", "/health")
"""Paths that need no token."""


def create_app(
    core: Core,
    *,
    sources: Sources | None = None,
    token: str | None = None,
    options: ServeOptions | None = None,
    stop: Event | None = None,
) -> FastAPI:
    """An ASGI application that answers Label Studio and X-AnyLabeling.

    Args:
        core: finds the regions.
        sources: where Label Studio's images may come from, besides data URIs.
        token: what callers have to send, see ``check_token``; None admits everybody.
        options: the bounds of requests.
        stop: set it to stop the server: requests are refused, and work ends after its present step.

    Example:
        >>> import ovseg
        >>> app = create_app(Core(ovseg.load_model("tiny"), ovseg.load_segmenter("tiny")))
        >>> "/predict" in {route.path for route in app.routes}
        True
    """
    chosen = options or ServeOptions()
    stopping = stop or Event()
    gate = Gate(chosen, stopping)
    # Label Studio waits 3 seconds for the answer to setup, also while all workers are busy.
    desk = Gate(replace(chosen, workers=1, max_body=1), stopping)
    studio = LabelStudio(core, sources or Sources())

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        stopping.set()
        for one in (gate, desk):
            await run_in_threadpool(one.close)

    app = FastAPI(openapi_url=None, lifespan=life, redirect_slashes=False)
    app.add_middleware(RequestLog)
    app.add_exception_handler(HTTPException, _http_error)
    for method, path, handle in _routes(core, studio, gate, desk):
        app.add_route(path, _guarded(handle, None if path in PUBLIC else token), methods=[method])
    return app


def _routes(core: Core, studio: LabelStudio, gate: Gate, desk: Gate) -> Iterator[tuple[str, str, Handler]]:
    """Method, path and handler of every route."""

    async def health(_: Request) -> Response:
        return _json({"status": "UP", "model_class": "ovseg", "requests": gate.inside})

    async def versions(_: Request) -> Response:
        return _json({"versions": [core.version]})

    async def unused(request: Request) -> Response:
        await drain(request)
        return _json({})

    async def models(_: Request) -> Response:
        return _json(x_anylabeling.models(core))

    async def about(request: Request) -> Response:
        return _json(x_anylabeling.about(core, request.path_params["model"]))

    def answered(work: Work, at: Gate = gate) -> Handler:
        async def handle(request: Request) -> Response:
            return Response(await at.answer(request, work), media_type="application/json")

        return handle

    yield from (("GET", path, health) for path in PUBLIC)
    yield "GET", "/versions", versions
    yield "POST", "/setup", answered(studio.setup, desk)
    yield "POST", "/predict", answered(studio.predict)
    yield from (("POST", path, unused) for path in UNUSED)
    yield "GET", "/v1/models", models
    yield "GET", "/v1/models/{model}/info", about
    yield "POST", "/v1/predict", answered(partial(x_anylabeling.predict, core))


def check_token(request: Request, token: str | None) -> None:
    """Check that the caller may ask.

    Label Studio sends the token as the password of HTTP Basic, X-AnyLabeling in the header ``Token``. Requests
    with the header ``Origin`` come from a web page in somebody's browser, which could otherwise reach a server
    on that person's machine.

    Raises:
        Refused: the token is wrong or missing, or a web page asks.
    """
    if "origin" in request.headers:
        raise Refused(403, "expected a request of a program, got one of a web page")
    if token is None:
        return
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    given = request.headers.get("token", "").encode("latin-1", "replace")
    if kind.lower() == "basic":
        try:
            given = base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            given = b""
    elif kind.lower() in ("bearer", "token"):
        given = value.strip().encode("latin-1", "replace")
    if not hmac.compare_digest(given, token.encode()):
        raise Refused(
            401, "expected the server's token: as the password of HTTP Basic, or in the header Token"
        )


def _guarded(handle: Handler, token: str | None) -> Handler:
    """A handler that turns errors into a status and a line, and logs unexpected ones with their traceback."""

    async def guarded(request: Request) -> Response:
        code = ""
        try:
            check_token(request, token)
            return await handle(request)
        except Refused as error:
            status, line, code = error.status, one_line(error), error.code
        except OvsegError as error:
            status, line = 400, one_line(error)
        except MemoryError:
            log.error("%s: not enough memory", _path(request))
            status, line = 503, "not enough memory for this request"
        except Exception:
            log.exception("%s failed", _path(request))
            status, line = 500, "the server failed, its log says where"
        if status != 408:  # there, the rest of the body did not come
            await drain(request)
        return _error(_path(request), status, line, code)

    return guarded


async def _http_error(request: Request, error: Exception) -> Response:
    """The answer to an unknown path or method."""
    await drain(request)
    status = error.status_code if isinstance(error, HTTPException) else 500
    line = "expected another method for this path" if status == 405 else "expected a path of this server"
    answer = _error(_path(request), status, line)
    if isinstance(error, HTTPException):
        answer.headers.update(error.headers or {})
    return answer


def _path(request: Request) -> str:
    """The path alone: the whole address includes the header Host, which may hold anything."""
    return str(request.scope["path"])


def _error(path: str, status: int, line: str, code: str = "") -> Response:
    content: JsonObject = {"error": line}
    if path.startswith(X_ANYLABELING):
        content = x_anylabeling.refusal(code or x_anylabeling.CODES[status], line)
    return _json(content, status)


def _json(content: JsonObject, status: int = 200) -> Response:
    return Response(as_line(content), status, media_type="application/json")


class RequestLog:
    """Logs method, path, status and time of each request at the level INFO (``ovseg serve --verbose``).

    Args:
        app: the application that answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            path = described(scope["path"])[1:-1]  # without line breaks, and of bounded length
            client = (scope.get("client") or ("?",))[0]
            seconds = time.monotonic() - start
            log.info("%s %s %s: status %d, %.2f s", client, scope["method"], path, status, seconds)
