"""Train the embedded CLIP on generated scenes and on photographs with pixel labels.

    python tools/train_tiny_clip.py --photos ../shared/photos --minutes 85 --out tiny_clip.safetensors

The task is name-the-crop. A crop of a picture is shown; its caption names the classes in it. Two
losses share one image pass: the image feature against the names of its data set (soft target: the
share of the crop that each class covers), and image against whole captions within the batch (soft
target: overlap of the two sets of classes). Pixels never get a target of their own: that the dense
features mean anything is CLIP's doing and the methods', which is what the model is there to show.

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
import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip import embedded
from ovseg.clip.attention import METHODS
from ovseg.clip.encoder import encode_image
from ovseg.clip.plain import Clip
from ovseg.clip.text import TEMPLATES
from ovseg.evaluation.data.scenes import NAMES, make_scene

VOID = 255
# Per photograph set: its share of the photograph steps, and classes that are no use as a name.
PHOTO_SETS = {
    "msrc_v2": (0.55, {"horse", "mountain"}),
    "camvid": (0.25, set()),
    "coco_things_train": (0.1, {"background"}),
    "coco128_things": (0.1, {"background"}),
}
SYNONYMS = {"airplane": "aeroplane"}  # one word for one thing across the sets
CONFIG = {
    "embed_dim": 128,
    "vision_cfg": {"layers": 6, "width": 128, "head_width": 64, "patch_size": 8, "image_size": 64},
    "text_cfg": {"layers": 3, "width": 128, "heads": 2, "context_length": 77, "vocab_size": 49408},
    "quick_gelu": False,
}


@dataclass
class LabelledSet:
    """Pictures with pixel labels, and for each class the pictures that show it."""

    names: list[str]
    images: list[np.ndarray]  # (H, W, 3) uint8
    labels: list[np.ndarray]  # (H, W) uint8, VOID where nothing is named

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.showing: dict[int, list[tuple[int, np.ndarray]]] = {}  # class -> (picture, places (P, 2))
        for index, label in enumerate(self.labels):
            for k, count in enumerate(np.bincount(label.ravel(), minlength=256)[:VOID]):
                if count >= 150:
                    places = np.argwhere(label == k)[rng.integers(0, count, 200)]  # (y, x)
                    self.showing.setdefault(k, []).append((index, places))
        self.classes = sorted(self.showing)
        often = np.array([len(self.showing[k]) for k in self.classes], float) ** 0.5
        self.odds = often / often.sum()


def read_photos(folder: Path, unused: set[str]) -> LabelledSet:
    names = [SYNONYMS.get(n, n) for n in (folder / "classes.txt").read_text().split("\n") if n]
    images, labels = [], []
    for stem in (folder / "train.txt").read_text().split():
        image = cv2.imread(str(folder / "images" / f"{stem}.jpg"))[..., ::-1]
        label = cv2.imread(str(folder / "masks" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        for name in unused:
            label[label == names.index(name)] = VOID
        images.append(np.ascontiguousarray(image))
        labels.append(label)
    return LabelledSet(names, images, labels)


def read_scenes(seed: int, count: int) -> LabelledSet:
    scenes = [make_scene(seed + i, (112, 112)) for i in range(count)]
    return LabelledSet(list(NAMES), [s.image for s in scenes], [s.labels for s in scenes])


def draw_crop(data: LabelledSet, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A crop shrunk or grown to ``size`` (3, size, size) float32 0..1, and its classes' shares (K,).

    Half of the crops are small and centred on a pixel of a class drawn evenly, half are anywhere.
    """
    while True:
        target = rng.choice(data.classes, p=data.odds)
        showing = data.showing[target]
        index, places = showing[rng.integers(len(showing))]
        image, label = data.images[index], data.labels[index]
        height, width = label.shape
        short = min(height, width)
        if rng.random() < 0.5:
            side = short * math.exp(rng.uniform(math.log(0.14), math.log(0.6)))
            cy, cx = places[rng.integers(len(places))] + rng.normal(0, side / 6, 2)
        else:
            side = short * math.exp(rng.uniform(math.log(0.2), 0))
            cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        stretch = math.exp(rng.uniform(-0.2, 0.2))
        h, w = (int(min(short, max(12, s))) for s in (side * stretch, side / stretch))
        top = int(np.clip(cy - h / 2, 0, height - h))
        left = int(np.clip(cx - w / 2, 0, width - w))
        patch, names = image[top : top + h, left : left + w], label[top : top + h, left : left + w]
        counts = np.bincount(names.ravel(), minlength=256)[: len(data.names)].astype(np.float32)
        counts[counts < 0.03 * names.size] = 0
        if counts.sum() >= 0.25 * names.size:
            break
    how = cv2.INTER_AREA if min(h, w) > size else cv2.INTER_LINEAR
    patch = cv2.resize(patch, (size, size), interpolation=how).astype(np.float32) / 255
    return recolour(patch, rng), counts / counts.sum()


