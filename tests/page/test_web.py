"""The page over HTTP, as a foreign site or a stranger on the network asks it: what is refused, and what is kept."""

from __future__ import annotations

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from itertools import islice
from threading import Event

import pytest
from PIL import Image

from ovseg.apps.page import web
from ovseg.apps.page.desk import Desk
from ovseg.apps.page.session import PageSession
from ovseg.apps.page.web import Names

pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
JSON = {"Content-Type": "application/json"}
LOOK = json.dumps({"act": "look"})


@pytest.fixture
def session(model, segmenter, tmp_path, photos):
    """Over a folder of its own, without a server."""
    session = PageSession(model, segmenter, tmp_path / "run")
    session.open_folder(photos)
    yield session
    session.close()


@pytest.fixture(scope="module")
def served_session(model, segmenter, scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    for index, scene in enumerate(scenes):
        Image.fromarray(scene.image).save(folder / f"scene_{index}.png")
    session = PageSession(model, segmenter, tmp_path_factory.mktemp("web") / "run")
    session.open_folder(folder)
    yield session
    session.close()


@pytest.fixture(scope="module")
def ask(served_session):
    """Sends a request to the page of ``served_session``; gives status, headers and body."""
    from ovseg.apps.page.serve import served

    with served(served_session, port=0) as address:
        yield client(address)


def client(address):
    place = address.removeprefix("http://").rstrip("/")

    def ask(method, path, body=None, headers=(), host=None):
        connection = http.client.HTTPConnection(place, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        sent = list(dict(headers).items())
        hosts = [place] if host is None else host
        for name, value in [*(("Host", one) for one in hosts), *sent]:
            connection.putheader(name, value)
        raw = body.encode() if isinstance(body, str) else body or b""
        connection.putheader("Content-Length", str(len(raw)))
        connection.endheaders(raw)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    ask.place = place
    return ask


REQUESTS = [
    ("GET", "/", ""),
    ("GET", "/page.js", ""),
    ("POST", "/act", LOOK),
    ("POST", "/photos?name=a.png", "x"),
]


@pytest.mark.parametrize(
    "host",
    [["evil.example"], ["evil.example:7860"], ["192.0.2.1"], ["localhost.evil.example"], [], ["localhost", "localhost"],
     ["localhost@evil.example"], ["localhost/.evil.example"], [""], ["[::2]"], ["127.0.0.1.evil.example"]],
)  # fmt: skip
def test_a_foreign_host_is_refused(ask, served_session, host):
    """Fault 66: by DNS rebinding a site asks this machine under the site's own name."""
    before = served_session.view(with_answers=False).total
    for method, path, body in REQUESTS:
        status, headers, answer = ask(method, path, body if len(host) == 1 else "", JSON, host)
        assert status in (400, 403) and b"ov-picture" not in answer and b"scene" not in answer
        assert not any(name.startswith("access-control") for name in headers)
    assert served_session.view(with_answers=False).total == before


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"}, {"Origin": ""},
     {"Origin": "http://{place}.evil.example"}, {"Origin": "http://{place}/"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}],
)  # fmt: skip
def test_a_foreign_site_is_refused_and_reads_nothing(ask, served_session, headers):
    before = served_session.view(with_answers=False).total
    sent = {**JSON, **{name: value.format(place=ask.place) for name, value in headers.items()}}
    for method, path, body in REQUESTS:
        status, found, answer = ask(method, path, body, sent)
        assert status == 403 and b"ov-picture" not in answer
        assert not any(name.startswith("access-control") for name in found)
    assert served_session.view(with_answers=False).total == before


def test_no_other_origin_is_let_in_before_a_request(ask):
    for path in ("/act", "/photos", "/"):
        sent = {"Origin": f"http://{ask.place}", "Access-Control-Request-Method": "POST"}
        status, headers, _ = ask("OPTIONS", path, headers=sent)
        assert status == 404 and not any(name.startswith("access-control") for name in headers)


def test_the_page_itself_is_answered_and_may_load_nothing_from_elsewhere(ask):
    port = ask.place.partition(":")[2]
    for host in (ask.place, f"localhost:{port}", "LOCALHOST", "localhost.", f"[::1]:{port}"):
        for origin in ({}, {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}):
            status, _, answer = ask("POST", "/act", LOOK, {**JSON, **origin}, [host])
            assert status == 200 and json.loads(answer)["name"] == "scene_0.png"
    link = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
    }  # a link to the page may be followed
    status, headers, answer = ask("GET", "/", headers=link)
    assert status == 200 and b"ov-picture" in answer and b"://" not in answer
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    for path in ("/page.js", "/page.css"):
        status, headers, _ = ask("GET", path)
        assert status == 200 and headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/info", "/gradio_api/queue/join", "/gradio_api/file=/etc/passwd", "/gradio_api/upload", "/config",
     "/api/predict", "/file=/etc/passwd", "/call/open", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
     "//etc/passwd", "/photos/scene_0.png", "/page.py", "/desk.py", "/page.css/../desk.py", "/openapi.json", "/docs"],
)  # fmt: skip
def test_what_is_not_offered_is_not_there(ask, path):
    for method in ("GET", "POST", "PUT", "DELETE"):
        status, headers, answer = ask(method, path, "{}", JSON)
        assert status == 404 and b"root:" not in answer and "content-security-policy" in headers


