"""Cells of earlier runs, taken over where everything that makes them is equal."""

from __future__ import annotations

from typing import Any

from synthclip_hpc.errors import UserError
from synthclip_hpc.evaluation.results import Cell, read_cells
from synthclip_hpc.evaluation.settings import words
from synthclip_hpc.paths import path_of
from synthclip_hpc.run import Run

_NAMES = {"model": ("name", "epoch", "source"), "dataset": ("name", "catalogue")}
"""Parts of a record, and what in them a cell is called by."""


class Reuse:
    """The finished cells of other runs."""

    def __init__(self, runs: str | None) -> None:
        """`runs` as `eval.reuse` has them. Raises UserError for a folder that is no run with finished cells."""
        self._cells: list[tuple[str, Cell]] = []
        for word in words(runs or ""):
            found = read_cells(Run(path_of("eval.reuse", word).absolute()))
            if not found:
                raise UserError(
                    f"eval.reuse={word}: it has no finished cells; name the directory of a run that was evaluated "
                    f"(python -m synthclip_hpc.submit stage=eval run={word}), or leave eval.reuse out"
                )
            self._cells += [(word, cell) for cell in found]

    def __bool__(self) -> bool:
        return bool(self._cells)

    def take(self, head: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Return (the run, the record) of an equal cell, under our names; None when there is none."""
        wanted = _without_names(head)
        for run, cell in self._cells:
            if {key: value for key, value in _without_names(cell.record).items() if key in wanted} == wanted:
                return run, cell.record | head
        return None


def _without_names(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without what model and data are called; their content is told by their hashes."""
    return record | {
        part: {key: value for key, value in record[part].items() if key not in names} for part, names in _NAMES.items()
    }
