"""``ovseg serve``: a backend for Label Studio and X-AnyLabeling."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING

from ovseg.apps.cli.commands import LISTED, with_options
from ovseg.apps.cli.loading import check_models, encode_texts, little_known, load_model, load_segmenter
from ovseg.apps.cli.shared import note, reported, tell
from ovseg.errors import MissingPackageError, OvsegError, UsageError, extra
from ovseg.files.paths import expand, shown
from ovseg.options import LABEL_FIELDS, AnnotateOptions, ModelOptions, Options, SegmenterOptions, ServeOptions
from ovseg.options.fields import FLAG, TEXT, integer, option

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ovseg.apps.serve.images import Sources

SERVER = "Server"
SECRETS = ("OVSEG_SERVE_TOKEN", "OVSEG_LABEL_STUDIO_TOKEN")


@dataclass(frozen=True, kw_only=True)
class ServerOptions(Options):
    """The server's address, and the images that it may read."""

    host: str = option("127.0.0.1", TEXT, "The address to listen on; 0.0.0.0 for all networks.", SERVER)
    port: int = option(
        9090, integer(0, 65_535), "The port to listen on, Label Studio's own; 0 for a free one.", SERVER
    )
    token: str | None = option(
        None, TEXT, "What tools have to send: in Label Studio the password of HTTP Basic.", SERVER
    )
    root: str | None = option(None, TEXT, "The folder below which local files may be read as images.", SERVER)
    hosts: Sequence[str] = option(
        (),
        LISTED,
        "Hosts that images may be downloaded from: localhost:8080. The first is Label Studio's. "
        "May be repeated, or several with commas.",
        SERVER,
    )
    label_studio_token: str | None = option(
        None,
        TEXT,
        "An access token of Label Studio, for its images. Without it: what it sends at setup.",
        SERVER,
    )
    verbose: bool = option(
        False, FLAG, "Print a line for each request: who asked what, the status, and the time.", SERVER
    )


@reported
@with_options(
    ModelOptions, SegmenterOptions, AnnotateOptions, ServeOptions, ServerOptions, without=LABEL_FIELDS
)
def serve(
    models: ModelOptions,
    segmenter: SegmenterOptions,
    options: AnnotateOptions,
    limits: ServeOptions,
    server: ServerOptions,
) -> None:
    """Answer Label Studio and X-AnyLabeling: masks for words, labels, clicks, boxes and strokes.

    Example: ovseg serve --segmenter vit_b --hosts localhost:8080

    Prints its address, and ends with Ctrl-C. docs/serve.md says how the tools are connected.
    """
    check_packages()
    check_secrets()
    check_models(models, segmenter)
    sources = find_sources(server, limits)
    with listening(server.host, server.port) as opened:
        model = load_model(models)
        model.check_window(options)
        sam = load_segmenter(segmenter, models)
        encode_texts(model, [*options.rivals, ""], options.templates, [])
        from ovseg.apps.serve.app import create_app
        from ovseg.apps.serve.core import Core

        core = Core(model, sam, options, limits)
        stop = Event()
        app = create_app(core, sources=sources, token=server.token, options=limits, stop=stop)
        for line in little_known(models, segmenter):
            note(line)
        address, port = opened.getsockname()[:2]
        if server.token is None and not ipaddress.ip_address(address).is_loopback:
            note("warning: whoever reaches this address may use the server: --token sets a password")
        host = f"[{server.host}]" if ":" in server.host else server.host
        tell(f"{core.version} serves on http://{host}:{port} (Ctrl-C ends it)")
        run_server(app, opened, stop, limits.timeout, server.verbose)


def check_packages() -> None:
    """Raise MissingPackageError if FastAPI or uvicorn is missing."""
    for name in ("fastapi", "uvicorn"):
        try:
            found = find_spec(name)
        except ValueError:  # the import is blocked
            found = None
        if found is None:
            raise MissingPackageError(f"ovseg serve needs FastAPI and uvicorn ({name}): {extra('serve')}")


def check_secrets() -> None:
    """Raise UsageError if a token's environment variable is set but empty: it would count as no token."""
    for name in SECRETS:
        if name in os.environ and not os.environ[name].strip():
            raise UsageError(f"expected a token in {name}, got an empty text: unset it for no token")


def find_sources(server: ServerOptions, limits: ServeOptions) -> Sources:
    """The allowed sources of images. Raises UsageError for an invalid host or folder."""
    from ovseg.apps.serve.hosts import Hosts
    from ovseg.apps.serve.images import Sources

    root = None if server.root is None else expand(server.root)
    if root is not None and not root.is_dir():
        raise UsageError(f"expected root as a folder, got {shown(root)}")
    names = [name.strip() for one in server.hosts for name in one.split(",")]
    hosts = Hosts(names, limits.max_bytes, server.label_studio_token)
    return Sources(root, hosts, limits.max_bytes)


def run_server(app: FastAPI, opened: socket.socket, stop: Event, seconds: float, verbose: bool) -> None:
    """Serve until Ctrl-C, which sets ``stop`` and raises KeyboardInterrupt after the shutdown.

    Args:
        app: the application.
        opened: the listening socket.
        stop: stops the application's work.
        seconds: for which a request may be worked on.
        verbose: print a line for each request on standard error.
    """
    import uvicorn

    from ovseg.apps.serve.connections import server_config
    from ovseg.apps.serve.workers import hide_overruns, is_working

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            stop.set()  # before uvicorn waits for open requests
            super().handle_exit(sig, frame)

    hide_overruns()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ovseg.serve").setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        Server(server_config(app, seconds)).run(sockets=[opened])
    finally:
        if is_working():  # a thread cannot be stopped and would delay the exit; it writes no files
            note("stopped: unfinished work is given up")
            os._exit(130)


def listening(host: str, port: int) -> socket.socket:
    """Open a listening socket, before models are loaded, so that a taken port is reported at once.

    Raises:
        UsageError: this machine has no such address.
        OvsegError: the port is taken or needs privileges.
    """
    known = _address(host)
    try:
        # Numeric addresses skip the lookup, which may need a network.
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


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
