"""Table 5 as a report: label maps of methods and of folders of other systems' predictions."""

from __future__ import annotations

from collections.abc import Sequence

from ovseg.evaluation.tables import paper
from ovseg.evaluation.tables.run import Run, Samples, applicable
from ovseg.evaluation.tables.semantic import INPUT, score_semantic
from ovseg.evaluation.tables.systems import System, parse_systems
from ovseg.evaluation.tables.tables import Cell, Report
from ovseg.options import Plain

CITYSCAPES_WINDOW = 512


def table5(run: Run, sets: Samples, methods: Sequence[str] | None = None) -> Report:
    """Table 5: semantic mIoU; a trained system is NAME=FOLDER with its predictions as label maps.

    The input is 512 x 512 where the run's protocol says nothing else; Cityscapes goes in at its own size, in
    windows of 512 without overlap.
    """
    report = Report("table5", "Table 5: semantic segmentation")
    records: list[Plain] = []
    systems = parse_systems(methods or ("clip", "maskclip", "clip_surgery:none"))
    for number, backbone in enumerate(run.loaded()):
        for one in sets:
            wanted = [system for system in systems if system.saved is None or number == 0]
            whole = one.kind == "cityscapes"
            with run.setup(backbone, one.items, report.name) as setup:
                scores = score_semantic(
                    setup, one.items, applicable(setup, wanted, report)[0],
                    size=None if whole else run.protocol.size or INPUT,
                    window=CITYSCAPES_WINDOW if whole else None,
                )  # fmt: skip
            for system in wanted:
                score = scores.get(system.name)
                row = _row(backbone.name, system)
                known = published(backbone.name, system, one.kind)
                value = None if score is None else 100 * score.score.compute()
                report.cells.append(Cell(row, f"{one.title} mIoU", value, known))
                if score is None:
                    continue
                report.skipped += [f"{system.name}: {line}" for line in score.skipped]
                records.append(
                    {"backbone": row[0], "weights": backbone.describe() if row[0] else None,
                     "method": system.name, "system": system.describe(), "data set": one.items.title,
                     "texts": setup.texts.vocabulary.describe(), "paper": known, **score.describe()}
                )  # fmt: skip
    report.record = {"run": run.describe(), "records": records}
    report.notes.append(
        "In percent, the best name at every pixel, at the size of the image, without post-processing; pixels "
        "that no name covers do not count."
    )
    return report


def _row(backbone: str, system: System) -> tuple[str, str]:
    return ("" if system.saved is not None else backbone, system.name)


def published(backbone: str, system: System, kind: str) -> float | None:
    """The paper's figure for a system on a set, None where it has none."""
    name = system.name.partition(":")[0]
    if system.saved is None and paper.plain_backbone(backbone) != "ViT-B-16":
        return None
    return paper.TABLE5.get(name, {}).get(kind)
