"""The interface between the encoder and an image tower of any family.

What a place means in the common space. The tower's own pooling makes one feature of all its tokens, and only
that feature was trained to be compared with texts. **The feature of a place is what the tower would answer if
its pooling saw this place's token alone.** For each pooling this is what the literature does:

- class token: ``proj(norm(x_i))``, as CLIP does it with its class token (MaskCLIP, CLIP Surgery);
- mean of the places (CLIPA, ViTamin, ConvNeXt, FastViT): the mean of one token is that token, so
  ``head(norm(x_i))``. Where the norm comes before the mean and the head is linear, the mean of the places is
  the image's own feature;
- attention pooling (CLIP's ResNets, CoCa, SigLIP, PE-Core): the softmax over one token is 1 for any
  query, so only the value path is left: ``head(W_o W_v norm(x_i))``, and SigLIP's feed-forward network after it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.attention import Heads


class Layout(NamedTuple):
    """The grid of a batch's places.

    Attributes:
        grid: (h, w).
        rotary: (h*w, 2 * head_dim) sines and cosines of the places where a tower turns its queries and keys.
    """

    grid: tuple[int, int]
    rotary: Tensor | None = None


class Tower(ABC):
    """An image tower that is read and never changed.

    Attributes:
        patch_size: pixels of one place, (height, width).
        native_size: the input (height, width) in pixels that the tower was built for.
        family: the class and the pooling in words, for tables and messages.
    """

    family: str
    patch_size: tuple[int, int]
    native_size: tuple[int, int]


class BlockTower(Tower):
    """A tower of transformer blocks, P leading tokens (the class token, or none) before its N places.

    Attributes:
        prefix: P, 1 or 0.
        reads_class_token: whether the image's feature is made of the first token alone.
        blocks: in order.
    """

    prefix: int
    reads_class_token: bool
    blocks: Sequence[nn.Module]

    @abstractmethod
    def embed(self, pixels: Tensor, how: str) -> tuple[Tensor, Layout]:
        """Pixels (B, 3, H, W) to the first block's input, (B, P+N, C), positions resized as ``how`` says."""

    @abstractmethod
    def heads(self, block: nn.Module, x: Tensor, layout: Layout, queries: bool = True) -> Heads:
        """Queries, keys and values as the block's own attention compares them, after its norms and rotation.

        ``queries=False`` computes the first token's query only.
        """

    @abstractmethod
    def project_attention(self, block: nn.Module, x: Tensor) -> Tensor:
        """What the attention's output (B, heads, N, d) adds to the tokens, (B, N, C)."""

    @abstractmethod
    def feed_forward(self, block: nn.Module, x: Tensor) -> Tensor:
        """What the block's feed-forward network adds to x, (B, N, C)."""

    @abstractmethod
    def pooled(self, x: Tensor) -> Tensor:
        """The image's feature (B, D) from the last block's tokens (B, P+N, C), as the tower makes it.

        A tower that reads its class token takes (B, 1, C) too.
        """

    @abstractmethod
    def places(self, x: Tensor) -> Tensor:
        """Tokens (B, n, C) of the last block to features in the common space, (B, n, D), each on its own."""


def resize_positions(
    positions: Tensor, native: tuple[int, int], grid: tuple[int, int], how: str, prefix: int = 1
) -> Tensor:
    """Resize a position embedding to another grid, as a new tensor.

    It is interpolated in float32; the rows of leading tokens stay as they are. The native grid gives the
    input back, so a model at its own size is exactly its own.

    Args:
        positions: (P+N, C), leading tokens first, then the native grid row by row.
        native: (h, w) of that grid, N = h * w.
        grid: (h, w) wanted.
        how: one of ``attention.POSITIONS``.
        prefix: P.

    Returns:
        (P + h*w, C).
    """
    if native == tuple(grid):
        return positions
    table = positions[prefix:].float().reshape(1, *native, -1).permute(0, 3, 1, 2)  # (1, C, h, w)
    mode, antialias = ("bilinear", False) if how == "bilinear" else ("bicubic", how.endswith("antialias"))
    if how == "bicubic_factor":
        factor = [(wanted + 0.1) / own for wanted, own in zip(grid, native, strict=True)]
        table = F.interpolate(table, scale_factor=factor, mode=mode, align_corners=False)
    else:
        table = F.interpolate(table, size=grid, mode=mode, align_corners=False, antialias=antialias)
    table = table.flatten(2)[0].T.to(positions.dtype)  # (h*w, C)
    return torch.cat([positions[:prefix], table])


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, d) -> (B, N, heads * d)."""
    return x.transpose(1, 2).flatten(2)
