"""The server over real HTTP: uvicorn on a free port in a thread."""

from __future__ import annotations

import numpy as np
import pytest

import ovseg
from ovseg.annotation.classes import read_classes
from ovseg.annotation.finder import MaskFinder
from ovseg.annotation.formats.brush import decode_brush
from ovseg.options import AnnotateOptions, ServeOptions

from .serving import BASIC, ask, body_of, png, running, uri, words

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

OPTIONS = AnnotateOptions(presence_threshold=0)
SCENE = ovseg.make_scene(3)
WORD = SCENE.present[0]


@pytest.fixture(scope="module")
def core(models):
    from ovseg.apps.serve.core import Core

    return Core(*models, OPTIONS, ServeOptions(max_pixels=1_000_000))


@pytest.fixture(scope="module")
def port(core, tmp_path_factory):
    from ovseg.apps.serve.app import create_app
    from ovseg.apps.serve.images import Sources

    root = tmp_path_factory.mktemp("files") / "root"
    root.mkdir()
    (root.parent / "secret.png").write_bytes(png(SCENE.image))
    (root / "link.png").symlink_to(root.parent / "secret.png")
    (root / "scene.png").write_bytes(png(SCENE.image))
    app = create_app(core, sources=Sources(root), token="secret", options=ServeOptions(max_body=1))
    with running(app) as port:
        yield port


def masks_in(entry, size=(128, 128)):
    return [decode_brush(one["value"]["rle"], size) for one in entry["result"]]


@pytest.fixture(scope="module")
def wanted(models):
    """The masks of a word as `ovseg annotate` finds them."""
    (found,) = MaskFinder(*models, read_classes([WORD]), OPTIONS).find([SCENE.image])
    assert len(found.regions) > 0
    return [one.mask.array() for one in found.regions]


@pytest.mark.parametrize("how", ["labels", "words", "file"])
def test_brushes_decode_to_the_masks_of_annotate(port, wanted, how):
    image = "/data/local-files/?d=scene.png" if how == "file" else uri(SCENE.image)
    context = [words(WORD)] if how == "words" else []
    status, answer = ask(port, "/predict", body_of(image, [WORD], *context))
    (entry,) = answer["results"]
    assert status == 200 and "error" not in entry
    assert [one["value"]["brushlabels"] for one in entry["result"]] == [[WORD]] * len(wanted)
    assert all(np.array_equal(a, b) for a, b in zip(masks_in(entry), wanted, strict=True))


@pytest.mark.parametrize(
    "image",
    ["/data/local-files/?d=../secret.png", "/data/local-files/?d=link.png", "http://x/a", "data:,", 5],
)
def test_what_may_not_be_read_is_a_reason_and_others_are_answered(port, image):
    status, answer = ask(port, "/predict", body_of([image, uri(SCENE.image)], [WORD]))
    bad, good = answer["results"]
    assert status == 200 and "result" not in bad and len(good["result"]) > 0
    assert bad["error"].startswith("expected ") and "\n" not in bad["error"]


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
    status, answer = ask(port, "/predict", body, headers)
    assert status == wanted and answer["error"].startswith("expected ")


@pytest.mark.parametrize("kind", ["keypointlabels", "rectanglelabels"])
def test_a_drawn_prompt_gives_the_mask_of_a_session(port, models, kind):
    value = {"x": 25, "y": 25, "width": 50, "height": 50, kind: ["dog"]}
    status, answer = ask(
        port, "/predict", body_of(uri(SCENE.image), ["cat", "dog"], {"type": kind, "value": value})
    )
    session = ovseg.TextToMask(*models, presence_threshold=0).session(SCENE.image)
    wanted = session.click(32, 32) if kind == "keypointlabels" else session.box(32, 32, 96, 96)
    (entry,) = answer["results"]
    assert status == 200 and len(entry["result"]) == len(wanted) > 0
    assert entry["result"][0]["value"]["brushlabels"] == ["dog"]
    assert np.array_equal(masks_in(entry)[0], wanted.masks[0])
