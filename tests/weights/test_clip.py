"""The weight store against a server on this machine: resumed, verified, offline."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ovseg.errors import UsageError, WeightsError
from ovseg.weights import clip as weights

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """Serves CONTENT with ranges; ``server.cut`` stops after that many bytes, ``server.asked`` are the ranges."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.headers.get("Range")
            http.asked.append(found)
            if "/missing/" in self.path:
                return self.send_error(404)
            start = int(found[6:-1]) if found and http.ranges else 0
            if start >= len(CONTENT):
                return self.send_error(416)
            self.send_response(206 if found and http.ranges else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : http.cut])
            return None

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.asked, http.cut, http.ranges = [], None, True
    http.url = f"http://127.0.0.1:{http.server_port}/{SHA256}/weights.pt"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield http
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def known(server, monkeypatch):
    """The store believes that the server is where "Any"/"test" comes from."""
    monkeypatch.setattr(weights, "config", lambda model, tag: {"url": server.url})
    return server


def test_a_download_that_was_cut_off_goes_on(known, home):
    known.cut = 400_000
    with pytest.raises(WeightsError, match="what came so far is kept"):
        weights.pull("Any", "test")
    known.cut, shown = None, []
    path = weights.pull("Any", "test", progress=lambda done, total: shown.append((done, total)))
    assert path.read_bytes() == CONTENT and path.is_relative_to(home)
    assert known.asked == [None, "bytes=400000-"]
    assert shown[-1] == (len(CONTENT), len(CONTENT)) and shown[0][0] > 400_000
    assert weights.pull("Any", "test", offline=True) == path and len(known.asked) == 2
    assert "as published" in weights.verify("Any", "test")


def test_a_server_without_ranges_starts_over(known):
    known.cut = 300_000
    with pytest.raises(WeightsError):
        weights.pull("Any", "test")
    known.cut, known.ranges = None, False
    assert weights.pull("Any", "test").read_bytes() == CONTENT


def test_a_whole_partial_file_is_only_verified(known, home):
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "Any.test.pt.partial").write_bytes(CONTENT)
    assert weights.pull("Any", "test").read_bytes() == CONTENT


def test_a_wrong_checksum_deletes_nothing(known, home):
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "Any.test.pt.partial").write_bytes(b"x" * 1000)
    with pytest.raises(WeightsError, match=f"wanted sha256 {SHA256}.*kept as Any.test.pt.bad"):
        weights.pull("Any", "test")
    bad = home / "weights" / "Any.test.pt.bad"
    assert bad.read_bytes()[:1000] == b"x" * 1000 and len(bad.read_bytes()) == len(CONTENT)
    assert weights.pull("Any", "test").read_bytes() == CONTENT and bad.is_file()


def test_verify_says_what_is_wrong_and_leaves_it(known):
    with pytest.raises(WeightsError, match="found none"):
        weights.verify("Any", "test")
    path = weights.pull("Any", "test")
    path.write_bytes(b"changed")
    with pytest.raises(WeightsError, match="left as it is"):
        weights.verify("Any", "test")
    assert path.read_bytes() == b"changed"


def test_no_network_and_no_such_file(known, monkeypatch):
    monkeypatch.setattr(weights, "config", lambda *_: {"url": known.url.replace(SHA256, "missing/0")})
    with pytest.raises(WeightsError, match="answered 404"):
        weights.pull("Any", "test")
    monkeypatch.setattr(weights, "config", lambda *_: {"url": "http://127.0.0.1:1/weights.pt"})
    with pytest.raises(WeightsError, match="no connection"):
        weights.pull("Any", "test")
    with pytest.raises(WeightsError, match="found none: run `ovseg models pull Any test`"):
        weights.pull("Any", "test", offline=True)


def test_a_home_that_cannot_be_written(known, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OVSEG_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="set OVSEG_HOME elsewhere"):
        weights.pull("Any", "test")


def test_the_papers_backbones_have_published_checksums():
    paper = [row for row in weights.KNOWN if row.note.startswith("paper")]
    assert [row.model for row in paper] == ["RN50", "RN101", "ViT-B-32", "ViT-B-16", "ViT-L-14"]
    assert all(len(weights.published_sha256(row.model, row.tag)) == 64 for row in paper)
    assert all(weights.config(row.model, row.tag) for row in weights.KNOWN)
    with pytest.raises(UsageError, match="unknown weights 'x' for RN50"):
        weights.path("RN50", "x")
