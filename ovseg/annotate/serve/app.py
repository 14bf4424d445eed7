"""The HTTP side: routes, bounds and statuses. What is answered is made elsewhere."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from pathlib import Path

import anyio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from ovseg.annotate.serve.label_studio import predict
from ovseg.errors import OvsegError, one_line
from ovseg.text_to_mask import TextToMask


class Refused(Exception):
    """A request that is answered with ``status`` and a line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


def create_app(
    finder: TextToMask,
    version: str,
    *,
    root: Path | None = None,
    token: str | None = None,
    max_bytes: int = 64 << 20,
    at_once: int = 2,
) -> FastAPI:
    """The application that ``uvicorn`` serves.

    Args:
        finder: what makes the masks.
        version: the model version that predictions carry.
        root: the folder below which local files may be read; None to read none.
        token: the password of HTTP Basic, with any user name; None to let everybody in.
        max_bytes: of a request's body.
        at_once: predictions that are made at the same time; the others wait.
    """
    app = FastAPI(openapi_url=None)
    limiter = anyio.CapacityLimiter(at_once)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Exception) -> JSONResponse:
        status = error.status if isinstance(error, Refused) else 500
        return JSONResponse({"error": one_line(error)}, status)

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "UP", "model_class": "ovseg"})

    @app.post("/setup")
    async def setup(request: Request) -> JSONResponse:
        check_token(request, token)
        await read_body(request, max_bytes)
        return JSONResponse({"model_version": version})

    @app.post("/predict")
    async def predicted(request: Request) -> JSONResponse:
        check_token(request, token)
        body = await read_body(request, max_bytes)
        async with limiter:
            try:
                return JSONResponse(await run_in_threadpool(predict, finder, body, version, root))
            except OvsegError as error:
                raise Refused(400, one_line(error)) from None

    return app


def check_token(request: Request, token: str | None) -> None:
    """Label Studio sends a backend's token as the password of HTTP Basic."""
    if token is None:
        return
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(value, validate=True).partition(b":")[2] if kind == "Basic" else b""
    except (binascii.Error, ValueError):
        given = b""
    if not hmac.compare_digest(given, token.encode()):
        raise Refused(401, "wanted the server's token as the password of HTTP Basic")


async def read_body(request: Request, most: int) -> dict[str, object]:
    """The JSON object of a request, of at most ``most`` bytes, which are counted as they arrive."""
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > most:
            raise Refused(413, f"wanted a body of at most {most} bytes")
    try:
        body = json.loads(bytes(parts))
    except (ValueError, RecursionError):
        raise Refused(400, "wanted a JSON object, got something else") from None
    if not isinstance(body, dict):
        raise Refused(400, "wanted a JSON object, got something else")
    return body
