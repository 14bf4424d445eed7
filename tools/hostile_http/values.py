"""Values that do not belong where they are put: numbers, texts, pictures and configurations."""

from __future__ import annotations

import base64
import copy
import io
import json
import struct
import zlib
from random import Random

import numpy as np
from PIL import Image

import ovseg

SCENE = ovseg.make_scene(3, 64)
LABELS = ("stripes", "waves", SCENE.present[0])


def png_of(image: np.ndarray) -> bytes:
    """A picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


PICTURE = png_of(SCENE.image)


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """A file as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def config(labels: tuple[str, ...] = LABELS, kind: str = "BrushLabels") -> str:
    """A labelling configuration."""
    listed = "".join(f'<Label value="{one}"/>' for one in labels)
    return f'<View><Image name="i" value="$image"/><{kind} name="b" toName="i">{listed}</{kind}></View>'


def good_predict() -> dict[str, object]:
    """A request of Label Studio that is answered."""
    return {
        "tasks": [{"id": 1, "data": {"image": data_uri(PICTURE)}}],
        "project": "1.1700000000",
        "label_config": config(),
        "params": {"context": {"result": [{"type": "textarea", "value": {"text": [LABELS[-1]]}}]}},
    }


def good_remote() -> dict[str, object]:
    """A request of X-AnyLabeling that is answered."""
    params = {"text_prompt": LABELS[-1], "conf_threshold": 0.0, "epsilon_factor": 0.001}
    return {"model": "ovseg", "image": data_uri(PICTURE), "params": params}


def good_setup() -> dict[str, object]:
    """What Label Studio sends when it is connected."""
    return {
        "project": "1.1700000000",
        "schema": config(),
        "hostname": "http://127.0.0.1:1",
        "access_token": "a" * 40,
        "extra_params": None,
    }


def odd(draw: Random) -> object:
    """A value of a wrong type or size."""
    return draw.choice(
        (
            lambda: None,
            lambda: draw.choice((True, False)),
            lambda: draw.choice((0, -1, 2**31, -(2**63), 10**30, 10**4000)),
            lambda: draw.choice((float("nan"), float("inf"), -float("inf"), 1e308, -0.0, 1e-320)),
            lambda: text(draw),
            lambda: [],
            lambda: {},
            lambda: [odd(draw) for _ in range(draw.randrange(4))],
            lambda: {text(draw)[:50]: odd(draw) for _ in range(draw.randrange(3))},
            lambda: nested(draw.choice((5, 50, 200))),
            lambda: [0] * draw.choice((1, 300, 5000)),
        )
    )()


def nested(depth: int) -> object:
    """Lists in lists."""
    value: object = []
    for _ in range(depth):
        value = [value]
    return value


def text(draw: Random) -> str:
    """A text that is no word."""
    return draw.choice(
        (
            "",
            " ",
            ",,,",
            "+",
            "\0",
            "\ud800",
            "\udfff\ud800",
            "‮gnihtemos",
            "e\u0301" * 20,
            "👩‍👩‍👧‍👦",
            "a" * 100_000,
            "word " * 300,
            "a,b," * 1500,
            "<View>",
            "../../etc/passwd",
            "%s%n{}",
            "'; DROP TABLE tasks; --",
            "\r\nSet-Cookie: a=b",
            "\u2028\u2029\ufeff",
            "background",
            "not",
            "𝕏" * 77,
        )
    )


def with_something_odd(draw: Random, content: object) -> object:
    """A copy of a request in which one or two places hold, or lack, something else."""
    changed = copy.deepcopy(content)
    for _ in range(draw.choice((1, 1, 2))):
        places = list(_places(changed))
        holder, key = draw.choice(places)
        if isinstance(holder, dict) and draw.random() < 0.2:
            holder.pop(key, None)
        else:
            holder[key] = odd(draw)
    return changed


