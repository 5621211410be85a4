"""A model's figures by task and data set, in percent, and how two models compare: Δ_MTL.

The paper's five tasks are one figure each: the mean over the task's data sets. Only what was measured on the same data
sets may be compared, so the mean is taken over those that both have; where that is not all of them the comparison says
so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evals.delta_mtl import delta_mtl
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.evaluation.results import Cell
from synthclip_hpc.reporting.paper import paper_tables

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
_METRICS = {
    "linear_probe": {"linear_probe": "accuracy"},
    "few_shot": {"few_shot": "accuracy"},
    "zero_shot": {"zero_shot": "acc1"},
    "long_tail": {"long_tail": "acc1"},
    "retrieval": {"image_retrieval": "image_retrieval_recall@5", "text_retrieval": "text_retrieval_recall@5"},
}
"""Task of a cell -> the paper's task and the metric that its tables have."""


@dataclass(frozen=True)
class Scores:
    """The figures of one model, of a run or of the paper."""

    name: str
    by_set: Mapping[str, Mapping[str, float]]
    """Task -> data set -> percent."""
    printed_means: Mapping[str, float] = field(default_factory=dict)
    """Task -> the mean over `sets_of_means`, as the paper rounded it."""

    def of(self, task: str, dataset: str) -> float | None:
        """Return one figure, None when it was not measured."""
        return self.by_set.get(task, {}).get(dataset)

    def mean(self, task: str, datasets: Sequence[str]) -> float | None:
        """Return the mean over data sets; None unless all of them were measured."""
        found = [self.of(task, one) for one in datasets]
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
    """Whether these are all five, each over all data sets of the baseline."""


def scores_of_cells(name: str, cells: Sequence[Cell]) -> Scores:
    """Return the figures of one model of a run, by the catalogue's names of data sets."""
    found: dict[str, dict[str, float]] = {}
    for cell in cells:
        for task, metric in _METRICS.get(cell.task, {}).items():
            value = cell.metrics.get(metric)
            if value is not None:
                found.setdefault(task, {})[cell.dataset] = 100 * value
    return Scores(name, found)


def paper_sets() -> dict[str, tuple[str, ...]]:
    """Return the data sets over which the paper takes each task's mean."""
    found: dict[str, dict[str, None]] = {task: {} for task in TASKS}
    for table in paper_tables().values():
        if table.paper in ("Table 1a", "Table 1b"):
            for column in table.columns:
                if column.task and column.dataset:
                    found[column.task][column.dataset] = None
    return {task: tuple(sets) for task, sets in found.items()}


def paper_scores() -> dict[str, Scores]:
    """Return the figures of each model of the paper's Tables 1, 2, 3 and 7 that has all five tasks, by row name."""
    by_set: dict[str, dict[str, dict[str, float]]] = {}
    means: dict[str, dict[str, float]] = {}
    for table in paper_tables().values():
        if not table.paper.startswith(("Table 1", "Table 2", "Table 3", "Table 7")):
            continue
        for row in table.rows:
            for column, value in zip(table.columns, row.values, strict=False):
                if column.task and column.dataset:
                    by_set.setdefault(row.name, {}).setdefault(column.task, {})[column.dataset] = value
                if column.task and (column.dataset is None or column.task == "zero_shot"):
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
    """Return both figures of a task, and whether they are over all data sets of the baseline."""
    sets = paper_sets()[task] if task in baseline.printed_means else tuple(baseline.by_set.get(task, {}))
    if task in model.printed_means and task in baseline.printed_means:
        return (model.printed_means[task], baseline.printed_means[task]), True
    mine = model.mean(task, sets)
    if mine is not None and task in baseline.printed_means:
        return (mine, baseline.printed_means[task]), True
    common = [one for one in sets if model.of(task, one) is not None and baseline.of(task, one) is not None]
    ours, theirs = model.mean(task, common), baseline.mean(task, common)
    if ours is None or theirs is None:
        return None, False
    return (ours, theirs), len(common) == len(sets)
