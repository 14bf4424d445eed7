"""The report of an experiment: a Markdown table with the paper's values beside ours, a JSON file, pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ovseg.files.write import make_folder, write_file, write_json, write_picture
from ovseg.options import Plain
from ovseg.results.figures import Picture

NOTHING = "–"
CORNER = ("backbone", "method")


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        row: its row headers, such as a backbone and a method.
        column: its column header.
        value: our value; None if the method does not apply (a note says why), NaN if nothing could be measured.
        paper: the paper's value, or None.
        digits: number of decimals.
    """

    row: tuple[str, ...]
    column: str
    value: float | None
    paper: float | None = None
    digits: int = 2

    def __str__(self) -> str:
        shown = NOTHING if self.value is None or math.isnan(self.value) else f"{self.value:.{self.digits}f}"
        return shown if self.paper is None else f"{shown} ({self.paper:.{self.digits}f})"


@dataclass
class Report:
    """The report of an experiment.

    Attributes:
        name: stem of its files.
        title: title of its table.
        run: settings for the JSON file.
        corner: titles of the row headers.
        cells: in the order of rows and columns.
        records: counts and settings of each row and data set.
        notes: sentences below the table.
        pictures: file name suffix -> picture; "" for the main one.
        skipped: one line per image that a system could not measure.
    """

    name: str
    title: str
    run: Mapping[str, Plain] = field(default_factory=dict)
    corner: tuple[str, ...] = CORNER
    cells: list[Cell] = field(default_factory=list)
    records: list[Plain] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def add(
        self,
        row: tuple[str, ...],
        values: Mapping[str, float | None],
        paper: Mapping[str, float] | None = None,
        *,
        head: str = "",
        digits: int = 2,
    ) -> None:
        """Add cells of one row, a column for each of ``values``; ``head`` is a prefix of the column names."""
        known = paper or {}
        self.cells += [
            Cell(row, f"{head}{name}", value, known.get(name), digits) for name, value in values.items()
        ]

    def note(self, text: str) -> None:
        """Add a sentence below the table, once."""
        if text not in self.notes:
            self.notes.append(text)

    def markdown(self) -> str:
        """The title, the table, the notes.

        >>> cells = [Cell(("tiny",), "mSC", 1.234, 5.0)]
        >>> Report("t", "T", corner=("model",), cells=cells).markdown().splitlines()[2:5]
        ['| model | mSC |', '|---|---|', '| tiny | 1.23 (5.00) |']
        """
        columns = list(dict.fromkeys(cell.column for cell in self.cells))
        rows: dict[tuple[str, ...], dict[str, Cell]] = {}
        for cell in self.cells:
            rows.setdefault(cell.row, {})[cell.column] = cell
        lines = [_line([*self.corner, *columns]), "|---" * (len(self.corner) + len(columns)) + "|"]
        lines += [_line([*row, *(str(found.get(one, "")) for one in columns)]) for row, found in rows.items()]
        compared = any(cell.paper is not None for cell in self.cells)
        notes = ["In brackets: the paper's figure."] * compared + self.notes
        return "\n\n".join([f"**{self.title}**", "\n".join(lines), *notes])

    def write(self, folder: Path) -> list[Path]:
        """Write NAME.md, NAME.json and the pictures NAME*.png; return their paths."""
        make_folder(folder)
        text = self.markdown() + "\n"
        paths = [folder / f"{self.name}.md", folder / f"{self.name}.json"]
        write_file(paths[0], lambda file: file.write(text.encode()))
        figures: list[Plain] = [
            {"row": list(cell.row), "column": cell.column, "value": cell.value, "paper": cell.paper}
            for cell in self.cells
        ]
        content: dict[str, Plain] = {
            "title": self.title,
            "figures": figures,
            "notes": list(self.notes),
            "skipped": list(self.skipped),
            **self.run,
            "records": self.records,
        }
        write_json(paths[1], content)
        for ending, picture in self.pictures.items():
            paths.append(folder / f"{self.name}{ending and '-' + ending}.png")
            write_picture(paths[-1], picture)
        return paths


def _line(words: Sequence[str]) -> str:
    return "| " + " | ".join(words) + " |"
