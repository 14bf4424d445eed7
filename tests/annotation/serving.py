"""A server on a free port in a thread, and requests to it over real HTTP."""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
import time
from contextlib import closing, contextmanager

from PIL import Image

TOKEN = "secret"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"any:{TOKEN}".encode()).decode()}
CONFIG = '<View><Image name="i" value="$image"/><{0} name="b" toName="i">{1}</{0}></View>'


@contextmanager
def running(served):
    """Serve an application, or a configuration of uvicorn; gives the port."""
    import uvicorn

    if not isinstance(served, uvicorn.Config):
        served = uvicorn.Config(served, log_level="error", ws="none")
    served.port = 0
    server = uvicorn.Server(served)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def ask(port, path, body=None, headers=BASIC, method=None):
    """Status and JSON of an answer; a body that is no bytes is sent as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method or ("GET" if body is None else "POST"), path, data, headers)
        with connection.getresponse() as answer:
            content = answer.read()
            assert content.count(b"\n") == 0 and answer.headers["content-type"] == "application/json"
            return answer.status, json.loads(content)


def png(image):
    kept = io.BytesIO()
    Image.fromarray(image).save(kept, "PNG")
    return kept.getvalue()


def uri(image):
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def config(labels, kind="BrushLabels"):
    return CONFIG.format(kind, "".join(f'<Label value="{one}"/>' for one in labels))


def body_of(images, labels, *context, kind="BrushLabels", **more):
    """A request of Label Studio for images, with the regions of a context if there are any."""
    listed = images if isinstance(images, list) else [images]
    return {
        "tasks": [{"id": number, "data": {"image": one}} for number, one in enumerate(listed, 1)],
        "label_config": config(labels, kind),
        "params": {"context": {"result": list(context)} if context else None},
        **more,
    }


def words(*texts):
    """The region of a text area."""
    return {"type": "textarea", "from_name": "prompt", "value": {"text": list(texts)}}
