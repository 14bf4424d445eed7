"""Arrays and tensors: taken where layout and range leave no doubt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovseg.errors import UsageError
from ovseg.files.pictures import load_image

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
GREY = RGB[..., 0]


class LikeAnArray:
    def __array__(self, dtype=None, copy=None):
        return RGB


@pytest.mark.parametrize(
    "source, wanted",
    [
        (RGB[::-1], RGB[::-1]),
        (RGB.transpose(2, 0, 1), RGB),
        (GREY, np.stack([GREY] * 3, 2)),
        (GREY[..., None], np.stack([GREY] * 3, 2)),
        (np.concatenate([RGB, np.full((6, 8, 1), 255, np.uint8)], 2), RGB),
        (RGB / 255, RGB),
        (RGB.astype(np.float32) / 255, RGB),
        (RGB.astype(np.float32) / 127.5 - 1, RGB),
        (RGB.astype(np.float64), RGB),
        (RGB.astype(np.uint16) * 257, RGB),
        (RGB.astype(np.int64), RGB),
        (GREY > 100, np.stack([(GREY > 100) * 255] * 3, 2)),
        (torch.from_numpy(RGB), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1) / 255, RGB),
        ((torch.from_numpy(RGB) / 255).requires_grad_(), RGB),
        (LikeAnArray(), RGB),
    ],
)
def test_unambiguous_arrays_are_taken(source, wanted):
    found = load_image(source)
    assert found.dtype == np.uint8 and found.flags.c_contiguous and np.array_equal(found, wanted)


def test_bfloat16_of_a_model(tmp_path):
    picture = (torch.from_numpy(GREY) / 255).bfloat16()
    assert np.abs(load_image(picture)[..., 0].astype(int) - GREY).max() <= 1


class Elsewhere(torch.Tensor):
    """A tensor that refuses NumPy until it was brought to the CPU, as one on a GPU does."""

    asked: list[str] = []  # noqa: RUF012

    def __array__(self, dtype=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def numpy(self):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self):
        self.asked.append("cpu")
        return torch.Tensor.as_subclass(self, torch.Tensor)


def test_a_tensor_of_another_device_is_brought_to_the_cpu():
    tensor = torch.from_numpy(RGB.astype(np.float32) / 255).as_subclass(Elsewhere)
    assert np.array_equal(load_image(tensor), RGB) and Elsewhere.asked


@pytest.mark.parametrize(
    "wrong, message",
    [
        (np.zeros((0, 4, 3), np.uint8), r"with pixels, got \(0, 4, 3\) uint8"),
        (np.zeros((4, 0), np.uint8), "with pixels"),
        (np.zeros(7), r"got \(7,\)"),
        (np.zeros(()), r"got \(\)"),
        (np.zeros((1, 6, 8, 3), np.uint8), r"one picture .*got \(1, 6, 8, 3\)"),
        (np.zeros((6, 8, 2), np.uint8), r"got \(6, 8, 2\)"),
        (np.zeros((4, 6, 8), np.uint8), r"got \(4, 6, 8\)"),
        (np.zeros((6, 8, 5), np.uint8), r"got \(6, 8, 5\)"),
        (np.array([["a"]]), "array of numbers"),
        (np.array([[None]]), "array of numbers"),
        (np.zeros((2, 2), complex), "array of numbers"),
        (np.array([[0.0, np.nan]]), "finite values.*with NaN"),
        (np.array([[0.0, np.inf]]), "finite values"),
        (np.array([[0.0, 10000.0]]), "range cannot be told"),
        (np.array([[-3.0, 3.0]]), "range cannot be told"),
        (np.array([[-5, 3]]), "range cannot be told"),
        (np.ma.masked_array(GREY, GREY > 9), "without a mask"),
        (torch.zeros(2, 2, device="meta"), "a Tensor that is no array"),
        (torch.zeros(1, 3, 2, 2), r"got \(1, 3, 2, 2\)"),
        (torch.zeros(2, 2).to_sparse(), "a Tensor that is no array"),
    ],
)
def test_other_arrays_are_misuse_in_one_line(wrong, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_image(wrong)
    assert "\n" not in str(caught.value)


def test_reading_images_loads_no_torch():
    import subprocess
    import sys

    code = (
        "import numpy as np, sys, ovseg.files.pictures as i, ovseg.files.write; "
        "i.load_image(np.zeros((4, 4), np.uint8)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
