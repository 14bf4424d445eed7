"""Downloads: a Label Studio of the test's own, with redirects, tokens, large and broken answers."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ovseg.apps.serve.addresses import is_public, may_be
from ovseg.apps.serve.bounds import Deadline
from ovseg.apps.serve.hosts import Hosts
from ovseg.apps.serve.images import Sources, Studio, read_content
from ovseg.errors import DataError, UsageError

DRIPS = 90
"""Fewer than the headers that ``http.client`` reads."""
LEGACY, PERSONAL = "a" * 40, "head.body.sign"


class Handler(BaseHTTPRequestHandler):
    """Answers by path; the server keeps what was asked, and with which authorization."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Authorization"], self.headers["Host"]))
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            self.answer(302, b"", Location=self.path.removeprefix("/to/"))
        elif path == "/drip":
            self.drip()
        elif path == "/large":
            self.answer(200, b"x" * 5000)
        elif path == "/broken":
            self.wfile.write(b"no HTTP at all\r\n\r\n")
        elif path == "/missing":
            self.answer(404, b"")
        elif path.startswith("/data/") and self.headers["Authorization"] not in self.server.good:
            self.answer(401, b"")
        else:
            self.answer(200, b"content")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        good = self.path == "/api/token/refresh" and body == {"refresh": PERSONAL}
        self.answer(*((200, b'{"access": "short"}') if good else (401, b"{}")))

    def drip(self):
        """Headers without end."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(DRIPS):
            self.server.asked.append(number)
            try:
                self.wfile.write(b"A: b\r\n")
            except ConnectionError:
                return
            time.sleep(0.02)

    def answer(self, status, content, **headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def studios():
    """Two servers: Label Studio, and another one."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    threads = [threading.Thread(target=one.serve_forever, args=(0.01,)) for one in servers]
    for one, thread in zip(servers, threads, strict=True):
        one.asked, one.good = [], {f"Token {LEGACY}", "Bearer short"}
        one.name = f"127.0.0.1:{one.server_address[1]}"
        thread.start()
    yield servers
    for one, thread in zip(servers, threads, strict=True):
        one.shutdown()
        one.server_close()
        thread.join()


def fetch(value, hosts, base=None, token=""):
    studio = Studio(base, token)
    return read_content(value, Sources(hosts=hosts, max_bytes=4000), Deadline(20), studio)


@pytest.mark.parametrize(
    "path",
    [
        "/data/upload/1/a%20b.png",
        "/data/local-files/?d=a/b.png",
        "/tasks/1/resolve/?fileuri=czM6",
        "/projects/2/presign/?fileuri=czM6",
    ],
)
def test_paths_are_asked_of_label_studio_with_the_token_of_setup(studios, path):
    here = studios[0]
    hosts = Hosts([here.name], 4000)
    assert fetch(path, hosts, f"http://{here.name}", LEGACY) == b"content"
    assert here.asked == [(path, f"Token {LEGACY}", here.name)]


@pytest.mark.parametrize("sent", ["", "b" * 40], ids=["setup sent none", "setup sent another"])
def test_the_server_s_own_personal_token_is_exchanged_once(studios, sent):
    here = studios[0]
    hosts = Hosts([here.name], 4000, PERSONAL)
    for _ in range(2):
        assert fetch("/data/upload/1/a.png", hosts, f"http://{here.name}", sent) == b"content"
    assert [path for path, _, _ in here.asked] == [
        "/api/token/refresh",
        "/data/upload/1/a.png",
        "/data/upload/1/a.png",
    ]
    assert [given for _, given, _ in here.asked] == [None, "Bearer short", "Bearer short"]


def test_a_token_goes_to_no_other_host(studios):
    here, other = studios
    hosts = Hosts([here.name, other.name], 4000)
    assert fetch(f"http://{other.name}/a", hosts, f"http://{here.name}", LEGACY) == b"content"
    assert fetch(f"/to/http://{other.name}/b", hosts, f"http://{here.name}", LEGACY) == b"content"
    assert [given for _, given, _ in other.asked] == [None, None]
    assert here.asked == [(f"/to/http://{other.name}/b", None, here.name)]
    own = Hosts([here.name, other.name], 4000, LEGACY)  # is for the first host, whoever calls setup
    with pytest.raises(DataError, match="answered 401: the server needs Label Studio's token"):
        fetch("/data/upload/a.png", own, f"http://{other.name}", "")
    assert other.asked[-1] == ("/data/upload/a.png", None, other.name)


def test_setup_of_a_foreign_address_neither_leads_there_nor_gets_its_token_elsewhere(studios):
    here, other = studios
    with pytest.raises(DataError, match="answered 401"):
        fetch("/data/upload/a.png", Hosts([here.name], 4000), f"http://{other.name}", LEGACY)
    assert other.asked == [] and here.asked == [("/data/upload/a.png", None, here.name)]


@pytest.mark.parametrize(
    "path, line",
    [
        ("/to/http://{other}/a", "expected an image of {here}, got one of {other}"),
        ("/to/http://169.254.169.254/latest", "got one of 169.254.169.254:80"),
        ("/to/file:///etc/passwd", "expected an address that begins with http://"),
        ("/to//to//to//to/x", "it answered 302"),
        ("/missing", "it answered 404"),
        ("/large", "expected an image of at most 4000 bytes"),
        ("/broken", "it cannot be asked"),
    ],
)
def test_answers_that_lead_elsewhere_or_are_none_are_a_line(studios, path, line):
    here, other = studios
    names = {"here": here.name, "other": other.name}
    with pytest.raises(DataError) as caught:
        fetch(path.format(**names), Hosts([here.name], 4000), f"http://{here.name}")
    assert line.format(**names) in str(caught.value) and "\n" not in str(caught.value)
    assert other.asked == []


