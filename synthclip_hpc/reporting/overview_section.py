"""The beginning of the report: what the run is, how far it got, and its main figures beside guessing."""

from __future__ import annotations

from collections.abc import Mapping

from sharding.seal import SealError, load_seal
from synthclip_hpc.evaluation.chance import chance_level
from synthclip_hpc.evaluation.metrics import MAIN_METRICS
from synthclip_hpc.evaluation.results import Cell
from synthclip_hpc.monitor.snapshot import Snapshot, StageStatus
from synthclip_hpc.reporting.blocks import MISSING, Block, Figure, Figures, Row, Section, Table, Text, Value
from synthclip_hpc.reporting.naming import figure_title, metric_title, set_title
from synthclip_hpc.reporting.open_cells import open_cells_table
from synthclip_hpc.reporting.outside_model import outside_model_of
from synthclip_hpc.reporting.places import TOLD_STAGES
from synthclip_hpc.reporting.portable import portable
from synthclip_hpc.reporting.protocols import standing, variant
from synthclip_hpc.reporting.runs import Model, ToldRun
from synthclip_hpc.reporting.scores import (
    DEFAULT_BASELINE,
    TASK_TITLES,
    TASKS,
    compare,
    paper_scores,
    paper_sets,
)

_MOST_FIGURES = 8
_WORDS = {
    "concepts": "concepts read from the bank",
    "captions": "captions written",
    "balance": "captions kept, balanced over concepts",
    "render": "images drawn",
    "merge": "one verified data set",
    "train": "epochs of CLIP training",
    "eval": "evaluations: model, data set, task",
    "report": "this report",
}


def overview_section(told: ToldRun, snapshot: Snapshot) -> Section:
    """Return the section; it is there for every run, however little was done."""
    blocks: list[Block] = [Text(_sentence(told))]
    figures = _main_figures(told)
    if figures:
        blocks.append(Figures(figures))
    elif not told.cells:
        blocks.append(Text("Nothing was evaluated in this run yet, so there are no results to show.", "caution"))
    if states := {stage.name: stage for stage in snapshot.stages}:
        blocks.append(_stages(told, states))
    open_cells = open_cells_table(told.run, snapshot)
    has_errors = open_cells is not None and any(row.cells[-1].text for row in open_cells.rows)
    for stage in states.values():
        # What went wrong with a cell stands in its row.
        if stage.state == "failed" and stage.message and not (stage.name == "eval" and has_errors):
            blocks.append(Text(f"{stage.name} failed: {portable(stage.message)}", "caution"))
    if open_cells is not None:
        blocks.append(open_cells)
    return Section("overview", "Overview", tuple(blocks))


def _sentence(told: ToldRun) -> str:
    """Return what the run is, by the stages that are part of it."""
    config, has = told.config, told.run.has_plans
    parts = []
    if has("concepts"):
        parts.append(f"the concepts of {portable(config.concepts.bank)}")
    if config.balance.source is not None and has("balance"):
        parts.append(f"captions from {portable(config.balance.source)}")
    elif has("captions"):
        templates = config.captions.engine == "template"
        parts.append(f"captions written by {'templates' if templates else portable(config.captions.model)}")
    if has("render"):
        style = f"emoji scenes in the style of {config.render.style}"
        renderer = portable(config.render.diffusion.model or config.render.preset or config.render.renderer)
        parts.append(style if config.render.renderer == "glyphs" else f"images drawn by {renderer}")
    if has("train"):
        data = "" if config.train.data is None else f", trained on {portable(config.train.data)}"
        start = "" if config.train.init is None else f", starting from {portable(config.train.init)}"
        size = f"{config.train.epochs} epochs in batches of {config.train.batch_size:,}"
        parts.append(f"a CLIP model ({portable(config.train.model)}){data}{start}, {size}")
    if (outside := outside_model_of(told)) is not None:
        parts.append(f"{'evaluated' if outside.sha256 else 'to be evaluated'}: {outside.words()}")
    if not parts:
        return "Nothing of this run has been planned yet." if not has("eval") else "An evaluation alone."
    return f"{parts[0][0].upper()}{'; '.join(parts)[1:]}. Seed {config.seed}."


def _main_figures(told: ToldRun) -> tuple[Figure, ...]:
    """Return one figure for each data set and task of the newest model."""
    model = told.newest_model
    if model is None:
        return ()
    if of_tasks := _task_figures(model):
        return of_tasks
    found = []
    for cell in model.cells:
        metric, *others = MAIN_METRICS.get(cell.task, ("",))
        value = cell.metrics.get(metric)
        if value is None:
            continue
        label = f"{figure_title(cell.task, metric, variant(cell))}: {set_title(cell, told.config)}"
        beside = [text for one in others if (text := _also(cell, one))]
        if (level := chance_level(cell, metric)) is not None:
            beside.insert(0, f"guessing: {100 * level:.2g} %")
        if standing(cell).reasons:
            beside.append("not comparable with the paper")
        found.append(Figure(f"{100 * value:.1f} %", label, "; ".join(beside)))
    return tuple(found[:_MOST_FIGURES])


def _also(cell: Cell, metric: str) -> str:
    """Return a second figure of a cell in words, empty without one."""
    value = cell.metrics.get(metric)
    if value is None:
        return ""
    level = chance_level(cell, metric)
    return f"{metric_title(metric)}: {100 * value:.1f} %" + (
        "" if level is None else f", guessing: {100 * level:.2g} %"
    )


def _task_figures(model: Model) -> tuple[Figure, ...]:
    """Return the paper's five figures and Δ_MTL where the model was evaluated on all of the paper's data sets."""
    base = paper_scores()[DEFAULT_BASELINE]
    compared = compare(model.scores, base)
    if not compared.is_whole or compared.percent is None:
        return ()
    found = [Figure(f"{compared.percent:+.1f} %", "Δ_MTL", f"over the paper's {base.name}")]
    for task in TASKS:
        sets = paper_sets()[task]
        mean, printed = model.scores.mean(task, sets), base.printed_means[task]
        label = TASK_TITLES[task] + (f", mean of {len(sets)} sets" if len(sets) > 1 else ", ImageNet")
        found.append(Figure(f"{mean:.1f} %", label, f"the paper's {base.name}: {printed:.1f} %"))
    return tuple(found)


def _stages(told: ToldRun, states: Mapping[str, StageStatus]) -> Table:
    rows = []
    for stage in TOLD_STAGES:
        if (state := states.get(stage)) is None:
            continue
        items = f"{state.items_done:,}" if state.items_total else MISSING
        rows.append(
            Row(
                (
                    Value(stage),
                    Value(_WORDS[stage]),
                    Value(state.state),
                    Value(items),
                    Value(f"{state.items_rejected:,}"),
                    Value(_size(told, stage)),
                )
            )
        )
    head = ("Stage", "What", "State", "Items", "Rejected", "On disk")
    others = ", ".join(stage for stage in TOLD_STAGES if stage not in states)
    note = f"Not part of the run so far: {others}." if others else ""
    return Table("stages", "Stages", head, tuple(rows), num_text_columns=3, note=note)


def _size(told: ToldRun, stage: str) -> str:
    """Return the size of what the stage's finished phases made."""
    from synthclip_hpc.pipeline import phases_of

    total = 0
    for phase in phases_of(stage):
        try:
            seal = load_seal(told.run.phase(stage, phase.name))
        except SealError:
            return "damaged"
        total += 0 if seal is None else seal.size_bytes
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if total >= size:
            return f"{total / size:.3g} {unit}"
    return f"{total} B" if total else MISSING
