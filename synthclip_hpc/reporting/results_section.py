"""The run's own results: every figure that was measured, beside guessing and beside the other models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synthclip_hpc.config import RunConfig
from synthclip_hpc.config.eval import GLYPH_SETS
from synthclip_hpc.evaluation.chance import chance_level
from synthclip_hpc.evaluation.results import Cell
from synthclip_hpc.reporting.blocks import MISSING, Block, Listing, Row, Section, Table, Text, Value
from synthclip_hpc.reporting.naming import SHOWN_METRICS, metric_title, task_title
from synthclip_hpc.reporting.protocols import measure_of, standing, variant
from synthclip_hpc.reporting.results_plot import results_plot
from synthclip_hpc.reporting.runs import Model, ToldRun

_MOST_OPEN_ROWS = 40
_MOST_BARRED = 3
"""Models beside one another that have room for bars."""
_COUNTED = "training captions that name it"


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
    blocks.append(Listing("How it was measured", "\n\n".join(_protocols(models))))
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
    trained_here = any(cell.epoch is not None for cell in cells)
    if trained_here and config.render.renderer == "glyphs" and len(seen) == 2:
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


def _protocols(models: Sequence[Model]) -> list[str]:
    """Return what each protocol is, once, and how a run departed from it."""
    cells = [cell for model in models for cell in model.cells]
    told = (f"{task_title(cell.task, variant(cell))}: {cell.record.get('protocol', '')}" for cell in cells)
    return list(dict.fromkeys(told))


def _table(models: Sequence[Model]) -> Table:
    """Return all figures: a row a metric, a column a model; of other data, or by another protocol, in other rows."""
    rows = []
    found = _by_measure(models)
    titles = [_titles(next(iter(cells.values()))) for cells in found]
    for place, cells in enumerate(found):
        (dataset, task), some = titles[place], next(iter(cells.values()))
        if titles.count(titles[place]) > 1:
            dataset += f" ({titles[: place + 1].count(titles[place])})"
        for metric in SHOWN_METRICS.get(some.task, ()):
            level = chance_level(some, metric)
            barred = len(models) <= _MOST_BARRED
            values = tuple(_value(cells.get(model.title), metric, level, barred=barred) for model in models)
            first = Value("" if level is None else f"{100 * level:.2g}")
            rows.append(Row((Value(dataset), Value(task), Value(metric_title(metric)), first, *values)))
    note = f"± is the standard deviation over episodes. {MISSING} was not evaluated."
    if any(titles.count(title) > 1 for title in titles):
        note += " Numbered: of the same name, but not the same images or prompts."
    if any(standing(cell).reasons for cells in found for cell in cells.values()):
        note += " Why a figure is not comparable with the paper is told beside its tables."
    return Table(
        name="results",
        title="All figures, in percent",
        head=("Data set", "Task", "Figure", "guessing", *(model.title for model in models)),
        rows=tuple(rows),
        num_text_columns=3,
        note=note,
        folded=len(rows) > _MOST_OPEN_ROWS,
        num_group_columns=2,
    )


def _by_measure(models: Sequence[Model]) -> list[dict[str, Cell]]:
    """Return the cells that may stand in a row, by the title of their model; those of a data set together."""
    found: dict[str, dict[str, dict[object, dict[str, Cell]]]] = {}
    for model in models:
        for cell in model.cells:
            # The guessing of a row is that of all its cells: with records that do not tell what data they are of, too.
            levels = tuple(chance_level(cell, metric) for metric in SHOWN_METRICS.get(cell.task, ()))
            by_measure = found.setdefault(cell.dataset, {}).setdefault(cell.task, {})
            by_measure.setdefault((measure_of(cell), levels), {})[model.title] = cell
    return [cells for tasks in found.values() for measures in tasks.values() for cells in measures.values()]


def _titles(cell: Cell) -> tuple[str, str]:
    """Return what a data set and a task are called, and whether the figure looks like the paper's and is not."""
    told = ", not comparable with the paper" if standing(cell).reasons else ""
    return cell.dataset, task_title(cell.task, variant(cell)) + told


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
    runs = dict.fromkeys(model.run for model, _ in cells)
    counts = [_of_classes([cell for model, cell in cells if model.run == run], "matches") for run in runs]
    recalls = [_of_classes([cell], "recall") for _, cell in cells]
    rows = []
    for name in dict.fromkeys(name for found in recalls for name in found):
        counted = (found.get(name) for found in counts)
        shown = (found.get(name) for found in recalls)
        rows.append(
            Row(
                (
                    Value(name),
                    *(Value(MISSING if one is None else f"{one:,}") for one in counted),
                    *(Value(MISSING if one is None else f"{100 * one:.1f}") for one in shown),
                )
            )
        )
    titles = [_COUNTED] if len(runs) == 1 else [f"{_COUNTED}, {run}" for run in runs]
    head = ("Class", *titles, *(model.title for model, _ in cells))
    note = "" if len({measure_of(cell) for _, cell in cells}) == 1 else "Not all on the same images or prompts."
    return Table("long-tail-classes", "Long-tail classes, recall in percent", head, tuple(rows), note=note)


def _of_classes(cells: Sequence[Cell], key: str) -> dict[str, Any]:
    """Return a number of each class by its name: the first that one of the cells knows, None where none does."""
    found: dict[str, Any] = {}
    for cell in cells:
        per_class = cell.record.get("per_class", {})
        for name, value in zip(per_class.get("name", ()), per_class.get(key, ()), strict=False):
            if found.get(str(name)) is None:
                found[str(name)] = value
    return found
