"""Table 6 as a report: multi-label recognition of backbones and of other models' files."""

from __future__ import annotations

from collections.abc import Sequence

from ovseg.errors import UsageError
from ovseg.evaluation.data.tags import TagSet
from ovseg.evaluation.tables import paper
from ovseg.evaluation.tables.protocol import RULES, TABLE6
from ovseg.evaluation.tables.recognition import ScoreFile, Tagged, read_scores, score_file, score_tags
from ovseg.evaluation.tables.run import Named, Run
from ovseg.evaluation.tables.setup import Setup
from ovseg.evaluation.tables.tables import Cell, Report
from ovseg.files.paths import expand
from ovseg.options import Plain

ON_TOP = " + surgery"


def parse_files(texts: Sequence[str]) -> dict[str, ScoreFile]:
    """NAME=FILE of each other model, read at once. Raises UsageError, DataError."""
    found: dict[str, ScoreFile] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not name or not equals or not file or name in found:
            raise UsageError(f"expected NAME=FILE of a model's scores, each name once, got {text!r}")
        found[name] = read_scores(expand(file))
    return found


def table6(
    run: Run,
    sets: Sequence[Named[TagSet]],
    methods: Sequence[str] | None = None,
    files: dict[str, ScoreFile] | None = None,
    scale: float = 1.0,
) -> Report:
    """Table 6: mAP of CLIP, of feature surgery, and of files of other models' scores with surgery on top.

    Args:
        run: backbones and settings.
        sets: pictures with labels.
        methods: keys of ``protocol.RULES``; None for CLIP and CLIP Surgery.
        files: for each name another model's scores; of a single set, since a file belongs to one.
        scale: what the scores of files are divided by before surgery, so that they stand for cosines.
    """
    if files and len(sets) != 1:
        raise UsageError(f"expected one data set beside files of scores, got {len(sets)}")
    report = Report("table6", "Table 6: multi-label recognition")
    records: list[Plain] = []
    rules = list(methods or TABLE6)

    def add(backbone: str, name: str, one: Named[TagSet], tagged: Tagged, weights: Plain) -> None:
        known = published(backbone, name, one.kind)
        report.cells.append(Cell((backbone, name), f"{one.title} mAP", 100 * tagged.score.compute(), known))
        report.skipped += [f"{name}: {line}" for line in tagged.skipped]
        records.append(
            {"backbone": backbone, "weights": weights, "method": name, "rule": RULES.get(name),
             "data set": one.items.title, "names": list(one.items.names), "paper": known, **tagged.describe()}
        )  # fmt: skip

    def score(setup: Setup, tags: TagSet) -> dict[str, Tagged]:
        return score_tags(setup, tags, rules)

    for backbone, one, scores in run.measured(report, sets, score):
        for rule, tagged in scores.items():
            add(backbone.name, rule, one, tagged, backbone.describe())
    for name, given in (files or {}).items():
        add("", name, sets[0], score_file(given, sets[0].items), None)
        add("", name + ON_TOP, sets[0], score_file(given, sets[0].items, "label_set", scale), None)
    report.record = {"run": run.describe(), "scale of files": scale, "records": records}
    report.notes.append(
        "In percent. The average precision of each label over all images, then the mean over the labels that "
        f"occur. Names ending in {ON_TOP.strip()!r}: feature surgery on the scores of the file."
    )
    return report


def published(backbone: str, name: str, kind: str) -> float | None:
    """The paper's figure, None where it has none."""
    if kind != "nus_wide":
        return None
    return paper.TABLE6.get((paper.plain_backbone(backbone), name))
