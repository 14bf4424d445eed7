"""Downloads against a server on this machine: resumed, verified, offline, and every way they break."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ovseg.errors import WeightsError
from ovseg.weights import known as tables
from ovseg.weights import store

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """Serves CONTENT with ranges; ``cut`` stops after that many bytes, ``asked`` are the ranges."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.headers.get("Range")
            http.asked.append(found)
            if "/missing/" in self.path:
                return self.send_error(404)
            if http.silent:
                return None  # the connection ends without an answer
            start = int(found[6:-1]) if found and http.ranges else 0
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206 if found and http.ranges else 200)
            for name, value in http.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : http.cut])
            return None

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.asked, http.cut, http.ranges, http.silent, http.headers = [], None, True, False, {}
    http.url = f"http://127.0.0.1:{http.server_port}/{SHA256}/weights.pt"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield http
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def known(server, monkeypatch):
    """The store believes that the server is where "Any"/"test" comes from."""
    monkeypatch.setattr(tables, "entry", lambda model, tag: {"url": server.url})
    return server


def test_a_download_that_was_cut_off_goes_on(known, home):
    known.cut = 400_000
    with pytest.raises(
        WeightsError, match="the 400000 bytes that came are kept, and the next pull goes on from there"
    ):
        store.pull("Any", "test")
    known.cut, shown = None, []
    path = store.source("Any", "test").pull(progress=lambda done, total: shown.append((done, total)))
    assert path.read_bytes() == CONTENT and path.is_relative_to(home)
    assert known.asked == [None, "bytes=400000-"]
    assert shown[-1] == (len(CONTENT), len(CONTENT)) and shown[0][0] > 400_000
    assert store.pull("Any", "test", offline=True) == path and len(known.asked) == 2
    assert "as published" in store.source("Any", "test").verify()


def test_a_server_without_ranges_starts_over(known):
    known.cut = 300_000
    with pytest.raises(WeightsError):
        store.pull("Any", "test")
    known.cut, known.ranges = None, False
    assert store.pull("Any", "test").read_bytes() == CONTENT


def test_a_whole_partial_file_is_only_verified(known, home):
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "Any.test.pt.partial").write_bytes(CONTENT)
    assert store.pull("Any", "test").read_bytes() == CONTENT


def test_a_wrong_checksum_deletes_nothing(known, home):
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "Any.test.pt.partial").write_bytes(b"x" * 1000)
    with pytest.raises(WeightsError, match=f"expected sha256 {SHA256}.*kept as Any.test.pt.bad"):
        store.pull("Any", "test")
    bad = home / "weights" / "Any.test.pt.bad"
    assert bad.read_bytes()[:1000] == b"x" * 1000 and len(bad.read_bytes()) == len(CONTENT)
    assert store.pull("Any", "test").read_bytes() == CONTENT and bad.is_file()


def test_verify_says_what_is_wrong_and_leaves_it(known):
    with pytest.raises(WeightsError, match="found none"):
        store.source("Any", "test").verify()
    path = store.pull("Any", "test")
    path.write_bytes(b"changed\x00")
    with pytest.raises(WeightsError, match="left as it is"):
        store.source("Any", "test").verify()
    assert path.read_bytes() == b"changed\x00"


def test_no_network_and_no_such_file(known, monkeypatch):
    monkeypatch.setattr(tables, "entry", lambda *_: {"url": known.url.replace(SHA256, "missing/0")})
    with pytest.raises(WeightsError, match="answered 404"):
        store.pull("Any", "test")
    monkeypatch.setattr(tables, "entry", lambda *_: {"url": "http://127.0.0.1:1/weights.pt"})
    with pytest.raises(WeightsError, match="no connection") as caught:
        store.pull("Any", "test")
    assert "kept" not in str(caught.value)  # nothing came
    with pytest.raises(
        WeightsError,
        match=r"at .*Any.test.pt, found none: `ovseg models pull Any test`",
    ):
        store.pull("Any", "test", offline=True)


def test_a_home_that_cannot_be_written(known, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OVSEG_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="OVSEG_HOME names another folder"):
        store.pull("Any", "test")


@pytest.mark.parametrize(
    "url", ["nonsense", "http://", "http://[::1/x.pt", "ftp://127.0.0.1:1/x.pt", "file:///no/x.pt"]
)
def test_an_address_that_is_none_is_one_line(url, monkeypatch):
    monkeypatch.setattr(tables, "entry", lambda *_: {"url": url})
    with pytest.raises(WeightsError, match="expected Any test at .*HTTPS_PROXY") as caught:
        store.pull("Any", "test")
    assert "\n" not in str(caught.value) and "kept" not in str(caught.value)


def test_a_server_that_says_nothing_is_one_line_and_keeps_nothing(known, home):
    known.silent = True
    with pytest.raises(WeightsError, match="no connection") as caught:
        store.pull("Any", "test")
    assert "kept" not in str(caught.value)
    assert not list((home / "weights").glob("*.partial"))


def test_a_server_that_sends_another_part_is_asked_for_the_whole(known, home):
    known.cut = 300_000
    with pytest.raises(WeightsError):
        store.pull("Any", "test")
    known.cut, known.headers = None, {"Content-Range": f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}"}
    assert store.pull("Any", "test").read_bytes() == CONTENT
    assert known.asked == [None, "bytes=300000-", None]


def test_a_partial_file_longer_than_the_whole_is_not_gone_on_with(known, home):
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "Any.test.pt.partial").write_bytes(CONTENT + b"more")
    assert store.pull("Any", "test").read_bytes() == CONTENT


def test_a_length_that_is_no_number_is_unknown(known):
    shown = []
    known.headers = {"Content-Length": "many"}  # sent before the right one: the first is read
    store.source("Any", "test").pull(progress=lambda *both: shown.append(both))
    assert shown and {total for _, total in shown} == {0}


def test_a_full_disk_is_one_line(known, home):
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "Any.test.pt.partial").symlink_to("/dev/full")
    with pytest.raises(WeightsError, match="expected to write .*partial: No space left on device") as caught:
        store.pull("Any", "test")
    assert "\n" not in str(caught.value) and "connection" not in str(caught.value)


def test_a_checksum_of_eight_digits_is_checked_too(known, monkeypatch):
    url = known.url.rpartition("/")[0].rpartition("/")[0]
    for digits, fits in ((SHA256[:8], True), ("0" * 8, False)):
        monkeypatch.setattr(tables, "entry", lambda *_: {"url": f"{url}/any-{digits}.pt"})
        if fits:
            assert store.pull("Any", "good").read_bytes() == CONTENT
        else:
            with pytest.raises(WeightsError, match="expected sha256 00000000 for Any.wrong.pt"):
                store.pull("Any", "wrong")


def test_a_tag_in_another_spelling_is_the_same_file(known):
    assert store.source("ViT-B/16", "OpenAI") == store.source("ViT-B-16", "openai")
