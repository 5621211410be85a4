"""This run beside the paper's tables, and Δ_MTL against any of their rows."""

from __future__ import annotations

from collections.abc import Sequence

from synthclip_hpc.reporting.blocks import MISSING, Row, Section, Table, Text, Value
from synthclip_hpc.reporting.coverage_section import bank_size, coverage_figure
from synthclip_hpc.reporting.paper import REFERENCE, TITLE, Column, PaperTable, as_printed, paper_tables
from synthclip_hpc.reporting.protocols import Measure, not_comparable, standing
from synthclip_hpc.reporting.runs import Model, ToldRun
from synthclip_hpc.reporting.scores import (
    TASK_TITLES,
    TASKS,
    Scores,
    compare,
    find_baseline,
    paper_scores,
    paper_sets,
)

_NOTES = {
    "table-9": (
        "The paper's Table 9 takes 80 prompts for a class, Table 1b seven: a run's figure of ImageNet stands in one of "
        "the two, by its prompts."
    ),
    "long-tail": "The paper tells neither where its 150 images a class are from nor its prompts; a run has CLIP's 80.",
    "table-1c": "A run has a row where all five tasks were evaluated on all of the paper's data sets.",
}


def paper_section(told: Sequence[ToldRun], baseline: str | None) -> Section:
    """Return the section. Raises UserError for a baseline that no row is called by."""
    models = [model for run in told for model in run.models]
    known = known_scores(models)
    base = find_baseline(baseline, known)
    tables = [_beside(table, models, told) for table in paper_tables().values()]
    num_met = sum(any(row.kind == "ours" for row in table.rows) for table in tables)
    shown = sorted([_delta_table(models, base, told[0].name), *tables], key=lambda table: table.folded)
    return Section("paper", "Beside the paper", (Text(_words(models, num_met)), *_kept_out(told), *shown))


def known_scores(models: Sequence[Model]) -> dict[str, Scores]:
    """Return all rows that a baseline can be: the paper's, and the models of all runs."""
    return paper_scores() | {model.title: model.scores for model in models}


def _words(models: Sequence[Model], num_met: int) -> str:
    told = f"The paper is “{TITLE}” ({REFERENCE}); its numbers are as printed. "
    if num_met:
        return (
            told
            + f"In {num_met} of its tables this run has a figure; the others are closed. {MISSING} was not measured, "
            "or not as the paper did."
        )
    if any(standing(cell).reasons for model in models for cell in model.cells):
        return (
            told
            + "Nothing in this run was measured as the paper did, so its tables are closed, and for reference only."
        )
    if models:
        return (
            told + "None of its data sets was evaluated in this run, so its tables are closed, and for reference only."
        )
    return told + "This run has no evaluation yet, so its tables are closed, and for reference only."


def _kept_out(told: Sequence[ToldRun]) -> list[Text]:
    """Return what is among the results on data sets of the paper's, and not in its tables."""
    found = {run.name: not_comparable(run.cells) for run in told}
    whose = {run.name: f" in {run.name}" if len(told) > 1 else "" for run in told}
    return [
        Text(
            f"Not comparable with the paper{whose[name]}, so neither in its tables nor in Δ_MTL over its rows: {text}.",
            "caution",
        )
        for name, text in found.items()
        if text
    ]


def _beside(table: PaperTable, models: Sequence[Model], told: Sequence[ToldRun]) -> Table:
    """Return a table of the paper with the rows of the runs below its own."""
    rows = [
        Row(
            (
                *(Value(one) for one in row.about),
                *(
                    Value(_printed(row.values[place], column) if place < len(row.values) else MISSING)
                    for place, column in enumerate(table.columns)
                ),
            ),
            "paper",
        )
        for row in table.rows
    ]
    ours = _own_rows(table, models, told)
    note = f"{table.unit}. {_NOTES.get(table.id, '')}".strip()
    if ours and table.id == "table-5" and (concepts := bank_size(told[0].run)) is not None:
        note += f" The paper's bank has over 500,000 concepts, that of {told[0].name} {concepts:,}."
    return Table(
        name=table.id,
        title=f"{table.paper}: {table.title}",
        head=(*table.text_columns, *(column.title for column in table.columns)),
        rows=(*rows, *ours),
        num_text_columns=len(table.text_columns),
        note=note,
        folded=not ours,
    )


