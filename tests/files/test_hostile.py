"""Anything at all as any argument: a result or one of ovseg's errors, on one line."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ovseg.errors import OvsegError, UsageError
from ovseg.files.find import find_images
from ovseg.files.labels import load_labels
from ovseg.files.pictures import load_image
from ovseg.files.sizes import resize_image

PICTURE = np.zeros((4, 5, 3), np.uint8)


class RaisesAsArray:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("one\nand two")


class NoneAsArray:
    def __array__(self, dtype=None, copy=None):
        return None


class NumberAsPath:
    def __fspath__(self):
        return 5


class RaisesAsPath:
    def __fspath__(self):
        raise RuntimeError("no path")


class ReadsNone:
    def read(self):
        return None


class RaisesOnRead:
    def read(self):
        raise RuntimeError("no content")


def closed():
    stream = io.BytesIO(b"x")
    stream.close()
    return stream


def with_transparency(mode, value):
    picture = Image.new(mode, (3, 3))
    picture.info["transparency"] = value
    return picture


WRONG = {
    "none": None,
    "flag": True,
    "number": 1.5,
    "module": np,
    "class": type,
    "function": len,
    "dict": {"a": 1},
    "nested": [[1, 2], [3]],
    "iterator": iter([]),
    "empty text": "",
    "blank": " ",
    "surrogate": "\ud800",
    "long": "a" * 70_000,
    "NUL": "a\0b",
    "data URI": "data:image/png;base64,AAAA",
    "bucket": "s3://bucket/a.png",
    "memory of the process": "/proc/self/mem",
    "every other byte": memoryview(b"abc")[::2],
    "closed file": closed(),
    "raises as array": RaisesAsArray(),
    "none as array": NoneAsArray(),
    "number as path": NumberAsPath(),
    "raises as path": RaisesAsPath(),
    "reads none": ReadsNone(),
    "raises on read": RaisesOnRead(),
    "palette with text": with_transparency("P", "abc"),
    "grey with colour": with_transparency("L", (1, 2, 3)),
    "deep with much": with_transparency("I;16", 99_999),
    "dates": np.zeros((3, 3), "M8[s]"),
    "records": np.zeros((3, 3), [("a", "u1")]),
    "objects": np.full((3, 3), None),
    "matrix": np.zeros((2, 2), np.uint8).view(np.matrix),
    "scalar": np.float64(3),
    "long doubles": np.ones((3, 3), np.longdouble),
    "large integers": np.full((3, 3), 2**63, np.uint64),
    "tiny": np.full((3, 3), 1e-310),
    "meta": torch.zeros(3, 3, device="meta"),
    "sparse": torch.zeros(3, 3).to_sparse(),
    "complex": torch.zeros(3, 3, dtype=torch.complex64),
    "parameter": torch.nn.Parameter(torch.zeros(3, 4, 4)),
    "no pixels": torch.zeros(0, 3, 3),
}
CALLS = {
    "image": load_image,
    "limit": lambda value: load_image(PICTURE, value),
    "labels": load_labels,
    "paths": find_images,
    "path in a list": lambda value: find_images([value]),
    "picture": lambda value: resize_image(value, (2, 2)),
    "size": lambda value: resize_image(PICTURE, value),
    "sides": lambda value: resize_image(PICTURE, (value, value)),
    "how": lambda value: resize_image(PICTURE, (2, 2), value),
}


@pytest.mark.parametrize("call", CALLS)
def test_anything_ends_in_a_result_or_one_line(call):
    refused = []
    for name, wrong in WRONG.items():
        try:
            CALLS[call](wrong)
        except OvsegError as error:
            assert "\n" not in str(error) and len(str(error)) < 1200, name
            refused.append(name)
        except Exception as error:
            raise AssertionError(f"{call} of {name}") from error
    assert len(refused) > len(WRONG) / 2


@pytest.mark.parametrize("read", [load_image, load_labels, lambda path: find_images([path])])
def test_an_empty_text_is_no_path(read):
    with pytest.raises(UsageError, match=r"expected (a path|the path of .*), got an empty text"):
        read("")
