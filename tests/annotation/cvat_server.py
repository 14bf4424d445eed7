"""A stub of the routes of CVAT that its own client uses: one task, and a queue of a function's requests.

It answers over real HTTP. What is uploaded is kept, so that a test can decode it.
"""

from __future__ import annotations

import concurrent.futures
import functools
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from cvat_cli._internal import agent, common
from cvat_sdk.core.client import Config
from cvat_sdk.version import VERSION
from PIL import Image

TASK = 5
TOKEN = "a-token"


def lead_to_cvat(monkeypatch, cache):
    """cvat-cli gets the stub's token and a folder for downloads, and its agent starts no process."""
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
    made = functools.partial(common.make_client_from_cli, config=Config(cache_dir=cache))
    monkeypatch.setattr(common, "make_client_from_cli", made)
    monkeypatch.setattr(agent, "RecoverableExecutor", InThisProcess)


class InThisProcess:
    """The agent's executor with a thread in place of a process, which would load torch for seconds."""

    def __init__(self, initializer, initargs):
        self._pool = concurrent.futures.ThreadPoolExecutor(1, initializer=initializer, initargs=initargs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pool.shutdown()

    def submit(self, work, /, *arguments):
        return self._pool.submit(work, *arguments)

    def result(self, future):
        return future.result()


class CvatServer:
    """Start with ``with``; then ``arguments`` leads cvat-cli to it.

    Args:
        images: (H, W, 3) uint8 RGB by their file names, the frames of the task.
        labels: the labels of the task, each a name or a dict as CVAT's API gives it.

    Attributes:
        uploads: (method, body) of each upload of annotations.
        functions: what was created, in order; the id of the first is 0.
        requests: what an agent will be asked: category and parameters.
        results: (route, body) of each request that was completed or failed.
    """

    def __init__(self, images, labels):
        self.images = images
        self.labels = [{"name": one} if isinstance(one, str) else one for one in labels]
        self.uploads, self.functions, self.requests, self.results = [], [], [], []
        self.refused = 0

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"cvat": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def arguments(self):
        return ["--server-host", f"http://127.0.0.1:{self.server.server_port}"]

    def shapes(self):
        """(label's name, shape) of everything that was uploaded."""
        return [
            (self.labels[one["label_id"] - 1]["name"], one)
            for _, body in self.uploads
            for one in body["shapes"]
        ]

    def task(self):
        return {
            "id": TASK,
            "name": "task",
            "size": len(self.images),
            "mode": "annotation",
            "dimension": "2d",
            "updated_date": "2026-01-01T00:00:00Z",
            "created_date": "2026-01-01T00:00:00Z",
            "data_chunk_size": 2,
            "data_original_chunk_type": "imageset",
            "data_compressed_chunk_type": "imageset",
            "jobs": {"count": 1, "completed": 0, "validation": 0, "url": "http://x/jobs"},
            "labels": {"url": "http://x/labels"},
            "organization": None,
            "organization_id": None,
        }

    def label_page(self):
        page = [
            {"type": "any", "attributes": [], "sublabels": [], "color": "#00ff00", **one, "id": number}
            for number, one in enumerate(self.labels, 1)
        ]
        return {"count": len(page), "next": None, "previous": None, "results": page}

    def meta(self):
        frames = [
            {"name": name, "related_files": 0, "width": image.shape[1], "height": image.shape[0]}
            for name, image in self.images.items()
        ]
        return {
            "chunks_updated_date": "2026-01-01T00:00:00Z",
            "frames": frames,
            "deleted_frames": [],
            "chunk_size": 2,
            "size": len(frames),
            "image_quality": 70,
            "start_frame": 0,
            "stop_frame": len(frames) - 1,
            "frame_filter": "",
        }

    def function(self):
        """The first function that was created, as the server describes it."""
        created = self.functions[0]
        return {
            "min_pos_points": 1,
            "min_neg_points": -1,
            "startswith_box": False,
            "startswith_box_optional": False,
            **created,
        }

    def acquire(self, category):
        """The next request of a category, or None."""
        for index, (wanted, parameters) in enumerate(self.requests):
            if wanted == category:
                del self.requests[index]
                return {"ar_id": f"request{index}", "ar_params": {"task": TASK, **parameters}}
        return None

    def data(self, kind, number):
        """A chunk of two frames as a ZIP archive, or one frame."""
        pictures = []
        for image in self.images.values():
            kept = io.BytesIO()
            Image.fromarray(image).save(kept, "PNG")
            pictures.append(kept.getvalue())
        if kind == "frame":
            return pictures[number]
        kept = io.BytesIO()
        with zipfile.ZipFile(kept, "w") as archive:
            for index, picture in enumerate(pictures[2 * number : 2 * number + 2]):
                archive.writestr(f"{index:06d}.png", picture)
        return kept.getvalue()


class _Handler(BaseHTTPRequestHandler):
    cvat: CvatServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, content, status=200):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self):
        cvat, place = self.cvat, urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        asked = {key: values[0] for key, values in parse_qs(place.query).items()}
        path = unquote(place.path).rstrip("/")
        if path != "/api/server/about" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            cvat.refused += 1
            return self.reply({"detail": "no token"}, 401)
        queue = "/api/functions/queues/function:0/requests"
        match (self.command, path):
            case ("GET", "/api/server/about"):
                about = {"name": "CVAT", "description": "", "version": VERSION}
                return self.reply({**about, "logo_url": "", "subtitle": ""})
            case ("GET", "/api/tasks/5"):
                return self.reply(cvat.task())
            case ("GET", "/api/labels"):
                return self.reply(cvat.label_page())
            case ("GET", "/api/tasks/5/data/meta"):
                return self.reply(cvat.meta())
            case ("GET", "/api/tasks/5/data"):
                assert asked["quality"] == "original"
                return self.reply(cvat.data(asked["type"], int(asked["number"])))
            case ("PATCH" | "PUT", "/api/tasks/5/annotations"):
                cvat.uploads.append((self.command, body))
                return self.reply({"version": 0, "tags": [], "shapes": [], "tracks": []})
            case ("POST", "/api/functions"):
                cvat.functions.append({**body, "id": len(cvat.functions)})
                return self.reply(cvat.functions[-1], 201)
            case ("GET", "/api/functions/0"):
                return self.reply(cvat.function())
            case ("POST", other) if other == f"{queue}/acquire":
                return self.reply({"ar_assignment": cvat.acquire(body["request_category"])})
            case ("POST", other) if other.startswith(queue):
                cvat.results.append((other.rsplit("/", 1)[-1], body))
                return self.reply({})
        return self.reply({"detail": f"the stub has no {self.command} {self.path}"}, 404)

    do_GET = do_POST = do_PUT = do_PATCH = answer
