"""How fast ovseg is, as ratios taken in one run on one machine; prints a markdown table.

Ours is measured against the literal implementation in tests/reference/surgery.py and, where it
has a counterpart, against open_clip's untouched model. The contenders take turns, after one round
to warm up, and the medians are reported: seconds differ between machines, ratios hardly do.

    python tools/benchmark.py                       # everything, some minutes on two cores
    python tools/benchmark.py --parts encoder --rounds 9
    python tools/benchmark.py --names 20            # a shorter text bank
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import ovseg
from ovseg.clip.attention import METHODS
from ovseg.clip.encoder import encode_image
from ovseg.clip.models import load_clip
from ovseg.clip.text import TEMPLATES, TextCache, TextEncoder
from ovseg.clip.towers import resize_positions
from ovseg.evaluation.data.scenes import NAMES, make_scene
from ovseg.maps.similarity import class_weights, cosine, label_set_surgery
from ovseg.words.vocabulary import load_vocabulary

ROOT = Path(__file__).parents[1]
METHOD = METHODS["clip_surgery"]
WORK = Callable[[], Any]


class Row(NamedTuple):
    """One line of the table: what was measured, already with its unit, and what it is to be compared with."""

    what: str
    unit: str
    ours: float
    literal: float | None = None
    open_clip: float | None = None

    def __str__(self) -> str:
        def number(value: float | None) -> str:
            return (
                ""
                if value is None
                else f"{value:.3g} {self.unit}"
                if value < 100
                else f"{value:.0f} {self.unit}"
            )

        def ratio(other: float | None) -> str:
            return "" if other is None else f"{self.ours / other:.3f}"

        cells = (self.what, number(self.ours), number(self.literal), number(self.open_clip))
        return "| " + " | ".join((*cells, ratio(self.literal), ratio(self.open_clip))) + " |"


HEADER = (
    "| measured | ours | literal | open_clip | ours / literal | ours / open_clip |\n|---|---|---|---|---|---|"
)


def race(contenders: dict[str, WORK], rounds: int) -> dict[str, float]:
    """Median seconds of each, taking turns so that what slows the machine down slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            if turn > 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def peak_bytes(work: WORK) -> int:
    """The most that torch's CPU allocator held at once for ``work``, beyond what was there before.

    From the profiler's record of every allocation and release, so temporaries inside an operator
    count; tracemalloc sees none of them, and the resident set of a process that has loaded torch
    is too coarse for a few MB.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    steps = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    if not steps:
        raise RuntimeError("expected allocations in the profiler's trace, got none")
    held = peak = 0
    for _, step in sorted(steps, key=lambda pair: pair[0]):
        held += step
        peak = max(peak, held)
    return peak


def load_reference() -> ModuleType:
    """The literal implementation, by its path: tests are no package."""
    path = ROOT / "tests" / "reference" / "surgery.py"
    spec = importlib.util.spec_from_file_location("reference_surgery", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -------------------------------------------------------------------------------------- the parts


def encoder(args: argparse.Namespace, reference: ModuleType) -> Iterator[Row]:
    """One image through the image tower: random weights do, time does not depend on them."""
    torch.manual_seed(0)
    visual = load_clip(args.model, "random").clip.visual
    torch.manual_seed(0)  # the same weights, held as ovseg holds them in bf16
    ours_half = load_clip(args.model, "random", precision="bf16").clip.visual
    half = copy.deepcopy(visual).to(torch.bfloat16)
    for side in args.sizes:
        pixels = torch.randn(1, 3, side, side)
        seconds = race(
            {
                "ours": partial(encode_image, visual, pixels, METHOD),
                "literal": partial(reference.encode, visual, pixels),
                "open_clip": _plain(visual, pixels),
                "ours bf16": partial(encode_image, ours_half, pixels, METHOD),
                "literal bf16": partial(reference.encode, half, pixels.bfloat16()),
                "open_clip bf16": _plain(half, pixels),
            },
            args.rounds,
        )
        what = f"{args.model}, {side} px"
        full, narrow = seconds["ours"], seconds["ours bf16"]
        yield Row(f"{what}, fp32", "s", full, seconds["literal"], seconds["open_clip"])
        yield Row(f"{what}, bf16", "s", narrow, seconds["literal bf16"], seconds["open_clip bf16"])
        yield Row(
            f"{what}, bf16 against the others' fp32", "s", narrow, seconds["literal"], seconds["open_clip"]
        )


def _plain(visual: Any, pixels: Tensor) -> WORK:
    """open_clip's own forward on ``pixels``: a copy, whose position embedding fits their size."""
    visual = copy.deepcopy(visual)
    grid = (pixels.shape[2] // visual.patch_size[0], pixels.shape[3] // visual.patch_size[1])
    positions = resize_positions(visual.positional_embedding, visual.grid_size, grid, METHOD.resize)
    visual.positional_embedding = nn.Parameter(positions, requires_grad=False)
    pixels = pixels.to(positions.dtype)
    return lambda: visual(pixels)


def methods(args: argparse.Namespace, reference: ModuleType) -> Iterator[Row]:
    """Every method against open_clip's own forward, the largest size, fp32."""
    visual = load_clip(args.model, "random").clip.visual
    pixels = torch.randn(1, 3, max(args.sizes), max(args.sizes))
    contenders = {name: partial(encode_image, visual, pixels, row) for name, row in METHODS.items()}
    alone = {"class token alone": partial(encode_image, visual, pixels, METHOD, patches=False)}
    seconds = race({**contenders, **alone, "open_clip": _plain(visual, pixels)}, args.rounds)
    plain = seconds.pop("open_clip")
    for name, value in seconds.items():
        yield Row(f"{args.model}, {max(args.sizes)} px, {name}", "s", value, None, plain)


def labels(args: argparse.Namespace, reference: ModuleType) -> Iterator[Row]:
    """Pixels whose label is the same in bf16 and in fp32: embedded model, generated scenes."""
    full, half = ovseg.load_model(cache=False), ovseg.load_model(cache=False, precision="bf16")
    images = [make_scene(seed, (256, 256)).image for seed in range(args.scenes)]
    pairs = zip(full.segment_each(images, NAMES), half.segment_each(images, NAMES), strict=True)
    same = [float((a.array == b.array).mean()) for a, b in pairs]
    yield Row(f"label maps of {len(same)} scenes: bf16 equal to fp32", "%", 100 * statistics.mean(same))


def surgery(args: argparse.Namespace, reference: ModuleType) -> Iterator[Row]:
    """Feature surgery over the texts of a data set on a 32x32 grid, from tokens to scores."""
    count, width = len(load_vocabulary(args.vocabulary).names), 512
    patches, text, token = torch.randn(32 * 32, width), torch.randn(count, width), torch.randn(width)

    def ours() -> Tensor:
        return label_set_surgery(
            cosine(nn.functional.normalize(patches[None], dim=-1), text), class_weights(token[None], text)
        )

    def literal() -> Tensor:
        return reference.label_set(patches, text, token)

    torch.testing.assert_close(ours()[0], literal(), rtol=0, atol=1e-6)  # the race is for the same thing
    seconds = race({"ours": ours, "literal": literal}, args.rounds)
    what = f"feature surgery, {count} texts, 32x32 tokens"
    yield Row(f"{what}: time", "ms", 1e3 * seconds["ours"], 1e3 * seconds["literal"])
    yield Row(f"{what}: peak memory", "MB", peak_bytes(ours) / 1e6, peak_bytes(literal) / 1e6)


def text(args: argparse.Namespace, reference: ModuleType) -> Iterator[Row]:
    """The prompt ensembles of a data set's names, per name.

    The literal version takes as long for every name (all prompts at full length), so it encodes
    only ``--literal-names`` of them, half before ours and half after.
    """
    loaded = load_clip(args.model, "random")
    clip, tokenizer = loaded.clip, loaded.tokenizer
    names = load_vocabulary(args.vocabulary).names[: args.names]
    subset = names[: args.literal_names]
    frames = TEMPLATES["paper"]

    def literal(some: tuple[str, ...]) -> float:
        start = time.perf_counter()
        reference.encode_names(clip, tokenizer, some, frames)
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:

        def ours() -> float:  # an encoder of its own each time, as after a new start of Python
            bank = TextEncoder(loaded, TextCache(Path(folder)))
            start = time.perf_counter()
            bank.encode(names)
            return time.perf_counter() - start

        TextEncoder(loaded).encode(subset[:1])  # warm up
        literal(subset[:1])
        middle = len(subset) // 2
        before = literal(subset[:middle])
        cold = ours()
        after = literal(subset[middle:])
        warm = statistics.median(ours() for _ in range(args.rounds))
    what = f"text bank, {len(names)} names x {len(frames)} templates"
    each = f"per name (literal: {len(subset)} names)"
    yield Row(f"{what}, cold, {each}", "ms", 1e3 * cold / len(names), 1e3 * (before + after) / len(subset))
    yield Row(f"{what}, cold", "s", cold)
    yield Row(f"{what}, warm", "s", warm)


def start(args: argparse.Namespace, reference: ModuleType) -> Iterator[Row]:
    """A new Python each time; beside it what open_clip alone takes to be imported."""
    load = "import ovseg; model = ovseg.load_model()"
    seconds = race(
        {
            "python": lambda: _python("pass"),
            "import": lambda: _python("import ovseg"),
            "load": lambda: _python(load),
            "open_clip": lambda: _python("import open_clip"),
        },
        min(args.rounds, 5),
    )
    alone = race({"load": lambda: ovseg.load_model(cache=False)}, args.rounds)["load"]
    yield Row("new Python, nothing in it", "s", seconds["python"])
    yield Row("new Python, `import ovseg`", "s", seconds["import"], None, seconds["open_clip"])
    yield Row("new Python, `ovseg.load_model()`", "s", seconds["load"], None, seconds["open_clip"])
    yield Row("`ovseg.load_model()` alone", "s", alone)
    image, names = make_scene(0, (512, 512)).image, list(load_vocabulary("voc20").names)
    model = ovseg.load_model(cache=False)
    begun = time.perf_counter()
    model.segment(image, names, size=512)
    yield Row("`segment` at 512 px with 20 names, first", "s", time.perf_counter() - begun)
    again = race({"segment": lambda: model.segment(image, names, size=512)}, args.rounds)["segment"]
    yield Row("`segment` at 512 px with 20 names, again", "s", again)
    known = race({"texts": lambda: model.encode_text(names)}, 20 * args.rounds)["texts"]
    yield Row("20 texts that were asked for before", "ms", 1e3 * known)
    yield from _commands(args.rounds, image)


def _commands(rounds: int, image: NDArray[np.uint8]) -> Iterator[Row]:
    """Processor time of whole commands on one thread, beside that of `import torch`."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.png")
        Image.fromarray(image).save(photo)
        ask = ("-m", "ovseg.apps.cli")
        calls = {
            "a bare Python": ("-c", "pass"),
            "`import torch`": ("-c", "import torch"),
            "`ovseg --help`": (*ask, "--help"),
            "`ovseg mask nowhere.jpg sky`": (*ask, "mask", "nowhere.jpg", "sky"),
            "`ovseg mask photo.png sky`": (*ask, "mask", str(photo), "sky", "--out", folder),
        }
        for what, words in calls.items():
            yield Row(f"{what}, processor", "s", min(_processor(words) for _ in range(rounds)))


def _processor(words: Sequence[str]) -> float:
    """Seconds of processor time that a new Python takes; its exit code does not matter."""
    before = os.times()
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], check=False, env=settings, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _python(code: str) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


PARTS = {part.__name__: part for part in (encoder, methods, labels, surgery, text, start)}


def machine() -> str:
    """Processor, what it has for bf16, threads and versions, in one line."""
    name, flags = platform.processor() or platform.machine(), set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = dict(line.split("\t: ", 1) for line in cpuinfo.read_text().splitlines() if "\t: " in line)
        fields = {key.strip(): value for key, value in lines.items()}
        name = fields.get("model name", name)
        flags = {"avx512_bf16", "avx512_fp16", "amx_bf16"} & set(fields.get("flags", "").split())
    versions = (
        f"torch {torch.__version__}, open_clip {open_clip.__version__}, Python {platform.python_version()}"
    )
    return f"{name} ({', '.join(sorted(flags)) or 'no bf16'}), {torch.get_num_threads()} threads, {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument(
        "--model", default="ViT-B-16-quickgelu", help="open_clip name; its weights are random"
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[224, 512], help="image sides in pixels")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender")
    parser.add_argument("--vocabulary", default="coco_stuff164k", help="171 names")
    parser.add_argument("--names", type=int, default=171, help="of the text bank")
    parser.add_argument("--literal-names", type=int, default=20, help="of the literal text bank")
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that the weights are random
    reference = load_reference()
    print(f"{machine()}; medians of {args.rounds} rounds\n\n{HEADER}", flush=True)
    with torch.no_grad():
        for name in args.parts:
            for row in PARTS[name](args, reference):
                print(row, flush=True)


if __name__ == "__main__":
    main()
