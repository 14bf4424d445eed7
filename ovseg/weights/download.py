"""A file from an address: resumed where it stopped, compared with its checksum, whole or not there at all."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from ovseg.errors import WeightsError
from ovseg.files.paths import sha256_of
from ovseg.weights.files import brief

CHUNK = 1 << 20
TIMEOUT = 30
"""Seconds without a byte until a connection counts as broken."""
Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes in all, 0 where that is unknown."""
_NETWORK = (http.client.HTTPException, OSError, ValueError)  # urllib's own are among the OSErrors


class Unreachable(WeightsError):
    """The network or the server did not give a file. The message is the reason alone, for another message."""


def download(url: str, target: Path, sha256: str | None, progress: Progress | None = None) -> None:
    """Fetch ``url`` to ``target``, going on from ``target.partial`` where a download was cut off.

    Processes that want the same file wait for each other. A file with the wrong checksum is kept as
    ``target.bad``; the next call starts over.

    Args:
        url: the address.
        target: the file to make; its folder is made too.
        sha256: the checksum or its first digits; None where none is published.
        progress: called after each part.

    Raises:
        Unreachable: the network or the server.
        WeightsError: the disk or the checksum, in one line.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_file():
                _fetch(url, partial, progress)
                _check(partial, target, sha256)
                os.replace(partial, target)
    except OSError as error:  # the network's have become Unreachable
        reason = error.strerror or error
        raise WeightsError(
            f"expected to write {partial}: {reason}; OVSEG_HOME names another folder"
        ) from None


def _check(partial: Path, target: Path, sha256: str | None) -> None:
    got = sha256_of(partial) if sha256 else ""
    if sha256 and not got.startswith(sha256):
        bad = target.with_name(target.name + ".bad")
        os.replace(partial, bad)
        raise WeightsError(
            f"expected sha256 {sha256} for {target.name}, got {got}: kept as {bad.name}, "
            "the next pull starts over"
        )


def _fetch(url: str, partial: Path, progress: Progress | None) -> None:
    answer, done = _open(url, partial.stat().st_size if partial.is_file() else 0)
    if answer is None:  # the server has nothing beyond what is here: the checksum decides
        return
    with answer, partial.open("ab" if done else "wb") as file:
        size = str(answer.headers.get("Content-Length", ""))
        total = done + int(size) if size.isdigit() else 0
        for chunk in _chunks(answer, done):
            file.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, total if total >= done else 0)
    if done < total:
        raise _unreachable(ConnectionError(f"{done} of {total} bytes came"), done)


def _open(url: str, have: int) -> tuple[http.client.HTTPResponse | None, int]:
    """The server's answer, and which bytes it leaves out: the first ``have``, or none.

    The answer is None where the server says that ``have`` bytes are all.
    """
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:
            raise Unreachable(f"the server answered {error.code} {error.reason}") from None
        size = str(error.headers.get("Content-Range", "")).rpartition("/")[2]
        longer = size.isdigit() and int(size) != have  # what is here is not the file's beginning
        return _open(url, 0) if longer else (None, have)
    except _NETWORK as error:
        raise _unreachable(error, have) from None
    if not have or answer.status != 206:
        return answer, 0
    start = str(answer.headers.get("Content-Range", f"bytes {have}-")).removeprefix("bytes ")
    if start.partition("-")[0].strip() == str(have):
        return answer, have
    answer.close()  # another part than the one asked for
    return _open(url, 0)


def _chunks(answer: http.client.HTTPResponse, done: int) -> Iterator[bytes]:
    """What the server sends. Raises Unreachable where it breaks off, after what came."""
    while True:
        try:
            chunk = answer.read(CHUNK)
        except http.client.IncompleteRead as error:
            yield error.partial
            raise _unreachable(error, done + len(error.partial)) from None
        except _NETWORK as error:
            raise _unreachable(error, done) from None
        if not chunk:
            return
        done += len(chunk)
        yield chunk


def _unreachable(error: BaseException, have: int) -> Unreachable:
    inner = getattr(error, "reason", None)  # URLError keeps what happened there
    reason = brief(inner if isinstance(inner, Exception) else error)
    kept = f"; the {have} bytes that came are kept, and the next pull goes on from there" if have else ""
    return Unreachable(f"no connection ({reason}){kept}")