def _printed(value: float, column: Column) -> str:
    if column.coverage:
        return f"{value:,.0f}"
    return ("+" if column.delta_over and value >= 0 else "") + as_printed(value)


def _own_rows(table: PaperTable, models: Sequence[Model], told: Sequence[ToldRun]) -> list[Row]:
    """Return a row for each model (of Table 5: each run) that has at least one figure of the table."""
    rows = []
    if any(column.coverage for column in table.columns):
        for run in told:
            values = [coverage_figure(run.run, column.coverage or "") for column in table.columns]
            if any(value is not None for value in values):
                shown = (Value(MISSING if one is None else f"{one:,.0f}", strong=True) for one in values)
                kind = "ours" if run is told[0] else "others"
                rows.append(Row((Value(f"{run.name} (balanced)", strong=True), *shown), kind))
        return rows
    for model in models:
        values = [_own_figure(column, model.scores) for column in table.columns]
        if any(value is not None for value in values):
            samples = next((run.training_samples for run in told if run.name == model.run), None)
            about = _about(table, model, samples)
            shown = (
                Value(MISSING if one is None else f"{one:+.1f}" if column.delta_over else f"{one:.1f}", strong=True)
                for one, column in zip(values, table.columns, strict=True)
            )
            kind = "ours" if model.run == told[0].name else "others"
            rows.append(Row((*about, *shown), kind))
    return rows


def _about(table: PaperTable, model: Model, samples: int | None) -> tuple[Value, ...]:
    """Fill the text columns: the model's name first, the size of its data where the table has one."""
    cells = [Value(model.title, strong=True)]
    for title in table.text_columns[1:]:
        known = title == "Samples (M)" and samples is not None and model.epoch is not None
        cells.append(Value(f"{(samples or 0) / 1e6:.3g}" if known else model.run if title == "Data" else ""))
    return tuple(cells)


def _own_figure(column: Column, scores: Scores) -> float | None:
    if column.delta_over:
        found = compare(scores, paper_scores()[column.delta_over])
        return found.percent if found.is_whole else None
    if column.task is None:
        return None
    if column.dataset is not None:
        return scores.of(column.task, Measure(column.dataset))
    return scores.mean(column.task, paper_sets()[column.task])


def _delta_table(models: Sequence[Model], base: Scores, own_run: str) -> Table:
    """Return Δ_MTL of all models over one row, with what went into it."""
    rows = []
    kinds = {model.title: "ours" if model.run == own_run else "others" for model in models}
    for name, scores in ({model.title: model.scores for model in models} | paper_scores()).items():
        if name == base.name:
            continue
        found = compare(scores, base)
        told = MISSING if found.percent is None else f"{found.percent:+.2f}"
        went_in = ", ".join(TASK_TITLES[task].lower() for task in found.tasks)
        if not found.is_whole:
            went_in = f"in part: {went_in}" if went_in else "nothing in common"
        elif found.tasks == TASKS:
            went_in = "all five tasks"
        cells = (Value(name, strong=name in kinds), Value(went_in), Value(told, strong=name in kinds))
        rows.append(Row(cells, kinds.get(name, "paper")))
    return Table(
        name="delta-mtl",
        title=f"Δ_MTL over {base.name}",
        head=("Model", "What both have", "Δ_MTL (%)"),
        rows=tuple(rows),
        num_text_columns=2,
        note=(
            "The mean, over the paper's five tasks, of the gain over the baseline in percent of it; a task's figure is "
            "the mean over its data sets. In part: over the tasks and data sets that both have, measured in the same "
            "way, so not the paper's figure. The paper's rows are computed from its rounded means. Another baseline: "
            "report.baseline=NAME, as this table names it."
        ),
        folded=all(row.kind == "paper" or row.cells[-1].text == MISSING for row in rows),
    )
