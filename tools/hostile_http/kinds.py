"""Kinds of malformed requests, each drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from hostile_http import values as v
from hostile_http.wire import Sent, post, request

PREDICT, REMOTE, SETUP = "/predict", "/v1/predict", "/setup"
GOOD = {PREDICT: v.good_predict, REMOTE: v.good_remote, SETUP: v.good_setup}
UNUSED = ("/webhook", "/train", "/validate", "/job_status", "/delete", "/duplicate_model")


def _path(draw: Random) -> str:
    return draw.choice((PREDICT, PREDICT, REMOTE, SETUP))


def _broken_json(draw: Random) -> Sent:
    path = _path(draw)
    return Sent(request("POST", path, v.bad_json(draw, GOOD[path]())))


def _wrong_types(draw: Random) -> Sent:
    path = _path(draw)
    return post(path, v.with_something_odd(draw, GOOD[path]()))


def _image(draw: Random) -> Sent:
    if draw.random() < 0.3:
        image = v.data_uri(v.bad_picture(draw)) if draw.random() < 0.8 else v.bad_address(draw)
        return post(REMOTE, {**v.good_remote(), "image": image})
    images = [draw.choice((v.data_uri(v.bad_picture(draw)), v.bad_address(draw))) for _ in range(2)]
    return post(PREDICT, {**v.good_predict(), "tasks": [{"id": 1, "data": {"image": one}} for one in images]})


def _address(draw: Random) -> Sent:
    tasks = [{"id": draw.choice((7, None, "x")), "data": {"image": v.bad_address(draw)}}]
    return post(PREDICT, {**v.good_predict(), "tasks": tasks})


def _config(draw: Random) -> Sent:
    body = {**v.good_predict(), "label_config": v.bad_config(draw)}
    if draw.random() < 0.5:
        body["params"] = {}
    return post(PREDICT, body)


def _setup(draw: Random) -> Sent:
    hostname = draw.choice((v.bad_address(draw), v.text(draw), v.odd(draw)))
    body = {**v.good_setup(), "hostname": hostname, "access_token": v.odd(draw), "schema": v.bad_config(draw)}
    return post(SETUP, {**body, "project": draw.choice((v.odd(draw), "other"))})


def _context(draw: Random) -> Sent:
    regions: list[object] = [v.bad_region(draw) for _ in range(draw.choice((1, 1, 2, 5, 300)))]
    if draw.random() < 0.1:
        regions.append(v.odd(draw))
    return post(PREDICT, {**v.good_predict(), "params": {"context": {"result": regions}}})


def _words(draw: Random) -> Sent:
    said = v.text(draw)
    if draw.random() < 0.5:
        return post(REMOTE, {**v.good_remote(), "params": {"text_prompt": said}})
    region = {"type": "textarea", "value": {"text": [said, v.text(draw)]}}
    return post(PREDICT, {**v.good_predict(), "params": {"context": {"result": [region]}}})


def _marks(draw: Random) -> Sent:
    marks = [v.bad_mark(draw) for _ in range(draw.choice((1, 2, 300)))]
    params = {"marks": marks, "conf_threshold": draw.choice((0, 0.5, 2, "a", v.odd(draw)))}
    return post(REMOTE, {**v.good_remote(), "params": params})


def _headers(draw: Random) -> Sent:
    name, value = draw.choice(
        (
            ("Token", "wrong"),
            ("Token", "é" * 50),
            ("Token", "\0"),  # left out
            ("Authorization", "Basic !!!"),
            ("Authorization", "Basic " + "QQ" * 3000),
            ("Authorization", "Bearer"),
            ("Origin", "http://page.invalid"),
            ("Host", draw.choice(("", "[", "a b", "evil.invalid", "\x7f", "a" * 5000))),
            ("Content-Type", draw.choice(("", "text/plain", "multipart/form-data; boundary=", "x" * 3000))),
            ("Content-Encoding", "gzip"),
            ("Expect", draw.choice(("100-continue", "something"))),
            ("Accept", "text/html"),
            ("X" * draw.choice((10, 70_000)), "y"),
            ("Cookie", "a=" + "b" * draw.choice((10, 70_000))),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Range", "bytes=0-,0-,0-"),
            ("X-Forwarded-For", "127.0.0.1, " * 200),
            ("Content-Length", draw.choice(("-1", "abc", "9" * 30, "0x10", "1, 2", "+5", " "))),
            ("Transfer-Encoding", draw.choice(("chunked", "gzip", "chunked, chunked"))),
        )
    )
    path = _path(draw)
    raw = request("POST", path, b"{}", {name: value})
    whole = name in (
        "Token",
        "Authorization",
        "Origin",
        "Content-Type",
        "Content-Encoding",
        "Accept",
        "Range",
    )
    return Sent(raw, whole)


def _methods(draw: Random) -> Sent:
    method = draw.choice(
        ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "GET", "POST", "PROPFIND", "X")
    )
    path = draw.choice(
        (
            *(PREDICT, REMOTE, SETUP, "/health", "/", "/versions", "/v1/models", *UNUSED),
            *("/predict/", "/PREDICT", "/v1/models/ovseg/info", "/docs", "/openapi.json", "/nothing"),
            *("/../../etc/passwd", "/%2e%2e/%00", "/" + "a" * 9000, "//predict", "/predict?a=%ff&b", "/é%"),
        )
    )
    return Sent(request(method, path, draw.choice((b"", b"{}", b"[1]"))), whole="é" not in path)


def _garbage(draw: Random) -> Sent:
    good = request("POST", PREDICT, b"{}")
    return Sent(
        draw.choice(
            (
                lambda: draw.randbytes(draw.randrange(1, 3000)),
                lambda: b"GET /health\r\n\r\n",
                lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.randbytes(200),
                lambda: good.replace(b"HTTP/1.1", draw.choice((b"HTTP/9.9", b"HTTP/1.0", b"ICAP/1.0", b""))),
                lambda: good.replace(b"\r\n", draw.choice((b"\n", b"\r", b"\r\n\r\n"))),
                lambda: good.replace(b"Host:", b"Host :"),
                lambda: good[: draw.randrange(len(good))],
                lambda: bytes(draw.choice((one, one, one, draw.randrange(256))) for one in good),
                lambda: good + good + b"x" * 100,
                lambda: b"POST http://127.0.0.1/predict HTTP/1.1\r\nHost: a\r\n\r\n",
                lambda: b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
            )
        )(),
        whole=False,
    )


def _truncated(draw: Random) -> Sent:
    path = _path(draw)
    whole = post(path, GOOD[path]()).raw
    if draw.random() < 0.5:
        return Sent(whole[: draw.randrange(len(whole) // 2, len(whole))], whole=False)
    size = draw.choice((b"ffffffff", b"10", b"zz", b"-1", b"", b"1" * 40))
    head = {"Transfer-Encoding": "chunked", "Content-Length": "\0"}
    return Sent(request("POST", path, size + b"\r\n" + b"{}", head), whole=False)


def _large(draw: Random) -> Sent:
    size = draw.choice((1, 2, 3)) * (1 << 20) + draw.randrange(99)
    if draw.random() < 0.3:
        return Sent(request("POST", _path(draw), b"{}", {"Content-Length": str(10**12)}), whole=False)
    return Sent(request("POST", _path(draw), draw.choice((b" ", b"[", b"0")) * size))


KINDS: dict[str, Callable[[Random], Sent]] = {
    "broken JSON": _broken_json,
    "wrong types": _wrong_types,
    "images": _image,
    "addresses": _address,
    "configurations": _config,
    "setup": _setup,
    "regions": _context,
    "words": _words,
    "marks": _marks,
    "headers": _headers,
    "methods and paths": _methods,
    "no HTTP": _garbage,
    "truncated": _truncated,
    "too large": _large,
}


def draw(seed: int, number: int) -> tuple[str, Sent]:
    """The kind and the bytes of a request, the same at every call."""
    made = Random(f"{seed}:{number}")
    kind = list(KINDS)[number % len(KINDS)]
    return kind, KINDS[kind](made)
