"""The numbers that the paper prints, read from `paper_tables.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TITLE = "SynthCLIP: Are We Ready for a Fully Synthetic CLIP Training?"
REFERENCE = "arXiv 2402.01832"
SCHEMA = 1
_FILE = Path(__file__).with_name("paper_tables.toml")


@dataclass(frozen=True)
class Column:
    """A column of numbers, and which number of a run belongs into it."""

    title: str
    task: str | None = None
    """One of `protocols.PAPER_TASKS`."""
    dataset: str | None = None
    """Name in the catalogue; None: the mean over the task's data sets."""
    mean_of_table: bool = False
    delta_over: str | None = None
    """The row that Δ_MTL is measured against."""
    coverage: str | None = None


@dataclass(frozen=True)
class PaperRow:
    """A row as printed; `values` may be shorter than the columns: nothing is printed in the last ones."""

    name: str
    about: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class PaperTable:
    """A table, or a part of one, as printed."""

    id: str
    paper: str
    title: str
    unit: str
    text_columns: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[PaperRow, ...]

    def row(self, name: str) -> PaperRow:
        """Return a row by its name. Raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{self.id} has no row {name!r}")

    def value(self, row: str, column: str) -> float:
        """Return a printed number by row name and column title. Raises KeyError."""
        titles = [one.title for one in self.columns]
        if column not in titles:
            raise KeyError(f"{self.id} has no column {column!r}")
        return self.row(row).values[titles.index(column)]


@cache
def paper_tables() -> Mapping[str, PaperTable]:
    """Return the paper's tables by id, in the paper's order."""
    content = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    if content["schema"] != SCHEMA:
        raise ValueError(f"{_FILE.name}: schema {content['schema']}, this version reads {SCHEMA}")
    tables = [
        PaperTable(
            id=one["id"],
            paper=one["paper"],
            title=one["title"],
            unit=one["unit"],
            text_columns=tuple(one["text_columns"]),
            columns=tuple(Column(**column) for column in one["columns"]),
            rows=tuple(
                PaperRow(row["name"], tuple(row["about"]), tuple(float(value) for value in row["values"]))
                for row in one["rows"]
            ),
        )
        for one in content["tables"]
    ]
    return {table.id: table for table in tables}


def as_printed(value: float) -> str:
    """Return a figure with one decimal, or with two where the paper gives two that matter."""
    return f"{value:.1f}" if abs(value * 10 - round(value * 10)) < 1e-6 else f"{value:.2f}"