def _places(value: object):
    """(holder, key) of every value in lists and objects."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield value, key
            yield from _places(one)
    elif isinstance(value, list):
        for index, one in enumerate(value[:20]):
            yield value, index
            yield from _places(one)


def bad_json(draw: Random, content: object) -> bytes:
    """JSON that is broken, or means something else than it seems."""
    good = json.dumps(content).encode()
    cut = draw.randrange(len(good))
    return draw.choice(
        (
            lambda: good[:cut],
            lambda: good[:cut] + bytes([draw.randrange(256)]) + good[cut:],
            lambda: good[:cut] + good[cut + draw.randrange(1, 9) :],
            lambda: b"[" * draw.choice((100, 20_000, 200_000)),
            lambda: b'{"a":' * draw.choice((100, 20_000, 100_000)),
            lambda: b'{"tasks":' + b"[" * 900 + b"]" * 900 + b"}",
            lambda: b"[" + good + b"]",
            lambda: good + good,
            lambda: good.decode().encode("utf-16"),
            lambda: b"\xef\xbb\xbf" + good,
            lambda: draw.randbytes(draw.randrange(300)),
            lambda: b"1" * draw.choice((10, 5000, 100_000)),
            lambda: b'{"tasks": 1e' + b"9" * draw.choice((3, 5000)) + b"}",
            lambda: draw.choice((b"", b"null", b"NaN", b'"text"', b"true", b"{}", b"[]", b"\0", b"{'a': 1}")),
            lambda: b"{" + b",".join(b'"a%d":[{}]' % index for index in range(2000)) + b"}",
        )
    )()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_of_size(width: int, height: int, content: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


ZEROS = zlib.compress(b"\0" * 4_000_000, 9)


def bad_picture(draw: Random) -> bytes:
    """A file that is no picture, is damaged, or wants more memory than it has bytes."""
    side = draw.choice((20_000, 60_000, 2**31 - 1))
    return draw.choice(
        (
            lambda: _png_of_size(side, side, ZEROS),
            lambda: _png_of_size(draw.choice((0, 1)), draw.choice((0, 2**30)), ZEROS[:1000]),
            lambda: b"\x89PNG\r\n\x1a\n" + _chunk(b"zTXt", b"a\0\0" + ZEROS) + PICTURE[8:],
            lambda: b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0xF7, 0, 0) + draw.randbytes(900),
            lambda: b"II*\0" + struct.pack("<I", draw.choice((8, 2**32 - 1))) + draw.randbytes(200),
            lambda: b"BM" + struct.pack("<IHHIIiiHH", 99, 0, 0, 54, 40, side, side, 1, 24) + b"\0" * 40,
            lambda: b"P6 99999 99999 255\n" + draw.randbytes(50),
            lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (w) file\n",
            lambda: PICTURE[: draw.randrange(len(PICTURE))],
            lambda: bytes(one ^ (draw.random() < 0.02) for one in PICTURE),
            lambda: draw.randbytes(draw.randrange(2000)),
            lambda: b"",
        )
    )()


def bad_address(draw: Random) -> str:
    """An image that may not be read: outside the folder, of other hosts, or no address at all."""
    return draw.choice(
        (
            "/data/local-files/?d=../secret.png",
            "/data/local-files/?d=%2e%2e/secret.png",
            "/data/local-files/?d=%252e%252e/secret.png",
            "/data/local-files/?d=/etc/passwd",
            "/data/local-files/?d=link.png",
            "/data/local-files/?d=..\\secret.png",
            "/data/local-files/?d=a\0b.png",
            "/data/local-files/?d=" + "a/" * 3000,
            "/data/local-files/?d=",
            "/data/local-files/?d=.",
            "/data/local-files/?d=pipe",
            "/data/upload/../../secret.png",
            "/data/upload/%2e%2e/%2e%2e/secret.png",
            "/data/upload/",
            "//elsewhere.invalid/a.png",
            "http://169.254.169.254/latest/meta-data/",
            "http://127.0.0.1:1@elsewhere.invalid/a.png",
            "http://127.0.0.1:22/",
            "http://[::1]:1/a.png",
            "http://[::ffff:169.254.169.254]/",
            "http://0x7f000001:1/",
            "http://127.0.0.1:1/a\r\nHost: b",
            "http://127.0.0.1:99999999/",
            "http://127.0.0.1:1/" + "a" * 20_000,
            "http://\ud800.invalid/",
            "http://" + "a" * 70 + ".invalid/",
            "http://127.0.0.1:1/a.png",
            "file:///etc/passwd",
            "ftp://127.0.0.1/a.png",
            "gopher://127.0.0.1:1/_x",
            "s3://bucket/a.png",
            "data:",
            "data:,",
            "data:image/png;base64",
            "data:image/png;base64,====",
            "data:image/png;base64,\ud83d",
            "data:image/png,plain",
            "DATA:image/png;BASE64,AAAA",
        )
    )


def bad_config(draw: Random) -> object:
    """A labelling configuration that is none, or wants more work than it has characters."""
    bomb = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10 if k else "ha"}">' for k in range(10))
    return draw.choice(
        (
            lambda: f"<!DOCTYPE View [{bomb}]><View>&e9;</View>",
            lambda: '<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]><View>&x;</View>',
            lambda: "<View>" * draw.choice((10, 20_000)),
            lambda: "<View>" * 15_000 + "</View>" * 15_000,
            lambda: config().replace("$image", draw.choice(("", "$", "$nothing", "image", "$data.image"))),
            lambda: config(tuple(f"label {index}" for index in range(3000))),
            lambda: config(("same", "Same", "SAME")),
            lambda: config(("a" * 5000,)),
            lambda: config(()),
            lambda: config(
                LABELS, draw.choice(("PolygonLabels", "RectangleLabels", "KeyPointLabels", "Choices"))
            ),
            lambda: config()[: draw.randrange(90)],
            lambda: config().replace("toName", "toname"),
            lambda: config(("background",)),
            lambda: config().replace("stripes", "&#x0;"),
            lambda: config().replace("stripes", "&amp;&lt;&#128512;"),
            lambda: "é" * 200_001,
            lambda: odd(draw),
        )
    )()


def bad_region(draw: Random) -> dict[str, object]:
    """A region of a context that is none, or not of this image."""

    def number() -> object:
        return draw.choice((0, 50, 100, 100.0001, -1, float("nan"), 1e308, True, None, "50", 10**400))

    box = {key: number() for key in ("x", "y", "width", "height")}
    rle = draw.choice(
        (
            lambda: list(draw.randbytes(draw.randrange(200))),
            lambda: [0, 0, 64, 0, 57, 27, 252, *draw.randbytes(40)],
            lambda: [255] * 5000,
            lambda: [0, 0, 64, 0, 58, *([0] * 20_000)],
            lambda: [300, -1, "a"],
            lambda: odd(draw),
        )
    )()
    kind = draw.choice(
        ("keypointlabels", "keypoint", "rectanglelabels", "brushlabels", "textarea", "choices", None, 5)
    )
    labels = draw.choice((["stripes"], ["no label"], [], [None], "stripes", [text(draw)], odd(draw)))
    value = {**box, "rotation": number(), "format": "rle", "rle": rle, "text": odd(draw), "labels": labels}
    if isinstance(kind, str) and draw.random() < 0.7:
        value[kind] = labels
    return {"type": kind, "value": value, "is_positive": draw.choice((True, False, None, "no"))}


def bad_mark(draw: Random) -> object:
    """A mark of X-AnyLabeling that is none, or not in this image."""

    def number() -> object:
        return draw.choice((0, 32, 63, 64, 65, -5, 1e12, float("nan"), "1", None, True, 10**400))

    kind = draw.choice(("point", "rectangle", "polygon", "", None, 3))
    data = [number() for _ in range(draw.choice((0, 1, 2, 2, 4, 4, 5)))]
    return {
        "type": kind,
        "data": draw.choice((data, data, odd(draw))),
        "label": draw.choice((0, 1, 2, "1", None)),
    }
