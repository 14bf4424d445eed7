"""The experiments of tools/explain.py by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ovseg.errors import UsageError
from ovseg.evaluation.tables.experiments import depth_report, table1, table2, table4_report
from ovseg.evaluation.tables.faithful_reports import faithful, randomisation
from ovseg.evaluation.tables.inside_reports import figure4, figure5, figure6
from ovseg.evaluation.tables.run import Run, Samples
from ovseg.evaluation.tables.semantic_reports import table5
from ovseg.evaluation.tables.tables import Report

COMPARING: dict[str, Callable[[Run, Samples, Sequence[str] | None], Report]] = {
    "table1": table1,
    "table2": table2,
    "table5": table5,
    "faithful": faithful,
    "randomisation": randomisation,
}
"""Those of ``protocol.WITH_METHODS``."""
PAPERS: dict[str, Callable[[Run, Samples], Report]] = {
    "table4": table4_report,
    "depth": depth_report,
    "figure4": figure4,
    "figure5": figure5,
    "figure6": figure6,
}
"""Those of ``protocol.FIXED``."""


def run_experiment(name: str, run: Run, sets: Samples, methods: Sequence[str] | None) -> Report:
    """An experiment by its name.

    Raises:
        UsageError: an unknown name.
    """
    if name in COMPARING:
        return COMPARING[name](run, sets, methods)
    if name not in PAPERS:
        raise UsageError(f"unknown experiment {name!r}: expected one of {', '.join((*COMPARING, *PAPERS))}")
    return PAPERS[name](run, sets)
