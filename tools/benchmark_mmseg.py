"""What MMSegmentation costs on top of the core, and what windows in one batch gain; prints a markdown table.

    python tools/benchmark_mmseg.py                # some minutes on two cores
    python tools/benchmark_mmseg.py --images 4 --rounds 3

Weights are random: time does not depend on them. The contenders take turns and medians are reported,
as in tools/benchmark.py. "core" is ovseg's own model called on the tensors that the segmentor gets.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmark import machine, peak_bytes, race
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.structures import SegDataSample
from PIL import Image
from torch import Tensor

import ovseg.model.frozen
from ovseg.evaluation.data.scenes import make_scene
from ovseg.mmseg import OpenVocabularySegmentor
from ovseg.mmseg.evaluate import Run, load_config, prepare
from ovseg.model.engine import classify, stream

CONFIGS = Path(__file__).parents[1] / "configs" / "paper"


class Row(NamedTuple):
    what: str
    unit: str
    ours: float
    base: str
    other: float

    def __str__(self) -> str:
        cells = (self.what, f"{self.ours:.3g} {self.unit}", f"{self.base}: {self.other:.3g} {self.unit}")
        return f"| {' | '.join(cells)} | {self.ours / self.other:.3f} |"


def write_voc(root: Path, images: int, size: tuple[int, int]) -> None:
    """``images`` drawn scenes as VOC 2012 under ``root``."""
    folder = root / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for index in range(images):
        scene = make_scene(index, size)
        Image.fromarray(scene.image).save(folder / "JPEGImages" / f"{index:06}.jpg", quality=95)
        labels = Image.fromarray((scene.labels % 21).astype(np.uint8))
        labels.save(folder / "SegmentationClass" / f"{index:06}.png")
    listed = "".join(f"{index:06}\n" for index in range(images))
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text(listed)


def overhead(args: argparse.Namespace) -> Iterator[Row]:
    """Segmentor and test loop against the core, both from the same images at 512 px."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_voc(root, args.images, (375, 500))
        path = CONFIGS / "clip-surgery_vit-b16_voc21-512x512.py"
        options = {
            "model.weights": "random",
            "model.backbone": args.model,
            "model.templates": "plain",  # the text bank is no part of what is measured
            "log_level": "ERROR",
            "test_dataloader.dataset.data_root": str(root / "VOCdevkit" / "VOC2012"),
            "test_dataloader.num_workers": args.workers,
            "custom_hooks": [],
        }
        runner = Runner.from_cfg(prepare(load_config(path, options), Run(work_dir=str(root / "work"))))
        segmentor = runner.model
        batches = list(runner.test_dataloader)
        ready = [segmentor.data_preprocessor(batch)["inputs"] for batch in batches]
        sizes = [batch["data_samples"][0].ori_shape for batch in batches]
        core(segmentor, ready[:1], sizes[:1])  # texts are encoded
        loop = runner.build_test_loop(runner.cfg.test_cfg)
        runner.call_hook("before_run")
        seconds = race(
            {
                "core": partial(core, segmentor, ready, sizes),
                "test_step": lambda: [segmentor.test_step(batch) for batch in batches],
                "loop": loop.run,
            },
            args.rounds,
        )
        each = {name: value / args.images for name, value in seconds.items()}
        what = f"{args.model}, 512 px, {len(segmentor.vocabulary.flat)} texts"
        yield Row(f"{what}: test_step, per image", "s", each["test_step"], "core", each["core"])
        yield Row(f"{what}: whole test loop from files, per image", "s", each["loop"], "core", each["core"])


@torch.no_grad()
def core(
    segmentor: OpenVocabularySegmentor, ready: list[list[Tensor]], sizes: list[tuple[int, int]]
) -> list[np.ndarray]:
    """Label maps by ovseg's model alone, from the tensors that the segmentor gets."""
    model, names = segmentor.core, segmentor.vocabulary
    text = model.encode_text(names.flat, segmentor.options.templates)
    images = ((size, pixels) for (pixels,), size in zip(ready, sizes, strict=True))
    return [
        classify(dense.scores, dense.key, names, segmentor.options)[0].numpy()
        for dense in stream(
            model.encode_image, model.patch_size, images, model.cosine_scores(text), segmentor.options
        )
    ]


def windows(args: argparse.Namespace) -> Iterator[Row]:
    """A Cityscapes image in its 8 windows: one call of the encoder against 8."""
    config: Config = load_config(CONFIGS / "clip-surgery_vit-b16_cityscapes-1024x2048.py")
    config.model.update(backbone=args.model, weights="random", keep_logits=False, templates="plain")
    segmentor = OpenVocabularySegmentor(**{k: v for k, v in config.model.items() if k != "type"})
    segmentor.data_preprocessor.to("cpu")
    inputs = [torch.randn(3, 1024, 2048, generator=torch.Generator().manual_seed(0))]
    calls: list[int] = []
    encode = ovseg.model.frozen.encode_image

    def counted(visual: Any, pixels: Tensor, *rest: Any, **options: Any) -> Any:
        calls.append(len(pixels))
        return encode(visual, pixels, *rest, **options)

    def run(batch: int) -> None:
        segmentor.options = replace(segmentor.options, batch=batch)
        segmentor.predict(inputs, [SegDataSample(metainfo={"ori_shape": (1024, 2048)})])

    ovseg.model.frozen.encode_image = counted
    for batch, wanted in ((8, [8]), (1, [1] * 8)):
        calls.clear()
        run(batch)
        assert calls == wanted, f"expected the encoder called with {wanted} windows, got {calls}"
    ovseg.model.frozen.encode_image = encode
    seconds = race({"one": partial(run, 8), "eight": partial(run, 1)}, args.rounds)
    what = f"{args.model}, 2048x1024 in 8 windows of 512, one call of the encoder"
    yield Row(f"{what}: time", "s", seconds["one"], "8 calls", seconds["eight"])
    peak = [peak_bytes(partial(run, batch)) / 1e6 for batch in (8, 1)]
    yield Row(f"{what}: peak memory beside the weights", "MB", peak[0], "8 calls", peak[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts", nargs="*", choices=["overhead", "windows"], default=["overhead", "windows"]
    )
    parser.add_argument("--model", default="ViT-B-16-quickgelu", help="open_clip name")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1, help="processes that read images in the test loop")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that the weights are random
    print(f"{machine()}; medians of {args.rounds} rounds\n")
    print("| measured | ours | compared with | ratio |\n|---|---|---|---|", flush=True)
    for part in args.parts:
        for row in {"overhead": overhead, "windows": windows}[part](args):
            print(row, flush=True)


if __name__ == "__main__":
    main()
