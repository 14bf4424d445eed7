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
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional as F

from ovseg.sam import tiny
from ovseg.scenes import make_scene

VOID = 255
CONFIG = {"side": 128, "patch": 8, "width": 128, "depth": 6, "heads": 4, "channels": 64}
# Share of the photograph crops, and the index that is no object of its own.
PHOTO_SETS = {
    "msrc_v2": (0.3, None),
    "camvid": (0.12, None),
    "coco_things_train": (0.25, 0),
    "coco128_things": (0.15, 0),
    "bsds500_regions": (0.18, None),
}
HELD_OUT = {"bsds500_regions": 8}
SMALLEST = 0.006  # share of the picture below which a region is no target


@dataclass
class Crop:
    """One training picture: pixels (3, S, S) uint8, masks (M, S, S) uint8: 1 object, 0 not, VOID unknown.

    ``inside`` (S, S) bool: what is picture and not padding.
    """

    pixels: np.ndarray
    masks: np.ndarray
    inside: np.ndarray


class Pictures:
    """Pictures with label maps; ``ignored`` is an index that is background for others but no object."""

    def __init__(self, images: list[np.ndarray], labels: list[np.ndarray], ignored: int | None) -> None:
        self.images, self.labels, self.ignored = images, labels, ignored

    def crop(self, rng: np.random.Generator, side: int, prompts: int) -> Crop:
        """A random crop, its long side grown or shrunk to ``side``, padded to the square as SAM does."""
        while True:
            index = int(rng.integers(len(self.images)))
            image, labels = self.images[index], self.labels[index]
            height, width = labels.shape
            scale = math.exp(rng.uniform(math.log(0.35), 0))
            stretch = math.exp(rng.uniform(-0.3, 0.3))
            h = int(np.clip(height * scale * stretch, 24, height))
            w = int(np.clip(width * scale / stretch, 24, width))
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            part = labels[top : top + h, left : left + w]
            regions = self._regions(part)
            if regions:
                break
        size = (max(1, round(w * side / max(h, w))), max(1, round(h * side / max(h, w))))
        how = cv2.INTER_AREA if max(h, w) > side else cv2.INTER_LINEAR
        pixels = cv2.resize(image[top : top + h, left : left + w], size, interpolation=how)
        chosen = [regions[i] for i in rng.integers(len(regions), size=prompts)]
        masks = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in chosen]
        if rng.random() < 0.5:
            pixels, masks = pixels[:, ::-1], [mask[:, ::-1] for mask in masks]
        square = np.zeros((side, side, 3), np.uint8)
        square[: size[1], : size[0]] = recolour(pixels, rng)
        inside = np.zeros((side, side), bool)
        inside[: size[1], : size[0]] = True
        padded = np.full((prompts, side, side), VOID, np.uint8)
        padded[:, : size[1], : size[0]] = masks
        padded[(padded == 1).sum((1, 2)) == 0] = VOID  # vanished by shrinking: nothing to learn from
        return Crop(square.transpose(2, 0, 1), padded, inside)

    def _regions(self, labels: np.ndarray) -> list[np.ndarray]:
        """Connected parts of each class, 1 inside, VOID where unknown; a class in one part now and then whole."""
        found = []
        for k in np.unique(labels):
            if k in (VOID, self.ignored):
                continue
            mask = (labels == k).astype(np.uint8)
            _, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            for index, area in enumerate(stats[1:, cv2.CC_STAT_AREA], 1):
                if SMALLEST * labels.size <= area <= 0.85 * labels.size and area >= 40:
                    region = (parts == index).astype(np.uint8)
                    region[labels == VOID] = VOID
                    found.append(region)
        return found


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation and tint; (H, W, 3) uint8."""
    pixels = image.astype(np.float32)
    grey = pixels.mean(-1, keepdims=True)
    pixels = grey + (pixels - grey) * rng.uniform(0.6, 1.4)
    mean = pixels.mean()
    pixels = (pixels - mean) * rng.uniform(0.7, 1.3) + mean + rng.uniform(-25, 25) + rng.normal(0, 5, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def read_photos(folder: Path, ignored: int | None, held_out: int) -> Pictures:
    images, labels = [], []
    stems = (folder / "train.txt").read_text().split()
    for stem in stems[: len(stems) - held_out]:
        image = cv2.imread(str(folder / "images" / f"{stem}.jpg"))[..., ::-1]
        label = cv2.imread(str(folder / "masks" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        scale = min(1.0, 400 / max(label.shape))  # crops are shrunk to 128 anyhow
        size = (round(label.shape[1] * scale), round(label.shape[0] * scale))
        images.append(cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA))
        labels.append(cv2.resize(label, size, interpolation=cv2.INTER_NEAREST))
    return Pictures(images, labels, ignored)


def read_scenes(seed: int, count: int) -> Pictures:
    scenes = [make_scene(seed + i, (128, 168) if i % 2 else (160, 128)) for i in range(count)]
    return Pictures([s.image for s in scenes], [s.labels for s in scenes], None)


# --------------------------------------------------------------------------------------- prompts


def clicks(
    masks: np.ndarray, rng: np.random.Generator, positives: int, negatives: int
) -> tuple[Tensor, Tensor]:
    """(N, P, 2) and (N, P): positives inside, half of the time well inside; negatives beside, mostly near."""
    points = np.zeros((len(masks), positives + negatives, 2), np.float32)
    labels = np.full((len(masks), positives + negatives), -1, np.int64)  # -1: SAM's padding
    for n, mask in enumerate(masks):
        inside = (mask == 1).astype(np.uint8)
        if not inside.any():
            continue
        depth = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        deep = depth >= (0.5 * depth.max() if rng.random() < 0.6 else 1)
        away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
        reach = max(4.0, 0.7 * math.sqrt(inside.sum())) if rng.random() < 0.7 else np.inf
        beside = (mask == 0) & (away > 2) & (away < reach)
        for places, first, count, label in (
            (deep, 0, positives, 1),
            (beside, positives, negatives, 0),
        ):
            spots = np.flatnonzero(places)
            if count and len(spots):
                y, x = np.divmod(spots[rng.integers(len(spots), size=count)], mask.shape[1])
                points[n, first : first + count] = np.stack([x, y], -1) + 0.5
                labels[n, first : first + count] = label
    return torch.from_numpy(points), torch.from_numpy(labels)


def boxes(masks: np.ndarray, rng: np.random.Generator) -> Tensor:
    """(N, 4) bounds of each object, every side moved by up to a tenth of the box."""
    out = np.zeros((len(masks), 4), np.float32)
    for n, mask in enumerate(masks):
        rows, columns = np.flatnonzero((mask == 1).any(1)), np.flatnonzero((mask == 1).any(0))
        if len(rows):
            box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
            size = np.tile(box[2:] - box[:2], 2)
            out[n] = np.clip(box + rng.uniform(-0.1, 0.1, 4) * size, 0, mask.shape[0])
    return torch.from_numpy(out)


def coarse_maps(masks: np.ndarray, rng: np.random.Generator, low: int) -> Tensor:
    """(N, 1, low, low) logits as ``SegmentAnything.prior`` makes them of a CLIP map: blurred, noisy, moved."""
    out = np.full((len(masks), 1, low, low), -10, np.float32)
    for n, mask in enumerate(masks):
        known = np.flatnonzero((mask != VOID).any(1)), np.flatnonzero((mask != VOID).any(0))
        if not (mask == 1).any():
            continue
        height, width = known[0][-1] + 1, known[1][-1] + 1
        cells = int(rng.integers(10, 26))
        grid = (max(2, round(width * cells / len(mask))), max(2, round(height * cells / len(mask))))
        values = cv2.resize(
            (mask[:height, :width] == 1).astype(np.float32), grid, interpolation=cv2.INTER_AREA
        )
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.3, 1.3))
        values = np.roll(values, rng.integers(-1, 2, 2), (0, 1)) if rng.random() < 0.3 else values
        noise = cv2.GaussianBlur(rng.normal(size=values.shape), (0, 0), rng.uniform(0.5, 2))
        values = values / max(values.max(), 1e-6) + noise / max(noise.std(), 1e-6) * rng.uniform(0, 0.25)
        values = (values - values.min()) / max(float(np.ptp(values)), 1e-6)
        values = values + rng.uniform(-0.15, 0.15)
        shape = (max(1, round(height * low / len(mask))), max(1, round(width * low / len(mask))))
        fine = cv2.resize(values.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
        out[n, 0, : shape[0], : shape[1]] = (fine.clip(0, 1) - 0.5) * 20
    return torch.from_numpy(out)


# ---------------------------------------------------------------------------------------- the model


def decode(sam: Sam, features: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """The decoder's masks (N, 4, low, low) and IoUs (N, 4) for N prompts on N embeddings (N, C, h, w).

    segment-anything's own forward takes one image at a time; ``check`` holds this to it.
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


