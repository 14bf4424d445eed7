"""A file from an address: resumed where it stopped, compared with its checksum, whole or not there at all."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from ovseg.errors import WeightsError
from ovseg.files.paths import sha256_of
from ovseg.weights.files import brief

CHUNK = 1 << 20
TIMEOUT = 30
"""Seconds without a byte until a connection counts as broken."""
Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes in all, 0 where that is unknown."""
_NETWORK = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


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
        WeightsError: the network, the server, the disk or the checksum, in one line.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{target}.lock")
        lock.acquire()
    except OSError as error:
        raise WeightsError(
            f"expected to write {target.parent}: {error.strerror or error}; set OVSEG_HOME elsewhere"
        ) from None
    try:
        if not target.is_file():
            partial = target.with_name(target.name + ".partial")
            _fetch(url, partial, target.name, progress)
            _finish(partial, target, sha256)
    finally:
        lock.release()


def _finish(partial: Path, target: Path, sha256: str | None) -> None:
    try:
        if sha256:
            got = sha256_of(partial)
            if not got.startswith(sha256):
                bad = target.with_name(target.name + ".bad")
                os.replace(partial, bad)
                raise WeightsError(
                    f"expected sha256 {sha256} for {target.name}, got {got}: kept as {bad.name}, "
                    "the next pull starts over"
                )
        os.replace(partial, target)
    except OSError as error:
        raise WeightsError(f"expected to write {target}: {error.strerror or error}") from None


def _fetch(url: str, partial: Path, name: str, progress: Progress | None) -> None:
    have = partial.stat().st_size if partial.is_file() else 0
    try:
        answer = _open(url, have)
        if have and answer is not None and not _continues(answer, have):
            if answer.status == 206:  # another part than the one asked for
                answer.close()
                answer = _open(url, 0)
            have = 0
    except urllib.error.HTTPError as error:
        raise WeightsError(f"expected {name}, the server answered {error.code} {error.reason}") from None
    except _NETWORK as error:
        raise _broken(name, error, have) from None
    if answer is None:  # the server has nothing beyond what is here: the checksum decides
        return
    with answer:
        total = have + _length(answer)
        try:
            file = partial.open("ab" if have else "wb")
        except OSError as error:
            raise _unwritten(partial, error) from None
        with file:
            done = _copy(answer, file, partial, name, have, total, progress)
    if total > have and done < total:
        raise _broken(name, ConnectionError(f"{done} of {total} bytes came"), done)


def _copy(
    answer: http.client.HTTPResponse,
    file: BinaryIO,
    partial: Path,
    name: str,
    done: int,
    total: int,
    progress: Progress | None,
) -> int:
    """Everything that ``answer`` sends into ``file``; returns the bytes that are in it then."""
    while True:
        try:
            chunk = answer.read(CHUNK)
        except http.client.IncompleteRead as error:
            _write(file, partial, error.partial)
            raise _broken(name, error, done + len(error.partial)) from None
        except _NETWORK as error:
            raise _broken(name, error, done) from None
        if not chunk:
            break
        _write(file, partial, chunk)
        done += len(chunk)
        if progress:
            progress(done, total if total >= done else 0)
    try:
        file.flush()  # a disk that is full may say so only now
    except OSError as error:
        raise _unwritten(partial, error) from None
    return done


def _open(url: str, have: int) -> http.client.HTTPResponse | None:
    """The server's answer, asked to leave out the first ``have`` bytes; None where there are no more."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        size = str(error.headers.get("Content-Range", "")).rpartition("/")[2]
        error.close()
        if size.isdigit() and int(size) != have:  # what is here is longer than the file: not its beginning
            return _open(url, 0)
        return None
    return answer


def _continues(answer: http.client.HTTPResponse, have: int) -> bool:
    """Whether the answer goes on where the partial file ends."""
    start = (
        str(answer.headers.get("Content-Range", f"bytes {have}-")).removeprefix("bytes ").partition("-")[0]
    )
    return answer.status == 206 and start.strip() == str(have)


def _length(answer: http.client.HTTPResponse) -> int:
    text = str(answer.headers.get("Content-Length", ""))
    return int(text) if text.isdigit() else 0


def _write(file: BinaryIO, partial: Path, content: bytes) -> None:
    try:
        file.write(content)
    except OSError as error:
        raise _unwritten(partial, error) from None


def _broken(name: str, error: BaseException, have: int) -> WeightsError:
    inner = getattr(error, "reason", None)  # URLError keeps what happened there
    reason = brief(inner if isinstance(inner, Exception) else error)
    kept = f"; the {have} bytes that came are kept, and the next pull goes on from there" if have else ""
    return WeightsError(f"expected {name}, no connection ({reason}){kept}")


def _unwritten(partial: Path, error: OSError) -> WeightsError:
    return WeightsError(f"expected to write {partial}: {error.strerror or error}")
