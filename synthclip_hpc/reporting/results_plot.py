"""The main figures of a run's newest model as bars, beside guessing and, where there is one, the paper's figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synthclip_hpc.evaluation.chance import chance_level
from synthclip_hpc.evaluation.metrics import MAIN_METRICS
from synthclip_hpc.reporting.blocks import Plot
from synthclip_hpc.reporting.naming import figure_title, set_title
from synthclip_hpc.reporting.plots import PALETTE, draw, is_narrow, legend, legend_label
from synthclip_hpc.reporting.protocols import PAPER_TASKS, Measure, standing, variant
from synthclip_hpc.reporting.runs import ToldRun
from synthclip_hpc.reporting.scores import DEFAULT_BASELINE, paper_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from synthclip_hpc.evaluation.results import Cell

_ROW_INCHES = 0.34
_NARROW_ROW_INCHES = 0.5
_MOST_ROWS = 40


def results_plot(told: ToldRun) -> Plot | None:
    """Return the plot; None when the run has no evaluated model."""
    model = told.newest_model
    if model is None:
        return None
    found = [
        (cell, metric, value)
        for cell in model.cells
        for metric in MAIN_METRICS.get(cell.task, ())
        if (value := cell.metrics.get(metric)) is not None
    ][:_MOST_ROWS]
    if not found:
        return None
    levels = [chance_level(cell, metric) for cell, metric, _ in found]
    papers = [_of_paper(cell, metric) for cell, metric, _ in found]
    names = [
        f"{set_title(cell, told.config)}: {figure_title(cell.task, metric, variant(cell))}" for cell, metric, _ in found
    ]

    def paint(axes: Axes) -> None:
        rows = range(len(found))
        values = [100 * value for _, _, value in found]
        height = 0.4 if is_narrow(axes) else 0.62
        axes.barh(rows, values, height=height, color=PALETTE["c1"], label=legend_label(model.title))
        for row, value in zip(rows, values, strict=True):
            # In a column of their own no marker can hide them.
            axes.text(1.02, row, f"{value:.1f}", va="center", transform=axes.get_yaxis_transform())
        chance = [(100 * level, row) for row, level in zip(rows, levels, strict=True) if level is not None]
        if chance:
            at, where = zip(*chance, strict=True)
            axes.plot(at, where, "|", color=PALETTE["c2"], markersize=13, markeredgewidth=2.2, label="guessing")
        printed = [(value, row) for row, value in zip(rows, papers, strict=True) if value is not None]
        if printed:
            at, where = zip(*printed, strict=True)
            label = f"the paper's {DEFAULT_BASELINE}"
            axes.plot(at, where, "D", color=PALETTE["c5"], markersize=5.5, label=label)
        if is_narrow(axes):  # no room beside the bars: above them
            axes.set_yticks([])
            for row, name in zip(rows, names, strict=True):
                axes.text(0, row - 0.3, name, va="bottom", fontsize="small")
        else:
            axes.set_yticks(rows, names)
        axes.set_ylim(len(found) - 0.4, -0.9 if is_narrow(axes) else -0.6)
        axes.set_xlim(0, 100)
        axes.set_xlabel("percent")
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        legend(axes, 1 + bool(chance) + bool(printed))

    alt = "; ".join(f"{name} {100 * value:.1f} %" for name, (_, _, value) in zip(names, found, strict=True))
    high, narrow_high = 1.1 + _ROW_INCHES * len(found), 1.2 + _NARROW_ROW_INCHES * len(found)
    note = ""
    if any(value is not None for value in papers) and any(standing(cell).reasons for cell, _, _ in found):
        note = "The paper's figures stand beside those that were measured as its own were."
    return draw(
        "results", "Results against guessing", alt, paint, note=note, size=(8.8, high), narrow_height=narrow_high
    )


def _of_paper(cell: Cell, metric: str) -> float | None:
    """Return what the paper prints for CLIP on CC12M, in percent, where one of its tables has the figure."""
    base = paper_scores()[DEFAULT_BASELINE]
    tasks = (task for task in standing(cell).tasks if PAPER_TASKS[task].metric == metric)
    return next((base.of(task, Measure(cell.dataset)) for task in tasks), None)
