"""Train the embedded SAM on generated scenes and on the region masks of photographs.

    python tools/train_tiny_sam.py --photos ../shared/photos --minutes 100 --out tiny_sam.safetensors

Every step shows crops with one kind of prompt each: clicks, clicks with a coarse map as the first
mask, or a box; half of the steps go on with the chosen mask's logits and a click on its error, as
SAM was trained. Cross-entropy and dice on the best of the three masks and, besides, on the single
mask (with the best of three alone its token dies); the IoU head learns what each mask really has.
Never seen in training: the val parts of the photographs, the last eight of bsds500_regions, and
scenes with seeds below ten million.

Training stops when ``--minutes`` have been spent in steps, so it can be paused and slowed down.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
from mask_losses import losses
from tiny_sam_data import (
    HELD_OUT,
    PHOTO_SETS,
    VOID,
    boxes,
    clicks,
    coarse_maps,
    error_clicks,
    read_photos,
    read_scenes,
)
from torch import Tensor
from torch.nn import functional as F

from ovseg.options import DeviceOptions
from ovseg.segmenters import tiny
from ovseg.segmenters.sam import PIXEL_MEAN, PIXEL_STD
from ovseg.segmenters.sam_modules import Sam

SHAPE = tiny.Shape(side=128, patch=8, width=128, depth=6, heads=4, channels=64)


def decode(sam: Sam, features: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """The decoder's masks (N, 4, low, low) and IoUs (N, 4) for N prompts on N embeddings (N, C, h, w).

    The decoder's own forward takes one image at a time; ``check`` holds this to it.
    """
    decoder = sam.mask_decoder
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([tokens.expand(len(sparse), -1, -1), sparse], dim=1)
    places = sam.prompt_encoder.get_dense_pe().expand(len(sparse), -1, -1, -1)
    hidden, source = decoder.transformer(features + dense, places, tokens)
    source = source.transpose(1, 2).reshape(features.shape)
    upscaled = decoder.output_upscaling(source)
    heads = enumerate(decoder.output_hypernetworks_mlps)
    weights = torch.stack([head(hidden[:, 1 + i]) for i, head in heads], dim=1)
    masks = torch.einsum("nkc,nchw->nkhw", weights, upscaled)
    return masks, decoder.iou_prediction_head(hidden[:, 0])


def check(sam: Sam) -> None:
    side = sam.image_encoder.img_size
    with torch.no_grad():
        features = sam.image_encoder(torch.randn(1, 3, side, side))
        points = (torch.rand(2, 3, 2) * side, torch.tensor([[1, 0, 1], [1, 1, 0]]))
        sparse, dense = sam.prompt_encoder(points=points, boxes=None, masks=None)
        ours, _ = decode(sam, features.expand(2, -1, -1, -1), sparse, dense)
        places = sam.prompt_encoder.get_dense_pe()
        theirs, _ = sam.mask_decoder(features, places, sparse, dense, multimask_output=True)
    torch.testing.assert_close(ours[:, 1:], theirs, rtol=1e-4, atol=1e-5)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    photos = [
        read_photos(args.photos / name, ignored, HELD_OUT.get(name, 0))
        for name, (_, ignored) in PHOTO_SETS.items()
    ]
    odds = np.array([share for share, _ in PHOTO_SETS.values()])
    scenes = read_scenes(10_000_000, 1500)
    if args.init:
        sam = tiny.load("tiny", args.init, DeviceOptions()).sam
    else:
        sam = tiny.build(SHAPE)
    check(sam)
    sam.train()
    side, low = SHAPE.side, 4 * SHAPE.side // SHAPE.patch
    mean, std = (torch.tensor(row).view(3, 1, 1) for row in (PIXEL_MEAN, PIXEL_STD))
    average = copy.deepcopy(sam).requires_grad_(False)
    parameters = list(sam.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=args.lr, betas=(0.9, 0.98), fused=True,
    )  # fmt: skip
    encoder = torch.compile(sam.image_encoder, dynamic=False) if args.compile else sam.image_encoder
    spent, step, saved, running = 0.0, 0, 0.0, np.zeros(4)
    while spent < args.minutes * 60:
        started = time.perf_counter()
        progress = spent / (args.minutes * 60)
        lr = args.lr * min(1, (step + 1) / 500) * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-5
        for group in optimizer.param_groups:
            group["lr"] = lr
        if step % 1000 == 999:
            scenes = read_scenes(10_000_000 + step * 10, 400)
        crops = []
        for _ in range(args.batch):
            drawn = scenes if rng.random() < args.scene_share else photos[rng.choice(len(photos), p=odds)]
            crops.append(drawn.crop(rng, side, args.prompts))
        pixels = torch.from_numpy(np.stack([c.pixels for c in crops])).float()
        masks = np.concatenate([c.masks for c in crops])  # (N, S, S)
        inside = torch.from_numpy(np.stack([c.inside for c in crops]))[:, None]
        pixels = (pixels - mean) / std * inside
        with torch.autocast("cpu", torch.bfloat16):
            features = encoder(pixels).repeat_interleave(args.prompts, 0)
        target = torch.from_numpy((masks == 1).astype(np.float32))[:, None]
        known = torch.from_numpy((masks != VOID).astype(np.float32))[:, None]
        target, known = (F.adaptive_avg_pool2d(u, low) for u in (target, known))
        target = target / known.clamp(min=1e-6)
        known = (known > 0.5).float() * (target.sum((2, 3), keepdim=True) > 0)

        points = box = coarse = None
        kind = rng.choice(4, p=[0.35, 0.4, 0.15, 0.1])  # clicks, map and clicks, box, map alone
        if kind < 2:
            points = clicks(masks, rng, int(rng.integers(1, 4)), int(rng.integers(0, 5)))
        if kind in (1, 3):
            coarse = coarse_maps(masks, rng, low)
        if kind == 2:
            box = boxes(masks, rng)
        loss: Tensor | float = 0.0
        for turn in range(2 if rng.random() < 0.4 else 1):
            with torch.autocast("cpu", torch.bfloat16):  # half the time; weights and losses stay float32
                sparse, dense = sam.prompt_encoder(points=points, boxes=box, masks=coarse)
                logits, guesses = (u.float() for u in decode(sam, features, sparse, dense))
            error, real = losses(logits, target, known)
            best = error[:, 1:].argmin(1, keepdim=True)
            mask_loss = error[:, 1:].gather(1, best).mean() + 0.05 * error[:, 1:].mean()
            iou_loss = (guesses - real).square().mean()
            loss = loss + mask_loss + 0.5 * error[:, 0].mean() + iou_loss
            if turn == 0:
                first = error, real, guesses
                chosen = guesses[:, 1:].argmax(1)
                coarse = logits[:, 1:][torch.arange(len(chosen)), chosen][:, None].detach()
                more = error_clicks(coarse[:, 0], masks, rng)
                points = (
                    more
                    if points is None
                    else (torch.cat([points[0], more[0]], 1), torch.cat([points[1], more[1]], 1))
                )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            keep = min(0.9995, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), parameters, 1 - keep)
        error, real, guesses = first
        picked = real[:, 1:].gather(1, guesses[:, 1:].argmax(1, keepdim=True)).mean()
        shown = (loss.item(), real[:, 1:].amax(1).mean().item(), picked.item(), real[:, 0].mean().item())
        running = 0.99 * running + 0.01 * np.array(shown)
        step += 1
        spent += min(time.perf_counter() - started, 5.0)  # a pause is not training
        if step % 100 == 0:
            values = running / (1 - 0.99**step)
            print(
                f"step {step}  {spent / 60:.1f} min  lr {lr:.1e}  loss {values[0]:.3f}  best of three "
                f"{values[1]:.3f}  chosen {values[2]:.3f}  single {values[3]:.3f}",
                flush=True,
            )
        if spent - saved > 180 or spent >= args.minutes * 60:
            saved = spent
            partial = args.out.with_suffix(".partial")
            tiny.save(average, SHAPE, partial)
            partial.replace(args.out)
    print(f"{step} steps, wrote {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with msrc_v2, camvid, coco_…")
    parser.add_argument("--minutes", type=float, default=100, help="time spent in steps")
    parser.add_argument("--init", type=Path, help="weights to go on from")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument("--batch", type=int, default=12, help="pictures a step")
    parser.add_argument("--prompts", type=int, default=4, help="prompts a picture")
    parser.add_argument("--scene-share", type=float, default=0.25, help="share of a batch that is scenes")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="torch.compile the image encoder")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