def losses(logits: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy + dice (N, 4), and the real IoU (N, 4), over known pixels; all (N, 1 or 4, h, w)."""
    share = known.sum((2, 3)).clamp(min=1)
    entropy = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    entropy = (entropy * known).sum((2, 3)) / share
    soft = logits.sigmoid() * known
    overlap = (soft * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (soft.sum((2, 3)) + (target * known).sum((2, 3)) + 1)
    hard, real = ((logits > 0) & (known > 0)), ((target > 0.5) & (known > 0))
    union = (hard | real).sum((2, 3)).clamp(min=1)
    return entropy + dice, (hard & real).sum((2, 3)) / union


def error_clicks(logits: Tensor, masks: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """One click (N, 1, 2), (N, 1) on a pixel that each mask (N, low, low) has wrong; -1 where none is."""
    side = masks.shape[-1]
    full = F.interpolate(logits[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0] > 0
    points, labels = np.zeros((len(masks), 1, 2), np.float32), np.full((len(masks), 1), -1, np.int64)
    for n, (guess, mask) in enumerate(zip(full.numpy(), masks, strict=True)):
        wrong = ((guess != (mask == 1)) & (mask != VOID)).astype(np.uint8)
        depth = cv2.distanceTransform(np.pad(wrong, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        spots = np.flatnonzero(depth >= max(1.0, 0.6 * depth.max()))
        if len(spots):
            y, x = np.divmod(spots[rng.integers(len(spots))], side)
            points[n, 0], labels[n, 0] = (x + 0.5, y + 0.5), mask[y, x]
    return torch.from_numpy(points), torch.from_numpy(labels)


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
        sam = tiny.load(checkpoint=args.init).sam
    else:
        sam = tiny.build(CONFIG)
    check(sam)
    sam.train()
    side, low = CONFIG["side"], 4 * CONFIG["side"] // CONFIG["patch"]
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
        pixels = (pixels - sam.pixel_mean) / sam.pixel_std * inside
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
            tiny.save(average, CONFIG, partial)
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
