"""The server over real HTTP: uvicorn on a free port in a thread."""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
import time
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

import ovseg
from ovseg.annotate.brush import decode_brush

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

CONFIG = '<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i">{}</BrushLabels></View>'
BASIC = {"Authorization": "Basic " + base64.b64encode(b"any:secret").decode()}


def uri(image):
    kept = io.BytesIO()
    Image.fromarray(image).save(kept, "PNG")
    return "data:image/png;base64," + base64.b64encode(kept.getvalue()).decode()


@pytest.fixture(scope="module")
def finder():
    return ovseg.TextToMask(ovseg.load_model(), ovseg.load_segmenter("tiny"), presence_threshold=0)


@pytest.fixture(scope="module")
def port(finder, tmp_path_factory):
    from ovseg.annotate.serve.app import create_app

    root = tmp_path_factory.mktemp("files") / "root"
    root.mkdir()
    (root.parent / "secret.png").write_bytes(b"no picture")
    (root / "link.png").symlink_to(root.parent / "secret.png")
    Image.fromarray(ovseg.make_scene(3).image).save(root / "scene.png")
    app = create_app(finder, "v1", root=root, token="secret", max_bytes=1 << 20)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def ask(port, path, body, headers=BASIC):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", path, data, headers)
        with connection.getresponse() as answer:
            return answer.status, json.loads(answer.read())


def body_of(image, labels, **params):
    config = CONFIG.format("".join(f'<Label value="{one}"/>' for one in labels))
    return {"tasks": [{"data": {"image": image}}], "label_config": config, "params": params}


@pytest.mark.parametrize("how", ["labels", "words", "file"])
def test_brushes_decode_to_the_masks_of_python(port, finder, how):
    scene = ovseg.make_scene(3)
    word = scene.present[0]
    text = {"result": [{"type": "textarea", "value": {"text": [word]}}]}
    image = "/data/local-files/?d=scene.png" if how == "file" else uri(scene.image)
    params = {"context": text} if how == "words" else {}
    status, answer = ask(port, "/predict", body_of(image, [word], **params))
    wanted = finder.predict(scene.image, word)
    regions = answer["results"][0]["result"]
    assert status == 200 and len(regions) == len(wanted) > 0
    for region, mask in zip(regions, wanted.masks, strict=True):
        assert np.array_equal(decode_brush(region["value"]["rle"], mask.shape), mask)


@pytest.mark.parametrize(
    "image",
    ["/data/local-files/?d=../secret.png", "/data/local-files/?d=link.png", "http://x/a", "data:,", 5],
)
def test_what_may_not_be_read_is_a_status(port, image):
    status, answer = ask(port, "/predict", body_of(image, ["dog"]))
    assert status == 400 and "wanted" in answer["error"] and "\n" not in answer["error"]


@pytest.mark.parametrize(
    "body, headers, wanted",
    [
        (b"[" * 9999, BASIC, 400),
        (b"\xff", BASIC, 400),
        (b"{}", BASIC, 400),
        (b"{}", {}, 401),
        (b" " * (2 << 20), BASIC, 413),
    ],
)
def test_odd_bodies_are_a_status(port, body, headers, wanted):
    assert ask(port, "/predict", body, headers)[0] == wanted


@pytest.mark.parametrize("kind", ["keypointlabels", "rectanglelabels"])
def test_a_drawn_prompt_gives_the_mask_of_a_session(port, finder, kind):
    scene = ovseg.make_scene(3)
    value = {"x": 25, "y": 25, "width": 50, "height": 50}
    context = {"result": [{"type": kind, "value": value}]}
    status, answer = ask(port, "/predict", body_of(uri(scene.image), ["dog"], context=context))
    session = finder.session(scene.image)
    wanted = session.click(32, 32) if kind == "keypointlabels" else session.box(32, 32, 96, 96)
    regions = answer["results"][0]["result"]
    assert status == 200 and len(regions) == len(wanted) > 0
    assert np.array_equal(decode_brush(regions[0]["value"]["rle"], (128, 128)), wanted.masks[0])
