"""The matrix of an evaluation as it fills; the file of each finished cell is read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sharding.directory import PhaseDirectory
from sharding.plan import Plan
from synthclip_hpc.errors import UserError
from synthclip_hpc.evaluation.results import planned_cells, read_cell
from synthclip_hpc.monitor.book import OpenShards
from synthclip_hpc.monitor.parts import EvaluationCell, EvaluationStatus

READ_AT_MOST = 500
"""Cells that one look reads; the next look reads on."""
_MAIN = {"retrieval": "image_retrieval_recall@5", "linear_probe": "accuracy", "few_shot": "accuracy"}
_OTHERWISE = ("acc1", "accuracy", "mean_per_class_recall")


@dataclass
class EvaluationWatch:
    """Remembers the cells that were read."""

    _done: dict[int, EvaluationCell] = field(default_factory=dict)

    def status(self, directory: PhaseDirectory, plan: Plan, marked: set[int], begun: OpenShards) -> EvaluationStatus:
        """Return the matrix, cells in the order of the plan."""
        for shard in self._done.keys() - marked:
            del self._done[shard]  # `repair` has reopened it
        to_read = sorted(marked - self._done.keys())
        planned = planned_cells(plan)
        for shard in to_read[:READ_AT_MOST]:
            self._done[shard] = _read(directory, plan, shard, planned[shard])
        cells = [
            self._done.get(shard) or _open(shard, told, begun, shard in marked) for shard, told in enumerate(planned)
        ]
        return EvaluationStatus(tuple(cells), len(marked))


def _open(shard: int, told: Mapping[str, str], begun: OpenShards, is_done: bool) -> EvaluationCell:
    state = "running" if shard in begun.running else "failed" if shard in begun.failed else "pending"
    state = "done" if is_done else state  # not read yet
    return EvaluationCell(shard, told["model"], None, told["dataset"], told["task"], state, "", None, {})


def _read(directory: PhaseDirectory, plan: Plan, shard: int, told: Mapping[str, str]) -> EvaluationCell:
    try:
        cell = read_cell(directory.data_path(shard, plan.suffix))
    except (UserError, OSError):
        return EvaluationCell(shard, told["model"], None, told["dataset"], told["task"], "unreadable", "", None, {})
    main = main_metric(cell.task, cell.metrics)
    value = cell.metrics.get(main)
    return EvaluationCell(shard, cell.model, cell.epoch, cell.dataset, cell.task, "done", main, value, cell.metrics)


def main_metric(task: str, metrics: Mapping[str, float | None]) -> str:
    """Return the name of the number that stands for a cell; empty where it has none."""
    wanted = [_MAIN[task], *_OTHERWISE] if task in _MAIN else _OTHERWISE
    return next((name for name in wanted if name in metrics), next(iter(metrics), ""))
