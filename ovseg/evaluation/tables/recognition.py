"""Table 6, multi-label recognition: mAP of CLIP, of feature surgery, and of score files of other models.

An image's row holds its cosines with all names. Every rule is a function of them, so all rules share one
encoding of the class token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError, one_line
from ovseg.evaluation.data.tags import TaggedImage, TagSet
from ovseg.evaluation.tables import paper
from ovseg.evaluation.tables.protocol import RULES, TABLE6
from ovseg.evaluation.tables.report import Report
from ovseg.evaluation.tables.rows import Counted, Found, numbers, plain, table
from ovseg.evaluation.tables.run import Named, Run, Setup
from ovseg.files.paths import expand
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.similarity import cosine, label_set_surgery, score_weights
from ovseg.metrics import MultiLabelScore
from ovseg.options import Plain
from ovseg.words.vocabulary import Vocabulary

ON_TOP = " + surgery"


class Tagged(Counted):
    """The score of one rule or model over the measured images of a set."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.score = MultiLabelScore(names)

    def describe(self) -> dict[str, Plain]:
        """mAP in percent, the average precision of each label, and the image counts."""
        each: dict[str, Plain] = {name: 100 * value for name, value in self.score.per_class().items()}
        return {"mAP": 100 * self.score.compute(), "average precision": each, **super().describe()}


def apply_rule(
    scores: NDArray[np.floating], rule: str, empty: float | None = None, logit_scale: float = 100.0
) -> NDArray[np.float32]:
    """Apply a rule to an image's cosines with all texts: one score per text.

    Args:
        scores: (T,) cosines, or another model's scores.
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
    """mAP of several rules, keys of ``RULES``, for one backbone.

    Raises:
        UsageError: an unknown rule, or feature surgery of a single name.
    """
    unknown = next((rule for rule in rules if rule not in RULES), None)
    if unknown is not None:
        raise UsageError(f"unknown method {unknown!r}: expected one of {', '.join(RULES)}")
    model, vocabulary = setup.backbone.model, setup.texts
    protocol, size = setup.protocol, setup.recognition_size
    if len(vocabulary.flat) < 2 and any(RULES[rule].startswith("label_set") for rule in rules):
        raise UsageError("feature surgery needs at least two names, got one")
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
    return _scores(found, rules, vocabulary, model.logit_scale)


def _scores(found: Found, rules: Sequence[str], texts: Vocabulary, scale: float) -> dict[str, Tagged]:
    """The scores of each rule from the rows of a set."""
    scores = {rule: Tagged(texts.names) for rule in rules}
    counted = Counted()
    for row in found.into(counted):
        values = table(row)
        cosines, truth = (np.array(numbers(values[key])) for key in ("cosines", "truth"))
        for rule, tagged in scores.items():
            ranked = apply_rule(cosines[:-1], RULES[rule], float(cosines[-1]), scale)
            merged = merge_synonyms(torch.tensor(ranked)[:, None, None], texts.owners)
            tagged.score.update(merged[:, 0, 0].numpy(), truth.astype(np.int8))
    for tagged in scores.values():
        tagged.images, tagged.skipped = counted.images, counted.skipped
    return scores


# ------------------------------------------------------------------------------- other models' files


@dataclass(frozen=True)
class ScoreFile:
    """Another model's scores for the images of a set.

    Attributes:
        names: the K labels.
        rows: image name -> its scores, (K,).
    """

    names: tuple[str, ...]
    rows: Mapping[str, NDArray[np.float32]]


def read_scores(path: Path) -> ScoreFile:
    """Read another model's scores.

    Args:
        path: an .npz with scores (N, K), images (N) and names (K), or a .csv whose first line is "image" and
            the names, and whose other lines are an image's name and its scores. Images are named as in the
            set, with or without folder and ending.

    Raises:
        UsageError: the file is missing or has another ending.
        DataError: its content is invalid.
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
    """mAP of another model's scores, unchanged or with feature surgery on top (TaI-DPT + ours).

    Args:
        given: the scores.
        tags: the set; pictures are not read if its labels are stored separately.
        rule: "none", "label_set" or "label_set_code".
        scale: the scores are divided by it to bring them to the range of cosines.

    Raises:
        DataError: the file lacks a label of the set.
    """
    missing = [name for name in tags.names if name not in given.names]
    if missing:
        raise DataError(f"expected scores for every label of {tags.title}, missing: {', '.join(missing[:5])}")
    columns = [given.names.index(name) for name in tags.names]
    found = Tagged(tags.names)
    counts = Counter(map(_stem, given.rows))  # ambiguous stems are not used
    by_stem = {_stem(name): row for name, row in given.rows.items() if counts[_stem(name)] == 1}
    for index, item in enumerate(tags.items):
        row = given.rows.get(item, by_stem.get(_stem(item)))
        if row is None:
            found.skipped.append(f"{item}: the file has no scores for it")
            continue
        found.images += 1
        found.score.update(apply_rule(row[columns] / scale, rule), tags.truth(index))
    return found


