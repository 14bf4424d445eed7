"""How long explanations of several texts take, as ratios measured in one run; prints a Markdown table.

    python tools/benchmark_explain.py                        # the embedded model
    python tools/benchmark_explain.py --methods gradcam_cls,bimodal --texts 20 --rounds 9
    python tools/benchmark_explain.py --model ViT-B-16 --weights random --size 224

All texts share one forward pass of the image, and several texts share a backward pass. So K texts should take
far less than K times one. Below, CLIP Surgery on a number of images is set against encoding them.
"""

from __future__ import annotations

import argparse
import logging

from benchmark import machine, race

import ovseg
from ovseg.errors import UnsupportedModelError
from ovseg.evaluation.data.scenes import make_scene
from ovseg.explanation import Run, get_explanation, list_explanations
from ovseg.options import ExplainOptions
from ovseg.words.vocabulary import Vocabulary

SLOW = ("gscorecam", "gscorecam_cls")
"""Hundreds of forward passes a text by their definition; measured where they are named."""


def names(count: int) -> Vocabulary:
    """Made-up texts: their features are computed before anything is measured."""
    texts = tuple(f"text {number}" for number in range(count))
    return Vocabulary(texts, tuple((text,) for text in texts))


def applies(method: str, model: ovseg.Model) -> bool:
    """Whether an explanation works on the model's image tower."""
    try:
        get_explanation(method).check(model.clip.visual)
    except UnsupportedModelError:
        return False
    return True


def texts_against_one(model: ovseg.Model, methods: list[str], args: argparse.Namespace) -> None:
    """One row for each method: the time of all texts against that of one."""
    options = ExplainOptions(size=args.size, templates="plain")
    image = make_scene(1000, (240, 320)).image
    print(f"| explanation | 1 text, s | {args.texts} texts, s | ratio |\n|---|---|---|---|")
    for method in methods:
        row = get_explanation(method)
        one, many = (Run(model, names(count), [row], options) for count in (1, args.texts))
        seconds = race(
            {"one": lambda one=one: one.first(image), "many": lambda many=many: many.first(image)},
            args.rounds,
        )
        ratio = seconds["many"] / seconds["one"]
        print(f"| {method} | {seconds['one']:.3g} | {seconds['many']:.3g} | {ratio:.2f} |", flush=True)


def surgery_against_encoding(model: ovseg.Model, args: argparse.Namespace) -> None:
    """CLIP Surgery for all texts on all images, against the tokens of the same images alone."""
    images = [make_scene(2000 + number, (240, 320)).image for number in range(args.images)]
    listed = names(args.texts)
    size = model.input_size((240, 320), args.size)
    model = model.with_method("clip_surgery")

    def encode() -> None:
        for image in images:
            model.encode_image(model.preprocess([image], size))

    def explain() -> None:
        for found in model.similarity_each(images, listed, size=size, templates="plain", batch=1):
            assert len(found) == len(listed)

    explain()  # the texts' features
    seconds = race({"encode": encode, "explain": explain}, args.rounds)
    print(f"\n| {args.images} images x {args.texts} texts | encoding alone, s | CLIP Surgery, s | ratio |")
    print("|---|---|---|---|")
    ratio = seconds["explain"] / seconds["encode"]
    print(f"| clip_surgery | {seconds['encode']:.3g} | {seconds['explain']:.3g} | {ratio:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--weights", help="a tag, a file or 'random', for other models than tiny")
    parser.add_argument("--size", type=int, help="a square input in pixels; default: the model's own")
    parser.add_argument("--methods", help="default: all that apply but gScoreCAM; names with commas")
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    model = ovseg.load_model(args.model, args.weights, cache=False)
    every = [name for name in list_explanations() if name not in SLOW and applies(name, model)]
    methods = [name.strip() for name in args.methods.split(",")] if args.methods else every
    print(f"{machine()}; {args.model}, medians of {args.rounds} rounds\n")
    texts_against_one(model, methods, args)
    surgery_against_encoding(model, args)


if __name__ == "__main__":
    main()
