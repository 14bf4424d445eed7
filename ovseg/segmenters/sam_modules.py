"""SAM's prompt encoder and mask decoder in plain torch, for the embedded SAM and MobileSAM.

They follow segment-anything (Meta, Apache-2.0): the same names of tensors, and the same operations in the same
order, so that checkpoints fit and outputs are equal to the last bit, which a test holds. The package itself
imports torchvision, which takes seconds; it builds the released models only.

Shapes: B prompts, N tokens, C channels, (h, w) the grid of the image's embedding, P points.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class TwoLayers(nn.Module):
    """The feed-forward part of a transformer block."""

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act = activation

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(self.act(self.lin1(x)))
        return out


def make_neck(width: int, channels: int) -> nn.Sequential:
    """The encoder's tokens (B, width, h, w) to the embedding (B, channels, h, w)."""
    return nn.Sequential(
        nn.Conv2d(width, channels, 1, bias=False),
        LayerNorm2d(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        LayerNorm2d(channels),
    )


class SquareEncoder(nn.Module):
    """An image encoder for a square input of ``img_size`` pixels."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.img_size = side


# ----------------------------------------------------------------------------------- prompt encoder


class FourierPositions(nn.Module):
    """Sine and cosine of positions at random frequencies, which are part of the weights."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.positional_encoding_gaussian_matrix: Tensor
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def forward(self, xy: Tensor) -> Tensor:
        """(..., 2) positions (x, y) in 0..1 to (..., 2 * features)."""
        angles = 2 * math.pi * ((2 * xy - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)


class PromptEncoder(nn.Module):
    """Points, boxes and masks, in pixels of a square input of ``side``, to what the mask decoder reads."""

    def __init__(self, channels: int, side: int, patch: int) -> None:
        super().__init__()
        self.side = side
        self.grid = side // patch
        self.mask_input_size = (4 * self.grid, 4 * self.grid)
        self.pe_layer = FourierPositions(channels // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, 2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, 2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, channels, 1),
        )
        self.no_mask_embed = nn.Embedding(1, channels)

    def get_dense_pe(self) -> Tensor:
        """The positions of the embedding's cells, (1, C, h, w)."""
        centres = (torch.arange(self.grid, device=self.no_mask_embed.weight.device) + 0.5) / self.grid
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        out: Tensor = self.pe_layer(torch.stack([x, y], dim=-1)).permute(2, 0, 1)[None]
        return out

    def forward(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C) of points and corners, and the mask's embedding (B, C, h, w).

        Args:
            points: (B, P, 2) as (x, y), and their labels (B, P), 1 on the object and 0 beside it.
            boxes: (B, 4), (x0, y0, x1, y1).
            masks: (B, 1, 4h, 4w) logits. One of the three is given at least.
        """
        kinds = (None if points is None else points[0], boxes, masks)
        batch = next(len(one) for one in kinds if one is not None)
        unmasked = self.no_mask_embed.weight  # (1, C)
        tokens = [unmasked.new_empty(batch, 0, unmasked.shape[1])]
        if points is not None:
            tokens.append(self._embed_points(*points, ends=boxes is None))
        if boxes is not None:
            tokens.append(self._embed_boxes(boxes))
        if masks is None:
            dense = unmasked.reshape(1, -1, 1, 1).expand(batch, -1, self.grid, self.grid)
        else:
            dense = self.mask_downscaling(masks)
        return torch.cat(tokens, dim=1), dense

    def _embed_points(self, points: Tensor, labels: Tensor, ends: bool) -> Tensor:
        """(B, P, C); with ``ends`` one token more, which stands for "no point", as SAM was trained."""
        if ends:
            points = torch.cat([points, points.new_zeros(len(points), 1, 2)], dim=1)
            labels = torch.cat([labels, labels.new_full((len(labels), 1), -1)], dim=1)
        kinds = (self.not_a_point_embed.weight, self._kind(0), self._kind(1))  # of the labels -1, 0 and 1
        places: Tensor = self.pe_layer((points + 0.5) / self.side)  # a pixel's middle
        return places * (labels >= 0)[..., None] + torch.cat(kinds)[labels.long() + 1]

    def _embed_boxes(self, boxes: Tensor) -> Tensor:
        """(B, 2, C): both corners."""
        corners: Tensor = self.pe_layer((boxes.reshape(-1, 2, 2) + 0.5) / self.side)
        return corners + torch.cat([self._kind(2), self._kind(3)])

    def _kind(self, number: int) -> Tensor:
        return self.get_parameter(f"point_embeddings.{number}.weight")


# ------------------------------------------------------------------------------------- mask decoder


class Attention(nn.Module):
    """Attention of q (B, N, C) to k and v (B, M, C) in ``width / shrink`` channels."""

    def __init__(self, width: int, heads: int, shrink: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width // shrink)
        self.k_proj = nn.Linear(width, width // shrink)
        self.v_proj = nn.Linear(width, width // shrink)
        self.out_proj = nn.Linear(width // shrink, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (self._split(x) for x in (self.q_proj(q), self.k_proj(k), self.v_proj(v)))
        attention = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]), dim=-1)
        out: Tensor = self.out_proj((attention @ v).transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, heads, N, C / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image, then the image attends to the tokens."""

    def __init__(self, width: int, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, heads, shrink=2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = TwoLayers(width, hidden, nn.ReLU())
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, heads, shrink=2)

    def forward(
        self, tokens: Tensor, image: Tensor, prompts: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:  # the tokens are the prompts themselves: nothing to add them to
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        else:
            asked = tokens + prompts
            tokens = self.norm1(tokens + self.self_attn(asked, asked, tokens))
        seen = self.cross_attn_token_to_image(tokens + prompts, image + places, image)
        tokens = self.norm2(tokens + seen)
        tokens = self.norm3(tokens + self.mlp(tokens))
        seen = self.cross_attn_image_to_token(image + places, tokens + prompts, tokens)
        return tokens, self.norm4(image + seen)


class TwoWayTransformer(nn.Module):
    """Tokens (B, N, C) and the image (B, C, h, w) with the positions of its cells, after two blocks."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(width, heads, hidden, first) for first in (True, False))
        self.final_attn_token_to_image = Attention(width, heads, shrink=2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, image: Tensor, places: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """The new tokens (B, N, C) and the new image as (B, h * w, C)."""
        image, places = (x.flatten(2).transpose(1, 2) for x in (image, places))
        tokens = prompts
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompts, places)
        seen = self.final_attn_token_to_image(tokens + prompts, image + places, image)
        return self.norm_final_attn(tokens + seen), image


class Layers(nn.Module):
    """Three linear layers with ReLU between them."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise((width, hidden, hidden, out)))

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        out: Tensor = last(F.relu(second(F.relu(first(x)))))
        return out


class MaskDecoder(nn.Module):
    """Four masks and the estimates of their IoU for each prompt; the first is for when one is wanted."""

    def __init__(self, channels: int, heads: int, hidden: int, iou_hidden: int) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(channels, heads, hidden)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(4, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, 2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, 2),
            nn.GELU(),
        )
        heads_of_masks = (Layers(channels, channels, channels // 8) for _ in range(4))
        self.output_hypernetworks_mlps = nn.ModuleList(heads_of_masks)
        self.iou_prediction_head = Layers(channels, iou_hidden, 4)

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, M, 4h, 4w) and IoUs (B, M): M is 3, or 1 where one mask is wanted.

        Args:
            image_embeddings, image_pe: (1, C, h, w), of one image, and the positions of its cells.
            sparse_prompt_embeddings, dense_prompt_embeddings: (B, N, C) and (B, C, h, w) of the prompts.
            multimask_output: whether several masks are wanted.
        """
        batch = len(sparse_prompt_embeddings)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(batch, -1, -1)
        tokens = torch.cat([own, sparse_prompt_embeddings], dim=1)
        image = image_embeddings + dense_prompt_embeddings
        out, mixed = self.transformer(image, image_pe.expand(batch, -1, -1, -1), tokens)
        fine = self.output_upscaling(mixed.transpose(1, 2).view(image.shape))  # (B, C / 8, 4h, 4w)
        weights = [head(out[:, 1 + k]) for k, head in enumerate(self.output_hypernetworks_mlps)]
        masks = (torch.stack(weights, dim=1) @ fine.flatten(2)).unflatten(2, fine.shape[2:])
        wanted = slice(1, None) if multimask_output else slice(0, 1)
        return masks[:, wanted], self.iou_prediction_head(out[:, 0])[:, wanted]


class Sam(nn.Module):
    """The three networks under the names that segment-anything's ``Sam`` gives them."""

    def __init__(
        self, image_encoder: SquareEncoder, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
