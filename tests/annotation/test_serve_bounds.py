"""Bounds of a server: who may ask, how many at once, how long; and failures as a status and a line."""

from __future__ import annotations

import base64
import logging
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

import ovseg
from ovseg.errors import UsageError
from ovseg.options import ServeOptions

from .serving import BASIC, TOKEN, ask, body_of, running, uri

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

IMAGES = [uri(ovseg.make_scene(number, 64).image) for number in (3, 4, 5)]


class Stub:
    """In place of a core: it answers when it is allowed to."""

    version = "stub"

    def __init__(self):
        self.go = threading.Event()
        self.error = None
        self.go.set()

    def see(self, content):
        return content

    def words(self, picture, texts, deadline):
        assert self.go.wait(60)
        if self.error is not None:
            raise self.error
        return []


@contextmanager
def stubbed(token=TOKEN, stop=None, **options):
    from ovseg.apps.serve.app import create_app

    stub = Stub()
    with running(create_app(stub, token=token, options=ServeOptions(**options), stop=stop)) as port:
        try:
            yield stub, port
        finally:
            stub.go.set()


@pytest.mark.parametrize(
    "headers, status",
    [
        (BASIC, 200),
        ({"Token": TOKEN}, 200),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Authorization": f"Token {TOKEN}"}, 200),
        ({"Authorization": f"basic {base64.b64encode(f':{TOKEN}'.encode()).decode()}"}, 200),
        ({}, 401),
        ({"Token": TOKEN[:-1]}, 401),
        ({"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()}, 401),
        ({"Authorization": "Basic é"}, 401),
        ({**BASIC, "Origin": "http://page.example"}, 403),
    ],
)
def test_who_has_the_token_may_ask(headers, status):
    with stubbed() as (_, port):
        sent = {name: value.encode("latin-1") for name, value in headers.items()}
        assert ask(port, "/versions", headers=sent)[0] == status
        assert ask(port, "/predict", body_of(IMAGES, ["a"]), sent)[0] == status
        found, answer = ask(port, "/v1/models", headers=sent)
        assert found == status and answer["success"] == (status == 200)
        assert ask(port, "/health", headers={})[0] == 200


def test_without_a_token_everybody_may_ask():
    with stubbed(None) as (_, port):
        assert ask(port, "/versions", headers={}) == (200, {"versions": ["stub"]})


@pytest.mark.parametrize(
    "path", ["/webhook", "/train", "/validate", "/job_status", "/delete", "/duplicate_model"]
)
def test_what_label_studio_also_calls_is_answered(path):
    with stubbed() as (_, port):
        assert ask(port, path, {"action": "START_TRAINING"}) == (200, {})


@pytest.mark.parametrize(
    "method, path, status", [("GET", "/predict", 405), ("POST", "/nothing", 404), ("POST", "/predict/", 404)]
)
def test_other_paths_and_methods_are_a_line(method, path, status):
    with stubbed() as (_, port):
        found, answer = ask(port, path, b"{}", method=method)
        assert found == status and answer["error"].startswith("expected ")


def in_background(count, call):
    """Threads that make a call each, and the list of what they got."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(call())) for _ in range(count)]
    for one in threads:
        one.start()
    return threads, found


def wait_until(port, count):
    """Until so many requests are there."""
    for _ in range(60_000):
        if ask(port, "/health")[1]["requests"] == count:
            return
        time.sleep(0.001)
    pytest.fail(f"there were never {count} requests")


def test_more_requests_than_may_wait_get_503_and_setup_gets_through():
    with stubbed(workers=1, waiting=2) as (stub, port):
        stub.go.clear()
        threads, found = in_background(3, lambda: ask(port, "/predict", body_of(IMAGES[:1], ["a"]))[0])
        wait_until(port, 3)
        status, answer = ask(port, "/v1/predict", {})
        assert status == 503 and answer["error"]["code"] == "QUEUE_FULL"
        assert ask(port, "/predict", {})[0] == 503
        assert ask(port, "/setup", {"project": "1.1"}) == (200, {"model_version": "stub"})
        stub.go.set()
        for one in threads:
            one.join()
        assert found == [200] * 3
        assert ask(port, "/predict", body_of(IMAGES[:1], ["a"]))[0] == 200


def workers():
    from ovseg.apps.serve.workers import THREADS

    return [one for one in threading.enumerate() if one.name == THREADS]


def test_a_worker_that_overruns_is_given_up_and_replaced():
    with stubbed(workers=1, waiting=0, timeout=0.3) as (stub, port):
        usual = len(workers())
        stub.go.clear()
        status, answer = ask(port, "/predict", body_of(IMAGES[:1], ["a"]))
        assert (status, answer["error"]) == (504, "expected an answer within 0.3 s, it took longer")
        assert len(workers()) == usual + 1  # one waits in a call that nothing can end
        assert ask(port, "/predict", {})[0] == 400
        stub.error = ValueError("nobody waits for this")
        stub.go.set()
        assert ask(port, "/predict", body_of(IMAGES[:1], ["a"]))[0] == 200
        while len(workers()) > usual:
            time.sleep(0.01)


def test_python_that_never_ends_is_ended():
    ended = []

    def spin(*_):
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.append(True)

    with stubbed(workers=1, waiting=0, timeout=0.3) as (stub, port):
        stub.words = spin
        for count in range(1, 6):
            assert ask(port, "/predict", body_of(IMAGES[:1], ["a"]))[0] == 504
            while len(ended) < count:
                time.sleep(0.01)
        del stub.words
        assert ask(port, "/predict", body_of(IMAGES[:1], ["a"]))[0] == 200


def test_work_that_drops_the_exception_gets_it_again(monkeypatch):
    """As a finalizer does, in which Python lets no exception out."""
    from ovseg.apps.serve import workers as module

    monkeypatch.setattr(module, "LONG", 0.1)
    dropped = []

    def spin(*_):
        while True:
            try:
                while True:
                    time.sleep(0.001)
            except BaseException:
                dropped.append(True)
                if len(dropped) > 2:
                    raise

    with stubbed(workers=1, waiting=0, timeout=0.3) as (stub, port):
        usual = len(workers())
        stub.words = spin
        assert ask(port, "/predict", body_of(IMAGES[:1], ["a"]))[0] == 504
        while len(workers()) > usual:
            time.sleep(0.01)
        assert len(dropped) == 3


def test_long_requests_leave_a_place_for_others(monkeypatch):
    from ovseg.apps.serve import workers as module

    monkeypatch.setattr(module, "LONG", 0.1)
    with stubbed(workers=1, waiting=2) as (stub, port):
        usual = len(workers())
        stub.go.clear()
        threads, found = in_background(1, lambda: ask(port, "/predict", body_of(IMAGES[:1], ["a"]))[0])
        wait_until(port, 1)
        assert ask(port, "/predict", {})[0] == 400
        more, _ = in_background(1, lambda: ask(port, "/predict", body_of(IMAGES[:1], ["a"])))
        while len(workers()) < usual + 1:
            time.sleep(0.01)
        stub.go.set()
        for one in threads + more:
            one.join()
        assert found == [200] and ask(port, "/predict", {})[0] == 400
        while len(workers()) > usual:
            time.sleep(0.01)


def test_threads_that_cannot_be_ended_are_bounded():
    with stubbed(workers=1, waiting=0, timeout=0.2) as (stub, port):
        stub.go.clear()
        statuses = [ask(port, "/predict", body_of(IMAGES[:1], ["a"]))[0] for _ in range(4)]
        assert statuses == [504, 504, 504, 503]
        stub.go.set()
        while ask(port, "/predict", body_of(IMAGES[:1], ["a"]))[0] != 200:
            time.sleep(0.01)


def test_bodies_of_very_many_parts_are_refused_before_they_are_read():
    with stubbed(max_body=8) as (_, port):
        for part in (b"[],", b'"":0,', b"{},"):
            status, answer = ask(port, "/predict", b'{"a": [' + part * 1_000_001 + b"0]}")
            assert status == 413 and answer["error"].startswith("expected JSON of at most 1000000 ")


def test_a_value_in_a_message_is_shown_without_its_whole_repr():
    """A list of a million tasks held a worker for seconds, for 60 letters of a message."""
    from ovseg.errors import short_repr

    class Item:
        shown = 0

        def __repr__(self):
            Item.shown += 1
            return "item"

    assert short_repr([Item()] * 100_000).startswith("[item, item, ") and 0 < Item.shown < 100
    itself = []
    itself.append(itself)
    assert short_repr(itself) == "[[[[...]]]]"


def test_a_body_that_drips_is_408_long_before_the_time_of_a_request_is_over(monkeypatch):
    from ovseg.apps.serve import bounds

    monkeypatch.setattr(bounds, "PATIENCE", 0.3)
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nToken: {TOKEN}\r\nContent-Length: 9999\r\n\r\n"
    with stubbed() as (_, port), closing(socket.create_connection(("127.0.0.1", port))) as sender:
        sender.sendall(head.encode())
        sender.settimeout(0.01)
        sent, answer = 0, b""
        while not answer and sent < 9999:
            with suppress(TimeoutError):
                answer = sender.recv(4096)
            if not answer:
                sender.sendall(b" ")
                sent += 1
        assert answer.startswith(b"HTTP/1.1 408 ") and sent < 9999


@contextmanager
def bounded(**bounds):
    """A stub behind the connections of ``ovseg serve``."""
    from ovseg.apps.serve.app import create_app
    from ovseg.apps.serve.connections import server_config

    with running(server_config(create_app(Stub()), 5, **bounds)) as port:
        yield port


def test_idle_connections_make_room_for_requests():
    with bounded(connections=4) as port, ExitStack() as kept:
        for _ in range(20):
            opened = [kept.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(5)]
            assert ask(port, "/health") == (200, {"status": "UP", "model_class": "ovseg", "requests": 0})
            assert ask(port, "/predict", body_of(IMAGES[:1], ["a"]))[0] == 200
        for one in opened[:2]:
            one.settimeout(60)
            with suppress(ConnectionResetError):
                assert one.recv(1) == b""


@pytest.mark.parametrize("before", [b"", b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_head_that_drips_ends_its_connection(monkeypatch, before):
    from ovseg.apps.serve import connections

    monkeypatch.setattr(connections, "SENDING", 0.3)
    with bounded(head=0.3) as port, closing(socket.create_connection(("127.0.0.1", port))) as sender:
        sender.sendall(before)
        if before:
            assert sender.recv(4096).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ConnectionError):
            for letter in b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000:
                sender.sendall(bytes([letter]))
                time.sleep(0.005)


def test_a_line_for_each_request(caplog):
    with stubbed() as (_, port), caplog.at_level(logging.INFO, "ovseg.serve"):
        ask(port, "/health")
        ask(port, "/v1/predict", {})
        ask(port, "/a%0Ab", headers={})
        while len(caplog.records) < 3:  # the line follows the answer
            time.sleep(0.01)
    lines = [one.getMessage() for one in caplog.records]
    assert lines[0].startswith("127.0.0.1 GET /health: status 200, ")
    assert lines[1].startswith("127.0.0.1 POST /v1/predict: status 400, ")
    assert lines[2].startswith("127.0.0.1 GET /a\\nb: status 404, ") and len(lines) == 3


def test_whoever_waits_is_told_that_the_server_is_being_stopped():
    stop = threading.Event()
    with stubbed(workers=1, waiting=1, stop=stop) as (stub, port):
        stub.go.clear()
        threads, found = in_background(2, lambda: ask(port, "/predict", body_of(IMAGES[:1], ["a"])))
        wait_until(port, 2)
        stop.set()
        for one in threads:
            one.join()
        assert found == [(503, {"error": "the server is being stopped"})] * 2
        assert ask(port, "/predict", {})[0] == 503


def test_tasks_that_there_is_no_time_for_are_left_for_the_next_request():
    """Label Studio sends all tasks of a project at once, and asks again for those without a result."""
    from ovseg.apps.serve.label_studio import LabelStudio

    class Clock:
        """Each look takes a second."""

        def __init__(self, seconds):
            self.seconds = seconds

        @property
        def left(self):
            self.seconds -= 1
            return max(0, self.seconds)

    answer = LabelStudio(Stub()).predict(body_of(IMAGES, ["a"]), Clock(4))
    done, late, last = answer["results"]
    assert done["result"] == []
    for one in (late, last):
        assert (
            "result" not in one
            and one["error"] == "expected an answer in time, other tasks took it: ask again"
        )


def test_a_failure_of_the_models_is_an_entry_and_a_traceback_in_the_log(caplog):
    with stubbed() as (stub, port), caplog.at_level(logging.ERROR, "ovseg.serve"):
        stub.error = ZeroDivisionError("a bug")
        status, answer = ask(port, "/predict", body_of(IMAGES[:2], ["a"]))
    assert status == 200 and len(answer["results"]) == 2
    assert {one["error"] for one in answer["results"]} == {
        "the server failed at this task, its log says where"
    }
    assert caplog.text.count("ZeroDivisionError: a bug") == 2


@pytest.mark.parametrize("error, status", [(ZeroDivisionError("a bug"), 500), (MemoryError(), 503)])
def test_a_failure_elsewhere_is_a_status_and_a_line(caplog, error, status):
    body = {"model": "ovseg", "image": IMAGES[0], "params": {"text_prompt": "a"}}
    with stubbed() as (stub, port), caplog.at_level(logging.ERROR, "ovseg.serve"):
        stub.error = error
        found, answer = ask(port, "/v1/predict", body)
    assert found == status and answer["success"] is False and "a bug" not in str(answer)
    assert "/v1/predict" in caplog.text and ("a bug" in caplog.text) == (status == 500)


def test_a_body_that_does_not_come_in_time_is_408():
    with stubbed(timeout=0.3) as (_, port), closing(socket.create_connection(("127.0.0.1", port))) as sender:
        head = f"POST /predict HTTP/1.1\r\nHost: a\r\nToken: {TOKEN}\r\nContent-Length: 9\r\n\r\n"
        sender.sendall(head.encode())
        answer = b""
        while b"longer" not in answer:
            part = sender.recv(4096)
            assert part
            answer += part
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_of_chunks_is_counted_as_it_comes():
    with (
        stubbed(max_body=1) as (_, port),
        closing(socket.create_connection(("127.0.0.1", port))) as sender,
    ):
        head = f"POST /predict HTTP/1.1\r\nHost: a\r\nToken: {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
        sender.sendall(head.encode() + b"100000\r\n" + b" " * (1 << 20) + b"\r\n1\r\n \r\n0\r\n\r\n")
        assert sender.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "wrong",
    [{"workers": 0}, {"waiting": -1}, {"timeout": 0}, {"max_body": 0}, {"max_pixels": 0}, {"keep": 0}],
)
def test_bounds_are_checked(wrong):
    with pytest.raises(UsageError, match="^expected "):
        ServeOptions(**wrong)
