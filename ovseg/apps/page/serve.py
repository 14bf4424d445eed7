"""A page's server: on this machine unless told otherwise, without analytics or any call to a network."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ovseg.apps.page.session import PageSession
from ovseg.errors import MissingPackageError, UsageError, extra

MOST_BYTES = 512 << 20
"""Of a file that is added to the page."""
LOCAL = ("127.0.0.1", "localhost", "::1")
"""Names of this machine that no other one reaches."""


def check_gradio() -> None:
    """Raise MissingPackageError where Gradio is missing."""
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise MissingPackageError(f"the page needs Gradio: {extra('page')}")


@contextmanager
def served(session: PageSession, host: str = LOCAL[0], port: int = 7860) -> Iterator[str]:
    """Serve the page while the block runs.

    Args:
        session: what the page works on.
        host: the address to listen at. Where other machines reach it, folders cannot be opened from the page.
        port: the TCP port; 0 for any that is free.

    Yields:
        The page's address.

    Raises:
        MissingPackageError: Gradio is not installed.
        UsageError: the port is taken, or the address is none of this machine's.
    """
    check_gradio()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    with tempfile.TemporaryDirectory(prefix="ovseg-page-") as kept:
        os.environ["GRADIO_TEMP_DIR"] = kept  # pictures that are shown; they go with the server
        import gradio as gr

        from ovseg.apps.page.layout import STYLE, Page

        page = Page(session, may_open=host in LOCAL)
        font = ["system-ui", "sans-serif"]
        theme = gr.themes.Base(primary_hue="indigo", neutral_hue="slate", font=font, font_mono=["monospace"])
        try:
            _, address, _ = page.blocks.launch(
                server_name=host,
                server_port=check_address(host, port),
                prevent_thread_lock=True,
                share=False,
                quiet=True,
                ssr_mode=False,
                footer_links=[],
                max_file_size=MOST_BYTES,
                theme=theme,
                css=STYLE.read_text(encoding="utf-8"),
            )
            yield address
        finally:
            page.blocks.close(verbose=False)


def check_address(host: str, port: int) -> int:
    """The port itself where this process can listen at it, or a free one in place of 0.

    Raises:
        UsageError: the port is taken, or the address is none of this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family) as server:
            return int(server.getsockname()[1])
    except OSError as error:
        # Python's own text of an errno repeats the address; a host that is not found has no errno.
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise UsageError(f"expected to listen at {host}, port {port}: {reason}") from None
