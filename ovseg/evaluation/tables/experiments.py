"""Tables 1, 2 and 4 as reports: backbones x systems x data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ovseg.clip.towers import tower_of
from ovseg.evaluation.data.samples import SampleSet
from ovseg.evaluation.tables import paper
from ovseg.evaluation.tables.maps import MapScore, score_maps
from ovseg.evaluation.tables.run import Run, Samples, applicable
from ovseg.evaluation.tables.settings import Backbone
from ovseg.evaluation.tables.setup import Setup
from ovseg.evaluation.tables.systems import System, depths, parse_systems, table4
from ovseg.evaluation.tables.tables import Cell, Report
from ovseg.options import Plain
from ovseg.results import figures

Choose = Callable[[Backbone], Sequence[System]]
"""The systems that are compared on a backbone."""
_Scores = dict[str, MapScore]


def table1(run: Run, sets: Samples, methods: Sequence[str] | None = None) -> Report:
    """Table 1: mIoU and mSC of CLIP and of CLIP Surgery, or of other systems, on every backbone and set."""
    systems = parse_systems(methods or ("clip", "clip_surgery"))
    return _map_table(run, sets, "table1", "Table 1: explainability", lambda backbone: systems)


def table2(run: Run, sets: Samples, methods: Sequence[str] | None = None) -> Report:
    """Table 2: the explanation methods that the paper compares; ECLIP as "eclip=FOLDER" with saved maps."""

    def choose(backbone: Backbone) -> list[System]:
        known = [name for name in paper.known_methods(backbone.name) if name != "eclip"]
        return parse_systems(methods or known)

    return _map_table(run, sets, "table2", "Table 2: methods of explanation", choose)


def table4_report(run: Run, sets: Samples) -> Report:
    """Table 4: last block or several, one path or two, attention and feed-forward networks."""
    return _map_table(
        run,
        sets,
        "table4",
        "Table 4: blocks, paths and FFN",
        lambda backbone: table4(tower_of(backbone.model.clip.visual)),
        lambda backbone, system, kind: (
            {"mSC": paper.TABLE4[system]}
            if (paper.plain_backbone(backbone), kind) == ("ViT-B-16", "pascal_context")
            else {}
        ),
    )


def depth_report(run: Run, sets: Samples) -> Report:
    """The block d from which on the new path goes, 1 to 10 (the paper: 0.42 points of mSC between them)."""
    report = _map_table(
        run,
        sets,
        "depth",
        "The first block d of the new path",
        lambda backbone: depths(tower_of(backbone.model.clip.visual)),
        lambda *names: {},
    )
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for cell in report.cells:
        if cell.column.endswith("mSC") and cell.value is not None:
            x, y = lines.setdefault(f"{cell.row[0]}, {cell.column.removesuffix(' mSC')}", ([], []))
            x.append(float(cell.row[1].removeprefix("d = ")))
            y.append(cell.value)
    if lines:
        report.pictures[""] = figures.line_chart(
            lines, "mSC by the first block of the new path", ("d", "mSC, %")
        )
    return report


def _map_table(
    run: Run,
    sets: Samples,
    name: str,
    title: str,
    choose: Choose,
    published: Callable[[str, str, str], dict[str, float]] = paper.map_scores,
) -> Report:
    report = Report(name, title)
    records: list[Plain] = []

    def score(setup: Setup, samples: SampleSet) -> tuple[Sequence[System], _Scores, dict[str, str]]:
        systems = choose(setup.backbone)
        kept, reasons = applicable(setup, systems, report)
        return systems, score_maps(setup, samples, kept), reasons

    for backbone, one, (systems, scores, reasons) in run.measured(report, sets, score):
        for system in systems:
            found = scores.get(system.name)
            known = published(backbone.name, system.name, one.kind)
            report.cells += _map_cells(backbone.name, system.name, one.title, found, known, run)
            record: dict[str, Plain] = {
                "backbone": backbone.describe(),
                "method": system.name,
                "system": system.describe(),
                "data set": one.items.title,
                "kind": one.kind,
                "texts": run.texts(one.items).vocabulary.describe(),
                "paper": dict(known),
            }
            if found is None:
                record["does not apply"] = reasons[system.name]
            else:
                record |= found.describe()
                report.skipped += [f"{system.name}: {line}" for line in found.skipped]
            records.append(record)
    report.record = {"run": run.describe(), "records": records}
    report.notes.append(_threshold_note(run))
    return report


def _map_cells(
    backbone: str, system: str, title: str, score: MapScore | None, known: dict[str, float], run: Run
) -> list[Cell]:
    values = {"mIoU": None, "mSC": None} if score is None else {
        "mIoU": 100 * score.maps.mean_iou(run.threshold_per),
        "mSC": 100 * score.maps.mean_contrast(),
    }  # fmt: skip
    return [
        Cell((backbone, system), f"{title} {measure}", value, known.get(measure))
        for measure, value in values.items()
    ]


def _threshold_note(run: Run) -> str:
    serves = {"dataset": "each data set", "class": "each class", "image": "each map"}[run.threshold_per]
    return (
        f"In percent. mIoU per positive label with the best threshold of {serves}, scored at the size of "
        f"the {'image' if run.protocol.scored_at == 'image' else 'input'}; feature surgery over the names of "
        f"the {run.protocol.surgery_over}. The JSON file has every threshold's mIoU and the pointing game."
    )
