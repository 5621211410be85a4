"""The results of an evaluation as a table of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from synthclip_hpc.evaluation.chance import chance_level
from synthclip_hpc.evaluation.metrics import TITLES
from synthclip_hpc.evaluation.results import Cell


def table_of(cells: Sequence[Cell]) -> list[str]:
    """Return lines: a row for each model and data set, figures in percent, and what guessing would give."""
    rows: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        rows.setdefault((cell.model, cell.dataset), []).extend(_figures(cell))
    model_width = max((len(model) for model, _ in rows), default=0)
    set_width = max((len(dataset) for _, dataset in rows), default=0)
    return [
        f"{model:<{model_width}}  {dataset:<{set_width}}  {', '.join(told)}" for (model, dataset), told in rows.items()
    ]


def _figures(cell: Cell) -> list[str]:
    told = []
    for metric, title in TITLES[cell.task].items():
        if (value := cell.metrics.get(metric)) is None:
            continue
        chance = chance_level(cell, metric)
        beside = "" if chance is None else f" (chance {100 * chance:.1f} %)"
        told.append(f"{title} {100 * value:.1f} %{beside}")
    return told
