"""CLIP for the embedded models in torch alone: importing open_clip takes longer than loading them.

Names of modules and weights, and each operation, are those of open_clip: a state dict fits both, and both give
the same bits.

    pixels ─ VisionTransformer, or pooled.PooledTrunk ─> (B, D)
    tokens ─ embedding + position ─ Transformer, causal ─ end token ─> (B, D)

At the end of the file: open_clip's and timm's classes recognised, and open_clip's files read, without importing
the packages.
"""

from __future__ import annotations

import importlib
import sys
from collections import OrderedDict
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from math import log
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn


def normal(weight: Tensor, std: float) -> Tensor:
    """Fill ``weight`` with normal values, unless it is on the meta device and holds none.

    There, torch would import its compiler to draw nothing.
    """
    return weight if weight.is_meta else nn.init.normal_(weight, std=std)


class Block(nn.Module):
    """A transformer block: norm before attention, norm before the feed-forward network."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ls_1 = nn.Identity()  # where other towers scale what a block adds
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=nn.GELU(), c_proj=nn.Linear(4 * width, width))
        )
        self.ls_2 = nn.Identity()

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Tokens (B, N, C) to (B, N, C); ``attn_mask`` (N, N) is added to the attention's logits."""
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=attn_mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks in sequence."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Tokens (B, N, C) to (B, N, C)."""
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


class VisionTransformer(nn.Module):
    """CLIP's ViT for square images, read at its class token.

    Args:
        image_size: side in pixels.
        patch_size: side of a patch in pixels.
        width: C, of a token.
        layers: number of blocks.
        head_width: of one head of the attention.
        output_dim: D, of the common space.
    """

    # Read by the adapter of open_clip's transformers, whose pooling may differ.
    attn_pool = None
    pool_type = "tok"
    final_ln_after_pool = False

    def __init__(
        self, image_size: int, patch_size: int, width: int, layers: int, head_width: int, output_dim: int
    ) -> None:
        super().__init__()
        side, scale = image_size // patch_size, width**-0.5
        self.image_size, self.patch_size = (image_size, image_size), (patch_size, patch_size)
        self.grid_size = (side, side)
        self.class_embedding = nn.Parameter(normal(torch.empty(width), scale))
        self.positional_embedding = nn.Parameter(normal(torch.empty(side * side + 1, width), scale))
        self.proj = nn.Parameter(normal(torch.empty(width, output_dim), scale))
        self.conv1 = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, width // head_width)
        self.ln_post = nn.LayerNorm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, image_size, image_size) to the image's feature (B, D)."""
        x = self.conv1(pixels).flatten(2).transpose(1, 2)  # (B, N, C)
        x = torch.cat([self.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        x = self.transformer(self.ln_pre(x + self.positional_embedding.to(x.dtype)))
        return self.ln_post(x)[:, 0] @ self.proj


class Clip(nn.Module):
    """An image tower and a causal text transformer, read at its end token.

    Args:
        visual: the image tower, pixels to (B, D).
        embed_dim: D, of the common space.
        width: of a token of a text.
        layers: of the text transformer.
        heads: likewise.
        context_length: tokens of a text, padding included.
        vocab_size: number of distinct tokens.
    """

    logit_bias = None

    def __init__(
        self,
        visual: nn.Module,
        embed_dim: int,
        width: int,
        layers: int,
        heads: int,
        context_length: int = 77,
        vocab_size: int = 49408,
    ) -> None:
        super().__init__()
        self.visual = visual
        self.transformer = Transformer(width, layers, heads)
        table = normal(torch.empty(vocab_size, width), 0.02)
        self.token_embedding = nn.Embedding.from_pretrained(table, freeze=False)
        self.positional_embedding = nn.Parameter(normal(torch.empty(context_length, width), 0.01))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(normal(torch.empty(width, embed_dim), width**-0.5))
        self.logit_scale = nn.Parameter(torch.tensor(log(1 / 0.07)))
        self.attn_mask: Tensor
        # On the CPU also where the rest is built on the meta device, as no file holds it.
        mask = torch.full((context_length, context_length), float("-inf"), device="cpu").triu(1)
        self.register_buffer("attn_mask", mask, persistent=False)
        for name, weight in self.transformer.named_parameters():  # random weights as in CLIP's paper
            if name.endswith("in_proj_weight"):
                normal(weight, width**-0.5)
            elif name.endswith("c_fc.weight"):
                normal(weight, (2 * width) ** -0.5)
            elif name.endswith(("out_proj.weight", "c_proj.weight")):
                normal(weight, (2 * width * layers) ** -0.5)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) of the tower's own size to features (B, D), not normalised."""
        found: Tensor = self.visual(pixels)
        return found

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Token ids (B, L) of the full length to features (B, D), not normalised."""
        x = self.token_embedding(tokens) + self.positional_embedding
        x = self.ln_final(self.transformer(x, attn_mask=self.attn_mask))
        return x[torch.arange(len(x)), tokens.argmax(dim=-1)] @ self.text_projection


# ------------------------------------------------------- open_clip and timm, without importing them


def is_a(thing: object, *names: str) -> bool:
    """Whether ``thing`` is an instance of a class with one of these full names.

    >>> is_a(Block(8, 2), "torch.nn.modules.module.Module"), is_a(Block(8, 2), "timm.models.eva.EvaBlock")
    (True, False)
    """
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(thing).__mro__)


def is_exactly(thing: object, *names: str) -> bool:
    """Whether the class of ``thing`` itself has one of these full names: a subclass may compute otherwise."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}" in names


def open_clip_file(name: str) -> ModuleType:
    """A module of open_clip that imports nothing of its package, such as "tokenizer", read on its own."""
    package = find_spec("open_clip")
    if "open_clip" not in sys.modules and package is not None and package.origin is not None:
        spec = spec_from_file_location(f"{__name__}.{name}", Path(package.origin).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None  # a source file has both
        module = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            return module
        except (ImportError, OSError):  # in another version of open_clip it may import its package
            pass
    return importlib.import_module(f"open_clip.{name}")
