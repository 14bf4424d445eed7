"""Works on a bounded number of requests at once; a worker whose request runs out of time is replaced."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Event, Lock

from starlette.requests import Request

from ovseg.apps.serve.bounds import STOPPED, Deadline, JsonObject, Refused, as_line, parse, read_body
from ovseg.options import ServeOptions

Work = Callable[[JsonObject, Deadline], JsonObject]
"""From a request's body to its answer; it runs in a worker's thread."""
LOOKS = 0.25
"""Seconds between two looks at whether the server is being stopped."""
ENDING = 3.0
"""Seconds that a server waits for its workers when it is stopped."""
LONG = 2.0
"""Seconds after which a request is long: it goes on, and another thread takes its place among the workers."""
GIVEN_UP = 2
"""Abandoned threads for each worker; if there are more, requests are refused until one of them ends."""
THREADS = "ovseg-serve"


class Overrun(BaseException):
    """Raised in the thread of a request that ran out of time. No handler of ``Exception`` stops it."""


class Gate:
    """Admits a bounded number of requests and works on them in a bounded number of threads.

    Work looks at its ``Deadline`` between two steps. If it is still busy when the time is over, its request is
    answered with status 504, ``Overrun`` is raised in its thread, and a new thread takes the place. The
    exception arrives with the next line of Python, so a call into PyTorch or OpenCV ends first.

    Predictions for a whole project may take the full time, while somebody clicks and waits. So there are as
    many places for long requests as for others.

    Args:
        options: the time limit, the largest body, and how many requests are admitted.
        stop: set when the server is being stopped; waiting requests are then refused.
    """

    def __init__(self, options: ServeOptions, stop: Event) -> None:
        self.options = options
        self._stop = stop
        self._lock = Lock()
        self._inside = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._workers: list[_Worker] = []
        for _ in range(options.workers):
            self._start()

    async def answer(self, request: Request, work: Work) -> bytes:
        """The answer to a request, as JSON.

        Args:
            request: its body is read here, once it is admitted.
            work: makes the answer.

        Raises:
            Refused: the server is full or being stopped, the body is too large or no JSON object, or time
                has run out.
            Exception: any error of ``work``.
        """
        self._enter()
        job: _Job | None = None
        try:
            deadline = Deadline(self.options.timeout, self._stop)
            raw = await read_body(request, self.options.max_bytes, deadline)
            job = _Job(lambda: as_line(work(parse(raw), deadline)))
            self._jobs.put(job)
            waited = asyncio.wrap_future(job.future)
            waited.add_done_callback(_take)
            while not waited.done() and deadline.left:
                await asyncio.wait([waited], timeout=min(LOOKS, deadline.left))
                self._relieve(job)
            if waited.done():
                return waited.result()
            if self._stop.is_set():
                raise Refused(503, STOPPED)
            raise Refused(504, f"expected an answer within {self.options.timeout:g} s, it took longer")
        finally:
            if job is not None:
                self._give_up(job)
            with self._lock:
                self._inside -= 1

    @property
    def inside(self) -> int:
        """The number of admitted requests."""
        with self._lock:
            return self._inside

    def close(self) -> None:
        """Refuse new requests, and wait for the admitted ones for ``ENDING`` seconds at most."""
        self._stop.set()
        for _ in range(self.options.workers):
            self._jobs.put(None)
        end = time.monotonic() + ENDING
        while any(one.is_alive() for one in self._workers) and time.monotonic() < end:
            time.sleep(0.02)

    def _enter(self) -> None:
        if self._stop.is_set():
            raise Refused(503, STOPPED)
        most = self.options.workers + self.options.waiting
        with self._lock:
            self._workers = [one for one in self._workers if one.is_alive()]
            if sum(one.is_abandoned for one in self._workers) > GIVEN_UP * self.options.workers:
                raise Refused(503, "earlier requests that ran out of time are still busy: try again later")
            if self._inside >= most:
                raise Refused(503, f"expected at most {most} requests at the same time: try again later")
            self._inside += 1

    def _give_up(self, job: _Job) -> None:
        """Take back a job that has not begun, or replace the thread that is still busy with it."""
        job.future.cancel()
        worker = job.abandon()
        if worker is None:
            return
        asyncio.get_running_loop().call_later(LONG, self._insist, job)
        if not worker.is_long and not self._stop.is_set():
            self._start()

    def _insist(self, job: _Job) -> None:
        """Raise ``Overrun`` again until the job ends: Python drops an exception that arrives in a finalizer."""
        if job.abandon() is not None:
            asyncio.get_running_loop().call_later(LONG, self._insist, job)

    def _relieve(self, job: _Job) -> None:
        """Start another thread if a job is long and there is a place for long ones."""
        with self._lock:
            long = sum(one.is_long and one.is_alive() and not one.is_abandoned for one in self._workers)
        if long < self.options.workers and not self._stop.is_set() and job.become_long():
            self._start()

    def _start(self) -> None:
        worker = _Worker(self._jobs)
        worker.start()
        with self._lock:
            self._workers.append(worker)


class _Job:
    """One call, and the thread that is busy with it."""

    def __init__(self, call: Callable[[], bytes]) -> None:
        self.future: Future[bytes] = Future()
        self._call = call
        self._lock = Lock()
        self._worker: _Worker | None = None
        self._started = 0.0

    def run(self, worker: _Worker) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        self._started = time.monotonic()
        self._worker = worker
        try:
            self.future.set_result(self._call())
        except Overrun:
            self.future.set_exception(Overrun())  # without the traceback, which holds the request's images
        except BaseException as error:
            self.future.set_exception(error)
        finally:
            with self._lock:
                self._worker = None

    def become_long(self) -> bool:
        """Let the thread of this job end with it, once the job has taken ``LONG``; whether that is so now."""
        with self._lock:
            worker = self._worker
            if worker is None or worker.is_long or time.monotonic() < self._started + LONG:
                return False
            worker.is_long = True
            return True

    def abandon(self) -> _Worker | None:
        """Raise ``Overrun`` in the thread that is busy with this job; None if none is."""
        with self._lock:
            worker = self._worker
            if self.future.done() or worker is None or worker.ident is None:
                return None
            worker.is_abandoned = True
            thread, error = ctypes.c_ulong(worker.ident), ctypes.py_object(Overrun)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, error)
            return worker


class _Worker(threading.Thread):
    """Takes jobs until it gets None. If one is long or is abandoned, it is the last."""

    def __init__(self, jobs: SimpleQueue[_Job | None]) -> None:
        super().__init__(name=THREADS, daemon=True)
        self.is_abandoned = self.is_long = False
        self._jobs = jobs

    def run(self) -> None:
        try:
            while not (self.is_abandoned or self.is_long) and (job := self._jobs.get()) is not None:
                job.run(self)
        except Overrun:
            pass


def hide_overruns() -> None:
    """Do not print a traceback if Python drops an ``Overrun``; it is raised again."""
    usual = sys.unraisablehook

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        if not isinstance(dropped.exc_value, Overrun):
            usual(dropped)

    sys.unraisablehook = hook


def is_working() -> bool:
    """Whether a worker's thread of any gate is alive."""
    return any(isinstance(one, _Worker) for one in threading.enumerate())


def _take(late: asyncio.Future[bytes]) -> None:
    """Take the result of an abandoned job; asyncio reports errors that nobody took."""
    if not late.cancelled():
        late.exception()
