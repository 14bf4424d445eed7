"""Requests as bytes on a connection, and what comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass

TOKEN = "hostile-secret"
PATIENCE = 60.0
"""Seconds for an answer."""


@dataclass(frozen=True)
class Sent:
    """One request.

    Attributes:
        raw: the bytes.
        whole: it is a complete request of HTTP, which has to be answered. Otherwise the sending side is
            closed after the bytes, and an answer may be missing.
    """

    raw: bytes
    whole: bool = True


@dataclass(frozen=True)
class Answer:
    """Status, content type and body of an answer; status 0 where there was none."""

    status: int
    kind: str = ""
    body: bytes = b""


def request(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, token: str = TOKEN
) -> bytes:
    """A request that closes the connection, with headers that take the place of the usual ones."""
    usual = {
        "Host": "127.0.0.1",
        "Connection": "close",
        "Token": token,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    listed = {**usual, **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in listed.items() if value != "\0")
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogatepass") + body


def post(path: str, content: object) -> Sent:
    """A complete request with JSON, in which NaN and lone surrogates may stand."""
    return Sent(request("POST", path, json.dumps(content).encode()))


def exchange(port: int, sent: Sent) -> Answer:
    """Send a request and read its answer.

    Raises:
        TimeoutError: nothing came for ``PATIENCE`` seconds.
    """
    parts = bytearray()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        try:
            connection.sendall(sent.raw)
            if not sent.whole:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                parts += part
        except (ConnectionError, BrokenPipeError):
            pass  # what came before it counts
    head, _, body = bytes(parts).partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 1"):  # such as "100 Continue": the answer comes after it
        head, _, body = body.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) < 2 or not words[1].isdecimal():
        return Answer(0)
    found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if "content-length" in found:  # what follows answers what followed the request
        body = body[: int(found["content-length"])]
    return Answer(int(words[1]), found.get("content-type", ""), body)


def fault(sent: Sent, answer: Answer) -> str | None:
    """What is wrong with an answer to a malformed request; None where nothing is."""
    if answer.status == 0:
        return "no answer" if sent.whole else None
    if answer.status >= 500 and answer.status != 503:
        return f"status {answer.status}: {answer.body[:200]!r}"
    if b"Traceback" in answer.body:
        return "a traceback in the answer"
    if answer.kind.startswith("text/plain"):  # uvicorn's own, where a request is none of HTTP
        return None if answer.status in (400, 431, 503) else f"text with status {answer.status}"
    if sent.raw.startswith(b"HEAD "):
        return None
    try:
        content = json.loads(answer.body)
    except ValueError:
        return f"no JSON with status {answer.status}: {answer.body[:200]!r}"
    if b"\n" in answer.body or not isinstance(content, dict):
        return f"no JSON object on one line: {answer.body[:200]!r}"
    if answer.status != 200 and "error" not in content:
        return f"status {answer.status} without a reason"
    return None
