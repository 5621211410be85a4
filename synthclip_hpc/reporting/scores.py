"""A model's figures by task and data set, in percent, and how two models compare: Δ_MTL.

The paper's five tasks are one figure each: the mean over the task's data sets. Only what was measured on the same data
sets by the same protocol may be compared, so the mean is taken over the measures that both have; where these are not
all of the paper's the comparison says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evals.delta_mtl import delta_mtl
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.evaluation.results import Cell
from synthclip_hpc.reporting.paper import paper_tables
from synthclip_hpc.reporting.protocols import PAPER_TASKS, Measure, measure_of, standing

TASKS = ("linear_probe", "few_shot", "image_retrieval", "text_retrieval", "zero_shot")
"""The order of the paper's tables."""
TASK_TITLES = {
    "linear_probe": "Linear probe",
    "few_shot": "Few-shot",
    "image_retrieval": "Image retrieval",
    "text_retrieval": "Text retrieval",
    "zero_shot": "Zero-shot",
    "long_tail": "Long tail",
}
DEFAULT_BASELINE = "CLIP CC12M"


@dataclass(frozen=True)
class Scores:
    """The figures of one model, of a run or of the paper."""

    name: str
    by_set: Mapping[str, Mapping[Measure, float]]
    """The paper's task -> data set and protocol -> percent."""
    printed_means: Mapping[str, float] = field(default_factory=dict)
    """Task -> the mean over `paper_sets`, as the paper rounded it."""

    def of(self, task: str, measure: Measure) -> float | None:
        """Return one figure, None when it was not measured."""
        return self.by_set.get(task, {}).get(measure)

    def mean(self, task: str, measures: Sequence[Measure]) -> float | None:
        """Return the mean over data sets; None unless all of them were measured."""
        found = [self.of(task, one) for one in measures]
        known = [one for one in found if one is not None]
        return sum(known) / len(known) if known and len(known) == len(found) else None


@dataclass(frozen=True)
class Comparison:
    """Δ_MTL of a model over a baseline."""

    percent: float | None
    """None when they have nothing in common."""
    tasks: tuple[str, ...]
    """The tasks that went in."""
    is_whole: bool
    """Whether these are all five, each over the paper's data sets, measured as the paper did."""


def scores_of_cells(name: str, cells: Sequence[Cell]) -> Scores:
    """Return the figures of one model of a run; those that are no figures of the paper have a measure of their own."""
    found: dict[str, dict[Measure, float]] = {}
    for cell in cells:
        paper = standing(cell).tasks
        for task, one in PAPER_TASKS.items():
            value = cell.metrics.get(one.metric) if one.task == cell.task else None
            if value is not None:
                measure = Measure(cell.dataset) if task in paper else measure_of(cell)
                found.setdefault(task, {})[measure] = 100 * value
    return Scores(name, found)


def paper_sets() -> dict[str, tuple[Measure, ...]]:
    """Return the data sets over which the paper takes each task's mean."""
    found: dict[str, dict[Measure, None]] = {task: {} for task in TASKS}
    for table in paper_tables().values():
        if table.paper in ("Table 1a", "Table 1b"):
            for column in table.columns:
                if column.task and column.dataset:
                    found[column.task][Measure(column.dataset)] = None
    return {task: tuple(sets) for task, sets in found.items()}


def paper_scores() -> dict[str, Scores]:
    """Return the figures of each model of the paper that has all five tasks in Tables 1, 2, 3 or 7, by row name."""
    by_set: dict[str, dict[str, dict[Measure, float]]] = {}
    means: dict[str, dict[str, float]] = {}
    for table in paper_tables().values():
        for row in table.rows:
            for column, value in zip(table.columns, row.values, strict=False):
                if column.task and column.dataset:
                    by_set.setdefault(row.name, {}).setdefault(column.task, {})[Measure(column.dataset)] = value
                if column.task in TASKS and (column.dataset is None or column.task == "zero_shot"):
                    means.setdefault(row.name, {})[column.task] = value
    return {name: Scores(name, by_set.get(name, {}), means[name]) for name in means if set(means[name]) == set(TASKS)}


def compare(model: Scores, baseline: Scores) -> Comparison:
    """Return Δ_MTL over the tasks and data sets that both have."""
    ours, theirs, tasks, is_whole = [], [], [], True
    for task in TASKS:
        pair, whole = _pair(task, model, baseline)
        is_whole = is_whole and whole
        if pair is not None and pair[1] > 0:
            ours.append(pair[0])
            theirs.append(pair[1])
            tasks.append(task)
    percent = delta_mtl(ours, theirs) if tasks else None
    return Comparison(percent, tuple(tasks), is_whole and tuple(tasks) == TASKS)


def find_baseline(wanted: str | None, known: Mapping[str, Scores]) -> Scores:
    """Return the row that `report.baseline` names, whatever its case. Raises UserError naming the nearest."""
    name = DEFAULT_BASELINE if wanted is None else wanted
    by_name = {one.casefold(): one for one in known}
    found = by_name.get(" ".join(name.split()).casefold())
    if found is None:
        raise UserError(f"report.baseline={name}: no row of that name{nearest(name, known)}. Valid: {', '.join(known)}")
    return known[found]


def _pair(task: str, model: Scores, baseline: Scores) -> tuple[tuple[float, float] | None, bool]:
    """Return both figures of a task, and whether they are over all of the paper's data sets."""
    ours, theirs = (_paper_mean(task, one) for one in (model, baseline))
    if ours is not None and theirs is not None:
        return (ours, theirs), True
    common = [one for one in baseline.by_set.get(task, {}) if model.of(task, one) is not None]
    ours, theirs = model.mean(task, common), baseline.mean(task, common)
    return (None if ours is None or theirs is None else (ours, theirs)), False


def _paper_mean(task: str, scores: Scores) -> float | None:
    """Return the mean over the paper's data sets: the printed one, or that of the figures; None without all of them."""
    return scores.printed_means.get(task, scores.mean(task, paper_sets()[task]))
