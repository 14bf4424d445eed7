"""A page's server, in a thread of its own. It asks no other address for anything."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from ovseg.apps.page.session import PageSession
from ovseg.errors import MissingPackageError, extra


def check_packages() -> None:
    """Raise MissingPackageError where Starlette or uvicorn is missing."""
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise MissingPackageError(f"the page needs Starlette and uvicorn ({name}): {extra('page')}")


def is_local(host: str) -> bool:
    """Whether no other machine reaches an address.

    >>> is_local("localhost"), is_local("::1"), is_local("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def served(
    session: PageSession, host: str = "127.0.0.1", port: int = 7860, names: Sequence[str] = ()
) -> Iterator[str]:
    """Serve the page while the block runs.

    Args:
        session: what the page works on.
        host: the address to listen on. Where other machines reach it, tabs cannot open folders.
        port: the TCP port; 0 for any that is free.
        names: further names by which browsers may reach it.

    Yields:
        The page's address.

    Raises:
        MissingPackageError: Starlette or uvicorn is not installed.
        UsageError: the address is none of this machine's.
        OvsegError: the port is taken.
    """
    check_packages()
    import uvicorn

    from ovseg.apps.cli.serve import listening
    from ovseg.apps.page.desk import Desk
    from ovseg.apps.page.web import UPLOAD_SECONDS, Names, Routes
    from ovseg.apps.serve.connections import server_config

    with listening(host, port) as opened:
        routes = Routes(Desk(session, may_open=is_local(host)), Names.of(host, is_local(host), names))
        server = uvicorn.Server(server_config(routes.app(), UPLOAD_SECONDS))
        thread = threading.Thread(target=server.run, args=([opened],), name="ovseg-page", daemon=True)
        thread.start()
        try:
            shown = f"[{host}]" if ":" in host else host
            yield f"http://{shown}:{opened.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()