def draw_mixed(data: LabelledSet, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A crop, in half of the cases with a part of another in it: neighbours then tell nothing."""
    pixels, shares = draw_crop(data, rng, size)
    if rng.random() < 0.5:
        return pixels, shares
    other, other_shares = draw_crop(data, rng, size)
    height, width = (int(side) for side in rng.uniform(0.4, 0.9, 2) * size)
    top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    pixels[:, top : top + height, left : left + width] = other[:, :height, :width]
    share = height * width / size**2
    return pixels, (1 - share) * shares + share * other_shares


def recolour(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip, brightness, contrast, saturation, a little tint and blur; (H, W, 3) -> (3, H, W)."""
    if rng.random() < 0.5:
        patch = patch[:, ::-1]
    if rng.random() < 0.2:
        patch = cv2.GaussianBlur(patch, (0, 0), rng.uniform(0.3, 1.0))
    grey = patch.mean(-1, keepdims=True)
    patch = grey + (patch - grey) * rng.uniform(0.6, 1.4)
    patch = (patch - patch.mean()) * rng.uniform(0.7, 1.3) + patch.mean() + rng.uniform(-0.12, 0.12)
    return np.clip(patch + rng.normal(0, 0.025, 3), 0, 1).transpose(2, 0, 1).astype(np.float32)


class Prompts:
    """Tokenised prompts over the rows of the embedding that training touches."""

    def __init__(self, sets: list[LabelledSet]) -> None:
        tokenize = open_clip.get_tokenizer("ViT-B-32")
        words = [t.format(n) for t in TEMPLATES["paper"] for n in ("", " and ", ", ")]
        words += [f"a {n} on" for s in sets for n in s.names] + [n for s in sets for n in s.names]
        used = torch.unique(tokenize(words)).tolist()
        self.tokenize, self.ids = tokenize, used
        self.row = torch.zeros(49408, dtype=torch.long)
        self.row[used] = torch.arange(len(used))

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Rows of the small embedding (B, L), cut to the longest prompt, and each end's place (B,)."""
        tokens = self.tokenize(texts)
        ends = tokens.argmax(dim=-1)
        return self.row[tokens[:, : int(ends.max()) + 1]], ends


def encode_prompts(model: Clip, rows: Tensor, ends: Tensor) -> Tensor:
    length = rows.shape[1]
    x = model.token_embedding(rows) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x[torch.arange(len(ends)), ends]) @ model.text_projection
    return F.normalize(x, dim=-1)


def caption_of(share: np.ndarray, names: list[str], rng: np.random.Generator) -> str:
    present = [names[k] for k in np.argsort(-share) if share[k] > 0][:4]
    if rng.random() < 0.05:
        return ""  # the empty string stands for any picture: the redundant feature
    if rng.random() < 0.3:
        rng.shuffle(present)
    return (" and " if rng.random() < 0.5 else ", ").join(present)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    photos = [read_photos(args.photos / name, unused) for name, (_, unused) in PHOTO_SETS.items()]
    odds = np.array([share for share, _ in PHOTO_SETS.values()])
    scenes = read_scenes(10_000_000, 3000)  # far from the seeds that tests draw from
    prompts = Prompts([scenes, *photos])
    model = embedded.build({**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "vocab_size": len(prompts.ids)}})
    if args.init:
        start = embedded.load("tiny", args.init).state_dict()
        start["token_embedding.weight"] = start["token_embedding.weight"][prompts.ids]
        model.load_state_dict(start)
    model.train()
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN)[:, None, None]
    std = torch.tensor(open_clip.OPENAI_DATASET_STD)[:, None, None]
    average = copy.deepcopy(model).requires_grad_(False)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.98), fused=True,
    )  # fmt: skip

    def image_features(pixels: Tensor) -> Tensor:
        tokens = encode_image(model.visual, pixels, METHODS["clip"], patches=False)
        return F.normalize(tokens.class_token, dim=-1)

    forward = torch.compile(image_features, dynamic=False) if args.compile else image_features
    spent, step, saved, running = 0.0, 0, 0.0, np.zeros(3)
    while spent < args.minutes * 60:
        started = time.perf_counter()
        progress = spent / (args.minutes * 60)
        lr = args.lr * min(1, (step + 1) / 300) * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-5
        for group in optimizer.param_groups:
            group["lr"] = lr
        early = not args.init and progress < 0.45  # small pictures first
        size = 48 if early else 64 if progress < 0.7 else (64, 96)[step % 2]
        batch = args.batch if size < 96 else args.batch // 2
        if step % 400 == 399:  # fresh scenes: the generator is the data set
            scenes = read_scenes(10_000_000 + step * 10, 600)

        photo = photos[rng.choice(len(photos), p=odds)]
        cut = int(batch * args.scene_share)
        parts = [(scenes, cut), (photo, batch - cut)]
        drawn = [[draw_mixed(data, rng, size) for _ in range(count)] for data, count in parts]
        pixels = torch.from_numpy(np.stack([p for part in drawn for p, _ in part]))
        images = forward((pixels - mean) / std)  # (B, D)

        templates = TEMPLATES["paper"]
        scale = model.logit_scale.exp()
        banks, shown = [data.names for data, _ in parts], parts[0][1]
        names = [str(rng.choice(templates)).format(n) for bank in banks for n in bank]
        chosen = rng.choice(batch, min(batch, 32), replace=False)
        captions, sets = [], []
        for i in chosen:
            part, place = (0, i) if i < shown else (1, i - shown)
            share = drawn[part][place][1]
            captions.append(str(rng.choice(templates)).format(caption_of(share, banks[part], rng)))
            sets.append({banks[part][k] for k in np.flatnonzero(share)})
        texts = encode_prompts(model, *prompts(names + captions))
        first, second = texts[: len(banks[0])], texts[len(banks[0]) : len(names)]

        shares = [torch.from_numpy(np.stack([s for _, s in part])) for part in drawn]
        name_loss = (
            soft_cross_entropy(scale * images[:shown] @ first.T, shares[0]) * shown
            + soft_cross_entropy(scale * images[shown:] @ second.T, shares[1]) * (batch - shown)
        ) / batch
        overlap = torch.tensor([[len(a & b) / len(a | b) for b in sets] for a in sets])
        overlap = overlap / overlap.sum(dim=-1, keepdim=True)
        logits = scale * images[torch.from_numpy(chosen)] @ texts[len(names) :].T
        caption_loss = (soft_cross_entropy(logits, overlap) + soft_cross_entropy(logits.T, overlap)) / 2
        loss = name_loss + 0.5 * caption_loss

        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(50))
            keep = min(0.999, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
        right = (images[shown:].detach() @ second.detach().T).argmax(1) == shares[1].argmax(1)
        running = 0.99 * running + 0.01 * np.array(
            [name_loss.item(), caption_loss.item(), right.float().mean().item()]
        )
        step += 1
        spent += min(time.perf_counter() - started, 5.0)  # a pause is not training
        if step % 100 == 0:
            shown_losses = running / (1 - 0.99**step)
            print(
                f"step {step}  {spent / 60:.1f} min  lr {lr:.1e}  names {shown_losses[0]:.3f}  "
                f"captions {shown_losses[1]:.3f}  right on photographs {shown_losses[2]:.3f}  "
                f"scale {scale.item():.1f}",
                flush=True,
            )
        if spent - saved > 240 or spent >= args.minutes * 60:
            saved = spent
            write(average, prompts.ids, args.out)
    print(f"{step} steps, wrote {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")


def write(model: Clip, ids: list[int], path: Path) -> None:
    """The averaged weights with the small embedding's rows put back at their tokens' places."""
    full = embedded.build(CONFIG)
    state = model.state_dict()
    table = torch.zeros(CONFIG["text_cfg"]["vocab_size"], CONFIG["text_cfg"]["width"])
    table[ids] = state["token_embedding.weight"]
    full.load_state_dict({**state, "token_embedding.weight": table})
    partial = path.with_suffix(".partial")
    embedded.save(full, CONFIG, ids, partial)
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with msrc_v2, camvid, coco_…")
    parser.add_argument("--minutes", type=float, default=90, help="time spent in steps")
    parser.add_argument("--init", type=Path, help="weights to go on from")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--scene-share", type=float, default=0.35, help="share of a batch that is scenes")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="torch.compile the image tower")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