def _stem(name: str) -> str:
    return Path(name.replace("\\", "/")).stem


def parse_files(texts: Sequence[str]) -> dict[str, ScoreFile]:
    """Parse NAME=FILE arguments and read the files. Raises UsageError, DataError."""
    found: dict[str, ScoreFile] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not name or not equals or not file or name in found:
            raise UsageError(f"expected NAME=FILE of a model's scores, each name once, got {text!r}")
        found[name] = read_scores(expand(file))
    return found


# ------------------------------------------------------------------------------------------ the report


def table6(
    run: Run,
    sets: Sequence[Named[TagSet]],
    methods: Sequence[str] | None = None,
    files: Mapping[str, ScoreFile] | None = None,
    scale: float = 1.0,
) -> Report:
    """Table 6: mAP of CLIP, of feature surgery, and of files of other models' scores with surgery on top.

    Args:
        run: backbones and settings.
        sets: pictures with labels.
        methods: keys of ``protocol.RULES``; None for CLIP and CLIP Surgery.
        files: name -> another model's scores; allowed with a single set only, since a file belongs to one.
        scale: scores of files are divided by it before surgery, to bring them to the range of cosines.
    """
    if files and len(sets) != 1:
        raise UsageError(f"expected one data set beside files of scores, got {len(sets)}")
    report = run.report("table6", "Table 6: multi-label recognition", more={"scale of files": scale})
    rules = list(methods or TABLE6)

    def add(backbone: str, name: str, one: Named[TagSet], tagged: Tagged, weights: Plain = None) -> None:
        known = published(backbone, name, one.kind)
        column = f"{one.title} mAP"
        paper_has = {} if known is None else {column: known}
        report.add((backbone, name), {column: 100 * tagged.score.compute()}, paper_has)
        report.skipped += [f"{name}: {line}" for line in tagged.skipped]
        report.records.append(
            {"backbone": backbone, "weights": weights, "method": name, "rule": RULES.get(name),
             "data set": one.items.title, "names": list(one.items.names), "paper": known, **tagged.describe()}
        )  # fmt: skip

    def score(setup: Setup, tags: TagSet) -> dict[str, Tagged]:
        return score_tags(setup, tags, rules)

    for backbone, one, scores in run.measured(report, sets, score):
        for rule, tagged in scores.items():
            add(backbone.name, rule, one, tagged, backbone.describe())
    for name, given in (files or {}).items():
        add("", name, sets[0], score_file(given, sets[0].items))
        add("", name + ON_TOP, sets[0], score_file(given, sets[0].items, "label_set", scale))
    report.note(
        "In percent. The average precision of each label over all images, then the mean over the labels that "
        f"occur. Names ending in {ON_TOP.strip()!r}: feature surgery on the scores of the file."
    )
    return report


def published(backbone: str, name: str, kind: str) -> float | None:
    """The paper's value, or None."""
    if kind != "nus_wide":
        return None
    return paper.TABLE6.get(f"{paper.plain_backbone(backbone)}|{name}")