@pytest.mark.parametrize(
    "body, kind, status",
    [
        ("[]", "application/json", 400),
        ("", "application/json", 400),
        ("[" * 100_000, "application/json", 400),
        ("9" * 10_000, "application/json", 400),
        (LOOK, "text/plain", 415),  # what a form or a script of another site may send without being asked
        (LOOK, "application/x-www-form-urlencoded", 415),
        ('{"act": "look", "x": "' + "x" * web.ACT_BYTES + '"}', "application/json", 413),
    ],
)
def test_bodies_that_are_none_are_refused(ask, body, kind, status):
    assert ask("POST", "/act", body, {"Content-Type": kind})[0] == status


def test_where_others_reach_the_page_it_opens_no_folder(session, photos, tmp_path):
    """Fault 66: the page's API opened any folder, and told of any path whether it is there."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "private.png").write_bytes((photos / "scene_0.png").read_bytes())
    here, lab = Desk(session, may_open=True), Desk(session, may_open=False)
    key = session.view(with_answers=False).key
    for place in (
        secret,
        secret / "private.png",
        "/etc/passwd",
        f"{photos}/../secret",
        tmp_path / "nowhere",
        "~",
        "**",
    ):
        state = lab.answer({"act": "open", "folder": str(place), "key": key})
        assert state["failed"] and state["line"].startswith("expected one of look, find,")
        assert (state["name"], state["total"], state["may_open"]) == ("scene_0.png", 3, False)
    state = here.answer({"act": "open", "folder": str(secret), "key": key})
    assert (state["name"], state["may_open"]) == ("private.png", True)


def test_where_others_reach_the_page_names_and_addresses_of_this_machine_are_hosts():
    names = Names.of("0.0.0.0", False, [" Labels.example.org"])
    for host in (
        "192.0.2.7:7860",
        "[2001:db8::1]:7860",
        "localhost:9",
        "labels.example.org",
        "LABELS.example.org:80",
    ):
        assert names.allows(host), host
    for host in (
        "evil.example",
        "labels.example.org.evil.example",
        "x@labels.example.org",
        "",
        ":80",
        "a b",
        "[::1",
    ):
        assert not names.allows(host), host


def test_an_added_photo_is_kept_and_shown(ask, served_session, photos):
    content = (photos / "scene_0.png").read_bytes()
    folder = served_session.photos.out / "photos"
    status, _, answer = ask(
        "POST", "/photos?name=..%2F..%2Fnew.png", content, {"Origin": f"http://{ask.place}"}
    )
    assert status == 200 and json.loads(answer)["name"] == "new.png"
    assert (folder / "new.png").read_bytes() == content
    _, _, answer = ask("POST", "/photos?name=notes.txt", b"secret")
    assert json.loads(answer)["failed"] and "expected a photo" in json.loads(answer)["line"]
    assert [path.name for path in folder.iterdir()] == ["new.png"]


def test_a_photo_that_is_too_large_is_refused(ask, served_session, monkeypatch):
    monkeypatch.setattr(web, "MOST_BYTES", 1000)
    assert ask("POST", "/photos?name=large.png", b"x" * 1001)[0] == 413
    assert not list(served_session.photos.out.rglob("large*"))


def test_more_requests_at_once_than_wait_are_refused(ask, served_session, monkeypatch):
    freed, view = Event(), served_session.view
    monkeypatch.setattr(web, "MOST_WAITING", 2)
    monkeypatch.setattr(
        served_session, "view", lambda *args, **named: freed.wait(60) and view(*args, **named)
    )
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask, "POST", "/act", LOOK, JSON) for _ in range(12)]
        statuses = [one.result()[0] for one in islice(as_completed(asked, 60), 10)]
        freed.set()
    assert statuses == [503] * 10 and sorted(one.result()[0] for one in asked)[:2] == [200, 200]


def test_connections_that_say_nothing_keep_nobody_out(ask):
    host, _, port = ask.place.partition(":")
    with ExitStack() as idle:
        for _ in range(600):
            idle.enter_context(socket.create_connection((host, int(port)), 10))
        assert ask("POST", "/act", LOOK, JSON)[0] == 200


# ------------------------------------------------------------------------------------------- what is asked for


@pytest.fixture
def desk(session):
    session.set_words("purple triangle, red star")
    return Desk(session, may_open=True)


def act(desk, name, **values):
    now = desk.answer({"act": "look"})
    return desk.answer({"act": name, "key": now["key"], "photo": now["photo"], **values})


def test_an_act_on_a_photo_that_is_not_shown_any_more_does_nothing(desk, session):
    seen = desk.answer({"act": "look"})
    moved = act(desk, "move", on=True)
    assert (moved["name"], moved["cards"]) == ("scene_1.png", None) and moved["photo"] != seen["photo"]
    for name in ("click", "leave", "undo", "accept", "skip"):
        late = desk.answer(
            {"act": name, "key": moved["key"], "photo": seen["photo"], "x": 0.5, "y": 0.5, "on": True}
        )
        assert late["failed"] and late["line"] == "the photo has changed since; nothing was done to it"
        late = desk.answer(
            {"act": name, "key": seen["key"], "photo": moved["photo"], "x": 0.5, "y": 0.5, "on": True}
        )
        assert late["failed"] and "another tab" in late["line"]
    view = session.view()
    assert (view.name, view.steps, view.accepted, view.skipped) == ("scene_1.png", (), 0, 0)


def test_every_change_changes_the_key(desk):
    keys = [desk.answer({"act": "look"})["key"]]
    for name, values in (
        ("choose", {"word": "red star"}),
        ("click", {"x": 0.5, "y": 0.5, "on": True, "word": "red star"}),
        ("undo", {}),
        ("click", {"x": 0.25, "y": 0.5, "on": True, "word": "red star"}),
        ("leave", {}),
        ("threshold", {"word": "red star", "threshold": 0.1}),
        ("find", {"words": "red star"}),
        ("skip", {}),
        ("accept", {}),
        ("move", {"on": False}),
    ):
        state = act(desk, name, **values)
        assert not state["failed"], (name, state["line"])
        keys.append(state["key"])
    changed = [key for key, before in zip(keys[1:], keys, strict=False) if key != before]
    assert len(changed) == len(keys) - 1
    assert desk.answer({"act": "look"})["key"] == keys[-1]


def test_a_click_at_a_border_is_of_the_last_pixel(desk, session):
    for x, y in ((0, 0), (1, 1), (0.5, 1)):
        assert not act(desk, "click", x=x, y=y, on=True, word="red star")["failed"]
    clicks = session.view().answers[1].clicks
    assert [click[:2] for click in clicks] == [(0, 0), (127.5, 127.5), (64, 127.5)]


@pytest.mark.parametrize(
    "name, values",
    [
        ("click", {"x": 2, "y": 0, "on": True}),
        ("click", {"x": float("nan"), "y": 0, "on": True}),
        ("click", {"x": "0", "y": 0, "on": True}),
        ("click", {"x": 0, "y": 0, "on": 1}),
        ("click", {"x": 0, "y": 0, "on": True, "word": "dog"}),
        ("choose", {"word": None}),
        ("choose", {"word": "\ud800"}),
        ("find", {"words": ["sky"]}),
        ("threshold", {"word": "red star", "threshold": True}),
        ("export", {"formats": "coco"}),
        ("export", {"formats": [1]}),
        ("move", {"on": "yes"}),
        ("__init__", {}),
        ("upload", {}),  # has a path of its own
        (["look"], {}),
        (None, {}),
    ],
)
def test_wrong_values_are_a_line(desk, name, values):
    state = act(desk, name, **values)
    assert state["failed"] and "unexpected" not in state["line"] and "\n" not in state["line"]
    json.dumps(state, allow_nan=False).encode("ascii")


def test_an_unreadable_photo_does_not_hide_what_happened(desk, session, photos):
    """Fault 59: its message took the place of that of the export."""
    act(desk, "accept")
    (photos / "scene_2.png").write_bytes(b"no picture")
    shown = act(desk, "move", on=True)
    assert "scene_2.png" in shown["problem"] and shown["cards"] == [] and not shown["failed"]
    state = act(desk, "export", formats=["coco"])
    assert state["line"].startswith("1 photo with ") and not state["failed"]
    assert "scene_2.png" in state["problem"] and state["picture"] == ""


def test_what_a_model_cannot_take_is_the_problem_of_its_photo(desk, session, monkeypatch):
    monkeypatch.setattr(session, "_answers", lambda: 1 / 0)
    state = desk.answer({"act": "look"})
    assert "unexpected ZeroDivisionError" in state["problem"] and state["picture"].startswith(
        "data:image/jpeg"
    )
    monkeypatch.undo()
    assert desk.answer({"act": "look"})["problem"] == ""
