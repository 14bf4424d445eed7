"""Multi-label recognition: mAP of CLIP's scores, of feature surgery, and of other models' files (Table 6).

The cosines of an image with all names are the row of an image. Every rule is a function of them, so one
encoding of the class token serves for all, and a further rule costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError, one_line
from ovseg.evaluation.data.tags import TaggedImage, TagSet
from ovseg.evaluation.tables.protocol import RULES, TABLE6
from ovseg.evaluation.tables.rows import describe_skipped, numbers, plain, table
from ovseg.evaluation.tables.settings import recognition_size
from ovseg.evaluation.tables.setup import Setup
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.similarity import cosine, label_set_surgery, score_weights
from ovseg.metrics import MultiLabelScore
from ovseg.options import Plain


@dataclass
class Tagged:
    """What one rule or model scores on a set.

    Attributes:
        score: of all images that counted.
        skipped: a line for each image that could not be read or has no score.
    """

    score: MultiLabelScore
    skipped: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Plain]:
        """mAP in percent, the average precision of each label, and over what."""
        each: dict[str, Plain] = {name: 100 * value for name, value in self.score.per_class().items()}
        return {
            "mAP": 100 * self.score.compute(),
            "average precision": each,
            "images": len(self.score),
            **describe_skipped(self.skipped),
        }


def apply_rule(
    scores: NDArray[np.floating], rule: str, empty: float | None = None, logit_scale: float = 100.0
) -> NDArray[np.float32]:
    """One score for each text, from the cosines of an image with all of them.

    Args:
        scores: (T,) cosines, or another model's scores in their place.
        rule: "softmax", "none", "label_set" (the paper's feature surgery), "label_set_code" (the public
            code's) or "empty".
        empty: the cosine with the empty string, for the rule "empty".
        logit_scale: of the softmax.

    Returns:
        (T,).

    Raises:
        UsageError: an unknown rule, or feature surgery of a single text.

    >>> apply_rule(np.array([0.2, 0.3]), "empty", empty=0.1).round(3).tolist()
    [0.10000000149011612, 0.20000000298023224]
    """
    row = torch.tensor(scores, dtype=torch.float64)[None]
    if rule == "softmax":
        row = (logit_scale * row).softmax(dim=-1)
    elif rule in ("label_set", "label_set_code"):
        row = label_set_surgery(row[:, None], score_weights(row), rule)[:, 0]
    elif rule == "empty":
        if empty is None:
            raise UsageError("expected the cosine with the empty string for the rule 'empty', got none")
        row = row - empty
    elif rule != "none":
        raise UsageError(f"unknown rule {rule!r}: expected one of {', '.join(RULES.values())}")
    return np.asarray(row[0].float().numpy())


def score_tags(setup: Setup, tags: TagSet, rules: Sequence[str] = TABLE6) -> dict[str, Tagged]:
    """mAP of several rules for one backbone: keys of ``RULES``.

    Raises:
        UsageError: an unknown rule, or feature surgery of a single name.
    """
    unknown = next((rule for rule in rules if rule not in RULES), None)
    if unknown is not None:
        raise UsageError(f"unknown method {unknown!r}: expected one of {', '.join(RULES)}")
    model, vocabulary, protocol = setup.backbone.model, setup.texts.vocabulary, setup.protocol
    if len(vocabulary.flat) < 2 and any(RULES[rule].startswith("label_set") for rule in rules):
        raise UsageError("feature surgery needs at least two names, got one")
    size = recognition_size(protocol, model)
    text = model.encode_text([*vocabulary.flat, ""], protocol.templates)  # the empty string is the last

    @torch.no_grad()
    def measure(group: Sequence[TaggedImage], wanted: Sequence[str]) -> dict[str, list[Plain]]:
        pixels = model.preprocess([one.image for one in group], size, protocol.resize)
        tokens = model.encode_image(pixels, patches=False)
        cosines = cosine(torch.nn.functional.normalize(tokens.class_token, dim=-1), text).double().cpu()
        rows: list[Plain] = [
            {"cosines": [plain(value) for value in row], "truth": one.truth.tolist()}
            for row, one in zip(cosines.tolist(), group, strict=True)
        ]
        return {name: rows for name in wanted}

    settings: dict[str, Plain] = {
        "task": "tags",
        "input": list(size),
        "backbone": setup.backbone.describe(),
        "texts": vocabulary.describe(),
        "protocol": protocol.describe(),
    }
    found = setup.rows(tags, {"tags": settings}, measure)["tags"]
    scores = {rule: Tagged(MultiLabelScore(vocabulary.names), found.skipped()) for rule in rules}
    for row in found:
        found_ones = table(row)
        cosines, truth = (np.array(numbers(found_ones[key])) for key in ("cosines", "truth"))
        for rule, tagged in scores.items():
            values = apply_rule(cosines[:-1], RULES[rule], float(cosines[-1]), model.logit_scale)
            merged = merge_synonyms(torch.tensor(values)[:, None, None], vocabulary.owners)
            tagged.score.update(merged[:, 0, 0].numpy(), truth.astype(np.int8))
    return scores


# ------------------------------------------------------------------------------- other models' files


@dataclass(frozen=True)
class ScoreFile:
    """Another model's scores for the images of a set.

    Attributes:
        names: the K labels.
        rows: for each image's name its scores, (K,).
    """

    names: tuple[str, ...]
    rows: Mapping[str, NDArray[np.float32]]


def read_scores(path: Path) -> ScoreFile:
    """Read another model's scores.

    Args:
        path: an .npz with scores (N, K), images (N) and names (K), or a .csv whose first line is "image" and
            the names, and whose other lines are an image's name and its scores. The name of an image is that
            in the set, with or without its folder and ending.

    Raises:
        UsageError: the file is missing, or is none of the two.
        DataError: its content is not as it should be.
    """
    if not path.is_file():
        raise UsageError(f"expected a file of scores, {path} does not exist")
    if path.suffix not in (".npz", ".csv"):
        raise UsageError(f"expected scores as .npz or .csv, got {path}")
    try:
        if path.suffix == ".csv":
            names, images, scores = _read_csv(path)
        else:
            with np.load(path, allow_pickle=False) as content:
                scores = np.asarray(content["scores"], np.float32)
                images, names = ([str(one) for one in content[key].tolist()] for key in ("images", "names"))
    except DataError:
        raise
    except Exception as error:  # NumPy and zipfile raise anything on a damaged file
        raise DataError(
            f"expected scores, images and names, {path} cannot be read: {one_line(error)}"
        ) from None
    if scores.shape != (len(images), len(names)) or not np.isfinite(scores).all():
        raise DataError(
            f"expected finite scores of {len(images)} images and {len(names)} names, {path} has {scores.shape}"
        )
    if len(set(images)) != len(images):
        raise DataError(f"expected each image once, {path} has one twice")
    return ScoreFile(tuple(names), dict(zip(images, scores, strict=True)))


def _read_csv(path: Path) -> tuple[list[str], list[str], NDArray[np.float32]]:
    import csv

    with path.open(newline="", encoding="utf-8-sig") as file:
        head, *lines = list(csv.reader(file))
    if not head or head[0] != "image":
        raise DataError(f"expected 'image' and the names in the first line of {path}, got {head[:3]}")
    scores = np.array([[float(value) for value in line[1:]] for line in lines if line], np.float32)
    return head[1:], [line[0] for line in lines if line], scores.reshape(-1, len(head) - 1)


def score_file(given: ScoreFile, tags: TagSet, rule: str = "none", scale: float = 1.0) -> Tagged:
    """mAP of another model's scores as they are, or with feature surgery on top (TaI-DPT + ours).

    Args:
        given: the scores.
        tags: the set. Pictures are not read where its labels are kept beside them.
        rule: "none", "label_set" or "label_set_code".
        scale: what the scores are divided by first, so that they stand for cosines; 1 leaves them.

    Raises:
        DataError: the file lacks a label of the set.
    """
    missing = [name for name in tags.names if name not in given.names]
    if missing:
        raise DataError(f"expected scores for every label of {tags.title}, missing: {', '.join(missing[:5])}")
    columns = [given.names.index(name) for name in tags.names]
    found = Tagged(MultiLabelScore(tags.names))
    by_stem = _by_stem(given)
    for index, item in enumerate(tags.items):
        row = given.rows.get(item, by_stem.get(_stem(item)))
        if row is None:
            found.skipped.append(f"{item}: the file has no scores for it")
            continue
        found.score.update(apply_rule(row[columns] / scale, rule), tags.truth(index))
    return found


def _by_stem(given: ScoreFile) -> dict[str, NDArray[np.float32]]:
    """The rows by the images' names without folder and ending; two that are alike so are left out."""
    counts = Counter(map(_stem, given.rows))
    return {_stem(name): row for name, row in given.rows.items() if counts[_stem(name)] == 1}


def _stem(name: str) -> str:
    return Path(name.replace("\\", "/")).stem
