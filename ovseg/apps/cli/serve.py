"""``ovseg serve``: a backend for Label Studio and X-AnyLabeling."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from ovseg.apps.cli.loading import (
    DEFAULT,
    MethodName,
    ModelName,
    SegmenterName,
    SegmenterWeights,
    encode_texts,
    little_known,
    load_model,
)
from ovseg.apps.cli.loading import load_segmenter as load_named_segmenter
from ovseg.apps.cli.mask import DEFAULT_SEGMENTER
from ovseg.apps.cli.options import with_options
from ovseg.apps.cli.shared import note, reported, tell
from ovseg.errors import MissingPackageError, OvsegError, UsageError, extra
from ovseg.files.paths import expand, shown
from ovseg.options import AnnotateOptions, LoadOptions, ServeOptions
from ovseg.options.checks import check_integer, check_text

if TYPE_CHECKING:
    from fastapi import FastAPI

HERE = "127.0.0.1"
PORT = 9090
"""Where Label Studio's own backends listen."""
CONNECTIONS = 512
"""Connections at the same time; a request beyond them gets status 503."""
SERVER = "Server"
TASK_FIELDS = ("task", "logit_scale", "background", "area_threshold", "synonyms")
"""Options of label maps, which a server does not make."""


@reported
@with_options(LoadOptions, AnnotateOptions, ServeOptions, without=TASK_FIELDS)
def serve(
    loading: LoadOptions,
    options: AnnotateOptions,
    limits: ServeOptions,
    host: Annotated[
        str,
        typer.Option(
            "--host", help="The address to listen on; 0.0.0.0 for all networks.", rich_help_panel=SERVER
        ),
    ] = HERE,
    port: Annotated[
        int, typer.Option("--port", help="The port to listen on; 0 for a free one.", rich_help_panel=SERVER)
    ] = PORT,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="OVSEG_SERVE_TOKEN",
            help="What tools have to send: in Label Studio the password of HTTP Basic.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            "--root", help="The folder below which local files may be read as images.", rich_help_panel=SERVER
        ),
    ] = None,
    hosts: Annotated[
        list[str],
        typer.Option(
            "--hosts",
            help="Hosts that images may be downloaded from: localhost:8080. The first is Label Studio's. "
            "May be repeated, or several with commas.",
            rich_help_panel=SERVER,
        ),
    ] = [],  # noqa: B006 - typer reads it and changes nothing
    studio_token: Annotated[
        str | None,
        typer.Option(
            "--label-studio-token",
            envvar="OVSEG_LABEL_STUDIO_TOKEN",
            help="An access token of Label Studio, for its images. Without it: what it sends at setup.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", help="Print a line for each request.", rich_help_panel=SERVER)
    ] = False,
    model: ModelName = DEFAULT,
    method: MethodName = "clip_surgery",
    segmenter: SegmenterName = DEFAULT_SEGMENTER,
    segmenter_weights: SegmenterWeights = None,
) -> None:
    """Answer Label Studio and X-AnyLabeling: masks for words, labels, clicks, boxes and strokes.

    Example: ovseg serve --segmenter vit_b --hosts localhost:8080

    Prints its address, and ends with Ctrl-C. docs/serve.md says how the tools are connected.
    """
    try:
        import uvicorn  # noqa: F401 - said before models are loaded
        from fastapi import FastAPI  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"ovseg serve needs FastAPI and uvicorn ({error}): {extra('serve')}"
        ) from None
    from ovseg.apps.serve.hosts import Hosts
    from ovseg.apps.serve.images import Sources

    check_integer("port", port, 0, 65_535)
    for name, value in (("token", token), ("label_studio_token", studio_token)):
        if value is not None:
            check_text(name, value)
    names = [name.strip() for one in hosts for name in one.split(",")]
    sources = Sources(_folder(root), Hosts(names, limits.max_bytes, studio_token), limits.max_bytes)
    with listening(host, port) as opened:
        ready = load_model(model, method, loading)
        ready.check_window(options)
        weights = (
            as_weights("segmenter_weights", segmenter_weights) if segmenter_weights is not None else None
        )
        sam = load_named_segmenter(segmenter, weights, loading)
        encode_texts(ready, [*options.rivals, ""], options.templates)
        from ovseg.apps.serve.app import create_app
        from ovseg.apps.serve.core import Core

        core = Core(ready, sam, options, limits.max_pixels, limits.keep)
        stop = Event()
        app = create_app(core, sources=sources, token=token, options=limits, stop=stop)
        for line in little_known(model, loading.weights, segmenter, weights):
            note(line)
        if token is None and not ipaddress.ip_address(opened.getsockname()[0]).is_loopback:
            note("warning: whoever reaches this address may use the server: --token sets a password")
        shown_host = f"[{host}]" if ":" in host else host
        tell(f"{core.version} serves on http://{shown_host}:{opened.getsockname()[1]} (Ctrl-C ends it)")
        run_server(app, opened, stop, log_requests)


def run_server(app: FastAPI, opened: socket.socket, stop: Event, log_requests: bool) -> None:
    """Serve until Ctrl-C, which sets ``stop`` and raises KeyboardInterrupt when everything has ended."""
    import uvicorn

    from ovseg.apps.serve.bounds import is_working

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            stop.set()  # before uvicorn waits for the requests that are there
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        log_level="info" if log_requests else "warning",
        access_log=log_requests,
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    try:
        Server(config).run(sockets=[opened])
    finally:
        if is_working():  # a thread cannot be stopped, and Python would wait for it; it writes nothing
            note("stopped: what was being worked on is given up")
            os._exit(130)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; whether a port is free is said before models are loaded.

    Raises:
        UsageError: there is no such address here.
        OvsegError: the port is taken or may not be used.
    """
    known = _address(host)
    try:
        # An address is not looked up: that works without a network.
        name = str(known) if known else str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError):
        raise UsageError(f"expected host as an address of this machine, got {shown(host)!r}") from None
    opened = socket.socket(socket.AF_INET6 if ":" in name else socket.AF_INET)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((name, port))
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise OvsegError(f"expected a free port, {shown(host)}:{port}: {error.strerror}") from None
    return opened


def _folder(root: str | None) -> Path | None:
    if root is None:
        return None
    path = expand(root)
    if not path.is_dir():
        raise UsageError(f"expected root as a folder, got {shown(root)}")
    return path


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
