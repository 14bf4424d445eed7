"""Label maps of the configs of NACLIP and ClearCLIP against their segmentors' arithmetic, on random weights.

The peers' arithmetic is written out here with torch.nn.functional alone, image by image and window by window, as
their published segmentors do it in float32. Inputs are off the native grid and their sides no whole patches.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch.nn import functional as F

CONFIGS = Path(__file__).parents[2] / "configs"


def positions(visual, grid):
    """The table of positions on another grid: bicubic, by the factor (n + 0.1) / native."""
    side = visual.grid_size[0]
    if grid == (side, side):
        return visual.positional_embedding
    table = visual.positional_embedding[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    factor = ((grid[0] + 0.1) / side, (grid[1] + 0.1) / side)
    table = F.interpolate(table, scale_factor=factor, mode="bicubic", align_corners=False)
    assert table.shape[2:] == grid
    return torch.cat([visual.positional_embedding[:1], table[0].permute(1, 2, 0).flatten(0, 1)])


def nearness(grid):
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    far = (rows.flatten()[:, None] - rows.flatten()) ** 2 + (
        columns.flatten()[:, None] - columns.flatten()
    ) ** 2
    return F.pad(torch.exp(-far / 50.0), (1, 0, 1, 0))


def tokens(visual, pixels, own):
    """Unit patch tokens (N, D) and the grid; what is beyond whole patches falls off in the convolution."""
    x = visual.conv1(pixels[None])
    grid = (x.shape[2], x.shape[3])
    x = torch.cat([visual.class_embedding[None], x[0].flatten(1).T])
    x = visual.ln_pre(x + positions(visual, grid))[None]
    blocks = list(visual.transformer.resblocks)
    for block in blocks[:-1]:
        h = block.ln_1(x)
        x = x + block.attn(h, h, h, need_weights=False)[0]
        x = x + block.mlp(block.ln_2(x))
    attn = blocks[-1].attn
    q, k, v = F.linear(blocks[-1].ln_1(x)[0], attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
    q, k, v = (u.unflatten(-1, (attn.num_heads, -1)).transpose(0, 1) for u in (q, k, v))
    share = (own(q, k) * v.shape[-1] ** -0.5 + (nearness(grid) if own is keys else 0)).softmax(dim=-1)
    x = visual.ln_post(attn.out_proj((share @ v).transpose(0, 1).flatten(1))) @ visual.proj
    return F.normalize(x[1:], dim=-1), grid


def keys(q, k):
    return k @ k.transpose(1, 2)


def queries(q, k):
    return q @ q.transpose(1, 2)


def forward(visual, pixels, text, own):
    """Cosines (T, H, W), enlarged to the size of the input."""
    found, grid = tokens(visual, pixels, own)
    maps = (found @ text.T).T.unflatten(-1, grid)[None]
    return F.interpolate(maps, size=pixels.shape[1:], mode="bilinear")[0]


def slide(visual, pixels, text, own, crop, stride):
    height, width = pixels.shape[1:]
    total, count = torch.zeros(len(text), height, width), torch.zeros(height, width)
    for row in range(max(height - crop + stride - 1, 0) // stride + 1):
        for column in range(max(width - crop + stride - 1, 0) // stride + 1):
            bottom, right = min(row * stride + crop, height), min(column * stride + crop, width)
            top, left = max(bottom - crop, 0), max(right - crop, 0)
            total[:, top:bottom, left:right] += forward(visual, pixels[:, top:bottom, left:right], text, own)
            count[top:bottom, left:right] += 1
    return total / count


def labels(logits, size, owners, scale, threshold):
    """The background class comes first, and gets what no class reaches the threshold for."""
    maps = (F.interpolate(logits[None], size=size, mode="bilinear")[0] * scale).softmax(dim=0)
    owners = torch.tensor(owners)
    maps = torch.stack([maps[owners == one].amax(dim=0) for one in range(int(owners.max()) + 1)])
    best, found = maps.max(dim=0)
    found[best < threshold] = 0
    return found


# The tower's native side is 64 px: input and windows are as much larger as the configs' are than 224.
CASES = {
    "naclip": ((99, 140), forward, {}, keys),
    "clearclip": ((128, 171), partial(slide, crop=128, stride=64), {"window": 128, "stride": 64}, queries),
}


@pytest.mark.parametrize("family", CASES)
def test_label_maps_equal_the_peers(family):
    size, theirs, windows, own = CASES[family]
    (path,) = (CONFIGS / family).glob("*_voc21-*.py")
    fields = Config.fromfile(path).model
    fields.update(backbone="tiny", weights="random", templates="plain", cache=False, **windows)
    torch.manual_seed(7)
    # Random weights are sure of nothing: a threshold that some pixels reach and others do not.
    fields["background_threshold"] = 0.055 if family == "naclip" else 0.06
    segmentor = MODELS.build(fields)
    visual, vocabulary = segmentor.clip.visual, segmentor.vocabulary
    text = segmentor.core.encode_text(vocabulary.flat, "plain")
    pixels = torch.randn(3, *size, generator=torch.Generator().manual_seed(3))
    original = (190, 263)
    with torch.no_grad():
        logits = theirs(visual, pixels, text, own)
    options = segmentor.options
    wanted = labels(logits, original, vocabulary.owners, options.logit_scale, options.background_threshold)

    def agreement():
        sample = SegDataSample(metainfo={"ori_shape": original})
        found = segmentor.predict([pixels], [sample])[0].pred_sem_seg.data[0]
        return float((found == wanted).float().mean())

    shares = np.bincount(wanted.flatten()) / wanted.numel()
    assert (shares > 0.01).sum() >= 4  # otherwise equal maps would say little
    assert agreement() >= 0.9999
    other = replace(segmentor.core.method, resize="bicubic", whole="fitted")
    segmentor.core = segmentor.core.with_method(other)
    assert agreement() < 0.998
