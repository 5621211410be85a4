"""The run's own results: every figure that was measured, beside guessing and beside the other models."""

from __future__ import annotations

from collections.abc import Sequence

from synthclip_hpc.config import RunConfig
from synthclip_hpc.config.eval import GLYPH_SETS
from synthclip_hpc.evaluation.chance import chance_level
from synthclip_hpc.evaluation.results import Cell
from synthclip_hpc.reporting.blocks import MISSING, Block, Listing, Row, Section, Table, Text, Value
from synthclip_hpc.reporting.naming import SHOWN_METRICS, metric_title, task_title
from synthclip_hpc.reporting.results_plot import results_plot
from synthclip_hpc.reporting.runs import Model, ToldRun

_MOST_OPEN_ROWS = 40
_MOST_BARRED = 3
"""Models beside one another that have room for bars."""


def results_section(told: Sequence[ToldRun]) -> Section | None:
    """Return the section; None when nothing was evaluated in any of the runs."""
    models = [model for run in told for model in run.models]
    if not models:
        return None
    blocks: list[Block] = []
    if statement := glyph_statement([cell for model in models for cell in model.cells], told[0].config):
        blocks.append(Text(statement, "caution"))
    if (plot := results_plot(told[0])) is not None:
        blocks.append(plot)
    blocks.append(_table(models))
    if tail := _long_tail(models):
        blocks.append(tail)
    protocols = {cell.task: str(cell.record.get("protocol", "")) for model in models for cell in model.cells}
    listed = "\n\n".join(f"{task_title(task)}: {text}" for task, text in protocols.items())
    blocks.append(Listing("How it was measured", listed))
    return Section("results", "Results", tuple(blocks))


def glyph_statement(cells: Sequence[Cell], config: RunConfig) -> str:
    """Return what figures on the built-in glyph sets show and what not; empty when there are none."""
    names = {cell.dataset for cell in cells} & set(GLYPH_SETS)
    if not names:
        return ""
    text = (
        "The glyph sets are drawn scenes of emoji, made by this project. They show that the whole pipeline works, and "
        "how far a model gets from the drawings it was trained on to new ones"
    )
    seen = [style for style in ("twemoji", "openmoji") if any(style in name for name in names)]
    if config.render.renderer == "glyphs" and len(seen) == 2:
        own = config.render.style
        other = next(style for style in seen if style != own)
        text += (
            f": {own} is the style of the training images, in scenes that were never trained on, and {other} draws "
            "the same things in a style the model has never seen"
        )
    return (
        f"{text}. They do not say how well a model does on photographs, and they are not comparable with the paper's "
        "tables. What guessing would give stands beside each figure."
    )


def _table(models: Sequence[Model]) -> Table:
    """Return all figures: a row a metric, a column a model."""
    keys: dict[tuple[str, str], None] = {(cell.dataset, cell.task): None for model in models for cell in model.cells}
    rows = []
    for dataset, task in keys:
        found = [_cell_of(model, dataset, task) for model in models]
        some = next(cell for cell in found if cell is not None)
        for metric in SHOWN_METRICS.get(task, ()):
            level = chance_level(some, metric)
            values = tuple(_value(cell, metric, level, barred=len(models) <= _MOST_BARRED) for cell in found)
            first = Value("" if level is None else f"{100 * level:.2g}")
            head = (Value(dataset), Value(task_title(task)), Value(metric_title(metric)))
            rows.append(Row((*head, first, *values)))
    return Table(
        name="results",
        title="All figures, in percent",
        head=("Data set", "Task", "Figure", "guessing", *(model.title for model in models)),
        rows=tuple(rows),
        num_text_columns=3,
        note="± is the standard deviation over episodes. " + MISSING + " was not evaluated.",
        folded=len(rows) > _MOST_OPEN_ROWS,
        num_group_columns=2,
    )


def _cell_of(model: Model, dataset: str, task: str) -> Cell | None:
    return next((cell for cell in model.cells if (cell.dataset, cell.task) == (dataset, task)), None)


def _value(cell: Cell | None, metric: str, level: float | None, *, barred: bool) -> Value:
    number = None if cell is None else cell.metrics.get(metric)
    if cell is None or number is None:
        return Value(MISSING)
    text = f"{100 * number:.1f}"
    spread = cell.metrics.get("std")
    if cell.task == "few_shot" and spread is not None:
        text += f" ± {100 * spread:.1f}"
    return Value(text, share=number, chance=level) if barred else Value(text)


def _long_tail(models: Sequence[Model]) -> Table | None:
    """Return recall by class of the long-tail task, beside how many training captions name the class."""
    cells = [(model, cell) for model in models for cell in model.cells if cell.task == "long_tail"]
    if not cells:
        return None
    first = cells[0][1].record.get("per_class", {})
    rows = []
    for place, name in enumerate(first.get("name", ())):
        matches = first.get("matches", [])[place : place + 1]
        counted = MISSING if not matches or matches[0] is None else f"{matches[0]:,}"
        recalls = [cell.record.get("per_class", {}).get("recall", [])[place : place + 1] for _, cell in cells]
        values = [Value(MISSING if not one or one[0] is None else f"{100 * one[0]:.1f}") for one in recalls]
        rows.append(Row((Value(str(name)), Value(counted), *values)))
    head = ("Class", "training captions that name it", *(model.title for model, _ in cells))
    return Table("long-tail-classes", "Long-tail classes, recall in percent", head, tuple(rows))
