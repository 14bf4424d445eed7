"""How large an image is when it enters the encoder, the image as pixels, and in which precision all is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovseg.errors import UsageError, described
from ovseg.files.sizes import resize_image
from ovseg.maps.similarity import resize
from ovseg.options import InputOptions
from ovseg.options.checks import Size, check_size, pair

WIDEST = 4.0
"""Beyond this ratio of the sides an image is squeezed, so that a strip does not become a giant."""


def whole_patches(size: tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    """The nearest (height, width) made of whole patches, at least one.

    >>> whole_patches((500, 375), (16, 16)), whole_patches((3, 3), (16, 16))
    ((496, 368), (16, 16))
    """
    height, width = (max(1, round(side / step)) * step for side, step in zip(size, patch, strict=True))
    return height, width


def fitted(pixels: Tensor, patch: tuple[int, int], whole: str) -> Tensor:
    """Pixels (B, 3, H, W) with sides of whole patches.

    Args:
        pixels: of any size.
        patch: (height, width) of a token in pixels.
        whole: of the method, one of ``clip.attention.WHOLE``.
    """
    height, width = pixels.shape[2:]
    if whole == "cut":  # a side below one patch has nothing to keep, and is resized
        height, width = (
            side // step * step or side for side, step in zip((height, width), patch, strict=True)
        )
        pixels = pixels[:, :, :height, :width]
    target = whole_patches((height, width), patch)
    return pixels if target == (height, width) else resize(pixels, target)


def input_size(
    shape: tuple[int, int], size: Size | None, short_side: int, patch: tuple[int, int]
) -> tuple[int, int]:
    """The encoder's (height, width) for an image, in whole patches.

    Args:
        shape: (height, width) of the image in pixels.
        size: what was asked for; None for ``short_side`` at the image's aspect ratio, at most ``WIDEST``.
        short_side: the model's own, in pixels.
        patch: (height, width) of a token in pixels.

    Raises:
        UsageError: a size is none.

    >>> input_size((600, 800), None, 352, (16, 16)), input_size((600, 800), 512, 352, (16, 16))
    ((352, 464), (512, 512))
    """
    checked = check_size("size", size)
    if checked is not None:
        return whole_patches(pair(checked), patch)
    sides = check_size("the shape of an image", shape, 2**31 - 1)
    if not isinstance(sides, tuple):
        raise UsageError(f"expected the shape of an image as (height, width), got {described(shape)}")
    long_side = round(short_side * min(WIDEST, max(sides) / min(sides)))
    height, width = sides
    return whole_patches((short_side, long_side) if height <= width else (long_side, short_side), patch)


def check_window(options: InputOptions, patch: tuple[int, int]) -> None:
    """Raise UsageError unless the window is made of whole patches."""
    if options.window is not None and any(
        side < step or side % step for side, step in zip(pair(options.window), patch, strict=True)
    ):
        raise UsageError(f"expected a window in multiples of the patch {patch}, got {options.window}")


def preprocess(
    images: Sequence[NDArray[np.uint8]], size: tuple[int, int], resize: str, mean: Tensor, std: Tensor
) -> Tensor:
    """Images (H, W, 3) uint8 RGB, stretched to ``size`` and normalised: (B, 3, height, width).

    Args:
        images: at least one.
        size: (height, width) in pixels.
        resize: one of ``ovseg.options.RESIZES``.
        mean, std: (3, 1, 1) for values in 0..1; the result is on their device.

    Raises:
        UsageError: no list of images.
    """
    several = isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim > 0)
    if not several or not len(images):
        raise UsageError(f"expected a list of at least one image (H, W, 3), got {described(images)}")
    resized = np.stack([resize_image(image, size, resize) for image in images])
    pixels = torch.from_numpy(resized).to(mean.device).permute(0, 3, 1, 2).float() / 255
    return (pixels - mean) / std


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Switch off the caller's autocast, which would compute cosines in half precision."""
    with ExitStack() as stack:
        for kind in {"cpu", device.type}:
            if torch.amp.is_autocast_available(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield
