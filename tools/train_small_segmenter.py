"""Train the embedded segmenter "small": a decoder on the frozen trunk of the embedded CLIP "small".

    python tools/train_small_segmenter.py maps  --photos ../shared/photos --maps maps.npz --minutes 12
    python tools/train_small_segmenter.py train --photos ../shared/photos --maps maps.npz --minutes 85 \\
        --out segmenter.pt
    python tools/train_small_segmenter.py pack  segmenter.pt --out ovseg/weights/assets/small_segmenter.safetensors

``maps`` keeps the product's own maps of the words in training pictures, because these are the prompts that the
segmenter will get; pictures that the CLIP never saw come first, as its maps of the others are too good. ``train``
needs no more than one core; it ends after ``--minutes`` of wall time with a rate of 0, and goes on from the file
``--out`` where that exists. Only the training parts of the sets are read. ``pack`` writes the asset from the
averaged weights of a checkpoint.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from small_segmenter.maps import make_maps, read_maps
from small_segmenter.pictures import SHARES, read_pictures
from small_segmenter.training import Trainer

from ovseg.clip import embedded
from ovseg.segmenters import small
from ovseg.segmenters.small_modules import SmallSegmenterNet, channels_of
from ovseg.weights.files import file_digest

SEEN = {"voc2012_sharp": "voc2012"}  # sets whose pictures the CLIP has seen in part, under another name


def maps(args: argparse.Namespace) -> None:
    """Keep the product's own maps."""
    pictures = [one for name in SHARES for one in read_pictures(args.photos, name) if one.names]
    random.Random(0).shuffle(pictures)
    known = {
        f"{name}/{stem}"
        for name, other in SEEN.items()
        for stem in (args.photos / other / "train.txt").read_text().split()
    }
    pictures.sort(key=lambda one: one.key in known)
    make_maps(pictures, args.maps, args.minutes)


def train(args: argparse.Namespace) -> None:
    """Train the decoder."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    found = read_maps(args.maps) if args.maps else {}
    sets = {name: read_pictures(args.photos, name) for name in SHARES}
    for picture in (one for pictures in sets.values() for one in pictures):
        picture.maps = found.get(picture.key, {})
    count = {name: f"{sum(bool(one.maps) for one in own)}/{len(own)}" for name, own in sets.items()}
    print(f"pictures with maps: {count}", flush=True)
    Trainer(
        embedded.load_trunk().requires_grad_(False), sets, args.minutes, args.rate, args.out, args.seed
    ).run()


def pack(args: argparse.Namespace) -> None:
    """Write the asset."""
    net = SmallSegmenterNet(channels_of(embedded.load_trunk()))
    found = torch.load(args.checkpoint)
    net.load_state_dict(found["average"])
    small.save(net, args.out)
    print(
        f"{args.out}: step {found['step']}, {args.out.stat().st_size / 1e6:.2f} MB, SHA-256 {file_digest(args.out)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    for run in (maps, train):
        part = parts.add_parser(run.__name__, description=run.__doc__)
        part.add_argument("--photos", type=Path, required=True, help="folder of the labelled photographs")
        part.add_argument("--maps", type=Path, help="the file of the maps")
        part.add_argument("--minutes", type=float, default=60, help="of wall time")
        part.set_defaults(run=run)
    part.add_argument("--rate", type=float, default=2.5e-3, help="AdamW's, at its highest")
    part.add_argument("--seed", type=int, default=0)
    part.add_argument("--out", type=Path, required=True, help="checkpoint")
    part = parts.add_parser("pack", description=pack.__doc__)
    part.add_argument("checkpoint", type=Path, help="what train wrote")
    part.add_argument("--out", type=Path, required=True, help="the .safetensors")
    part.set_defaults(run=pack)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