@pytest.mark.parametrize(
    "value",
    [
        "http://{here}@{other}/a",
        "http://{other}#{here}/a",
        "http://{other}/?http://{here}",
        "http://{other}\\@{here}/a",
        "http://{here}.invalid/a",
        "//{other}/a",
        "ftp://{here}/a",
        "http://{here}\t/a",
        "relative.png",
        "",
        None,
    ],
)
def test_addresses_that_only_look_like_the_host_s_are_refused(studios, value):
    here, other = studios
    given = value and value.format(here=here.name, other=other.name)
    with pytest.raises(DataError, match="^expected an (image|address)"):
        fetch(given, Hosts([here.name], 4000), f"http://{here.name}")
    assert here.asked == other.asked == []


def test_without_hosts_nothing_is_asked(studios):
    for value in (f"http://{studios[0].name}/a", "/data/upload/a.png"):
        with pytest.raises(DataError, match="expected an image"):
            fetch(value, Hosts(), f"http://{studios[0].name}", LEGACY)
    assert studios[0].asked == []


@pytest.mark.parametrize(
    "first, later, allowed",
    [
        ("93.184.215.14", "127.0.0.1", False),  # the public name was turned towards this machine
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "169.254.169.254", False),
        ("10.1.2.3", "::ffff:169.254.1.1", False),
        (None, "127.0.0.1", False),
    ],
)
def test_a_name_may_not_turn_towards_another_network(studios, monkeypatch, first, later, allowed):
    here = studios[0]
    found = [first]

    def resolve(host, port, **_):
        if found[0] is None:
            raise socket.gaierror("no address yet")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found[0], port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    hosts = Hosts([f"labels.example:{here.server_address[1]}"], 4000)
    found[0] = later
    monkeypatch.setattr(
        socket, "create_connection", lambda address, seconds, real=socket.socket: _connected(real, address)
    )
    url = f"http://labels.example:{here.server_address[1]}/a"
    if allowed:
        assert fetch(url, hosts) == b"content" and here.asked[0][2].startswith("labels.example:")
    else:
        with pytest.raises(DataError, match="leads to a network that it may not"):
            fetch(url, hosts)
        assert here.asked == []


def _connected(make, address):
    opened = make(socket.AF_INET, socket.SOCK_STREAM)
    opened.connect(address)
    return opened


def test_a_host_that_is_down_is_a_line(studios):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DataError, match="cannot be asked: Connection refused"):
        fetch(f"http://{name}/a", Hosts([name], 4000))


def test_time_that_is_over_is_a_line(studios):
    here = studios[0]
    with pytest.raises(DataError, match="in time"):
        Hosts([here.name], 4000).download(f"http://{here.name}/a", Deadline(0))


def test_headers_that_drip_end_with_the_time_of_the_request(studios):
    here = studios[0]
    with pytest.raises(DataError, match="in time, it took longer"):
        Hosts([here.name], 4000).download(f"http://{here.name}/drip", Deadline(0.3))
    assert DRIPS - 1 not in here.asked


@pytest.mark.parametrize(
    "path",
    [
        "/logout",
        "/api/users",
        "/data/upload/../../api/users",
        "/tasks/1/resolve/../../../api/users",
        "/to//api/users",
        "/projects/1",
        "/data/uploads/1",
        "/data/avatars/1.png",
    ],
)
def test_a_token_goes_to_paths_of_images_only(studios, path):
    here = studios[0]
    hosts = Hosts([here.name], 4000, LEGACY)
    with suppress(DataError):
        fetch(path, hosts, f"http://{here.name}", LEGACY)
    assert len(here.asked) > 0 and {given for _, given, _ in here.asked} == {None}


@pytest.mark.parametrize(
    "path",
    ["/data/upload/%2e%2e/%2e%2e/api/users", "/data/upload/%252e%252e/api", "/data/upload/..%5c..%5capi"],
)
def test_paths_that_lead_upwards_in_codes_are_refused(studios, path):
    here = studios[0]
    with pytest.raises(DataError, match="without '..' in its path"):
        fetch(path, Hosts([here.name], 4000, LEGACY), f"http://{here.name}", LEGACY)
    assert here.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:a9fe:a9:fe00::",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
        "2001:0:1:1::5601:5601",
        "2001:db8::5efe:169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "::",
        "0.0.0.0",
        "ff02::1",
    ],
)
def test_no_host_may_have_the_address_of_a_cloud_s_secrets_in_any_dress(address):
    assert not may_be(address, True) and not may_be(address, False)


@pytest.mark.parametrize(
    "address, public",
    [
        ("93.184.215.14", True),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::5db8:d70e", True),
        ("2606:2800:220:1::1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
        ("::1", False),
        ("fd00::1", False),
    ],
)
def test_addresses_of_ipv4_inside_ipv6_are_public_or_private_like_themselves(address, public):
    assert is_public(address) is public
    assert may_be(address, True) and may_be(address, False) is public


def test_addresses_of_any_length_are_refused_before_they_are_read(studios):
    for value in ("/data/local-files/?" + "d=a&" * 100_000, "http://a/" + "%25" * 100_000):
        with pytest.raises(DataError, match="at most 8192 characters"):
            fetch(value, Hosts([studios[0].name], 4000))


@pytest.mark.parametrize("name", ["", "a b", "http://a/path", "a:b", "ftp://a", "user@a", "[::1"])
def test_names_of_hosts_are_checked(name):
    with pytest.raises(UsageError, match="expected a host such as localhost:8080"):
        Hosts([name])
