"""How long requests to `ovseg serve` take; prints a Markdown table.

python tools/benchmark_serve.py --rounds 9

A server with the embedded models is started, and asked over HTTP for words and clicks on pictures of 480 x
640 pixels. Beside the time of a request stands the processor's time that the server spent on it, which hardly
depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_http.run import Server, scratch, serving
from hostile_http.values import config, data_uri, png_of
from hostile_http.wire import exchange, post

import ovseg

CLICK = {"type": "keypointlabels", "value": {"x": 50, "y": 50, "keypointlabels": ["anything"]}}


def ticks(server: Server) -> float:
    """Seconds of the processor's time that the server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asked(server: Server, image: np.ndarray, region: dict[str, object], label: str) -> tuple[float, float]:
    """Seconds, and seconds of the processor's time, of one request."""
    body = {
        "tasks": [{"id": 1, "data": {"image": data_uri(png_of(image))}}],
        "label_config": config((label,)),
        "params": {"context": {"result": [region]}},
    }
    sent = post("/predict", body)
    before, start = ticks(server), time.perf_counter()
    answer = exchange(server.port, sent)
    seconds, used = time.perf_counter() - start, ticks(server) - before
    if answer.status != 200 or b'"error"' in answer.body:
        raise SystemExit(f"expected an answer, got {answer.status}: {answer.body[:300]!r}")
    return seconds, used


def word(text: str) -> dict[str, object]:
    """The region of a text area."""
    return {"type": "textarea", "value": {"text": [text]}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="requests of each kind (default: %(default)s)")
    parser.add_argument("--model", default="small", help="the embedded model (default: %(default)s)")
    given = parser.parse_args()
    images = [ovseg.make_scene(number, (480, 640)).image for number in range(100, 101 + given.rounds)]
    rows: dict[str, Callable[[Server, int], tuple[float, float]]] = {
        "a new word on a new picture": lambda s, k: asked(s, images[k], word(f"thing {k}"), f"thing {k}"),
        "a new word on a picture seen before": lambda s, k: asked(
            s, images[0], word(f"kind {k}"), f"kind {k}"
        ),
        "a word again on a picture seen before": lambda s, k: asked(s, images[0], word("kind 1"), "kind 1"),
        "a click on a picture seen before": lambda s, k: asked(s, images[0], CLICK, "anything"),
    }
    with scratch() as folder, serving(folder, ["--model", given.model]) as server:
        asked(server, images[0], word("first"), "first")
        print("| request | seconds | processor's time |\n|---|---|---|")
        for name, ask in rows.items():
            found = [ask(server, k) for k in range(1, given.rounds + 1)]
            seconds, used = (statistics.median(part) for part in zip(*found, strict=True))
            print(f"| {name} | {seconds:.2f} | {used:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
