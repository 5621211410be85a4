"""Which cells an evaluation has: model, data set and task, and the parameters of each protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evals.errors import EvalError
from evals.templates import NAMED
from synthclip_hpc.config.eval import EvalConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.evaluation.data_sets import DataSet
from synthclip_hpc.evaluation.facts import Facts
from synthclip_hpc.evaluation.fitting import SHOT, WAY, Remark, catalogued, lines_of, misfit, remark_on
from synthclip_hpc.evaluation.models import Model
from synthclip_hpc.evaluation.settings import SEED, tasks_of

_QUERIES = 6
_BUILT_IN_TEMPLATES = NAMED[1:]
"""But for `folder`, which is what `catalogue` falls back to."""
_PROBED = ("train", "val", "test")
_SPLITS = {"linear_probe": _PROBED, "few_shot": _PROBED}


@dataclass(frozen=True)
class CellPlan:
    """One number-table to be made."""

    model: str
    dataset: str
    task: str
    parameters: dict[str, Any]
    """Of the protocol."""
    sha256: str | None
    """Of the data that the task reads; None for a built-in set, which the inputs bind."""
    images: dict[str, int]
    """By split that the task reads; empty for a built-in set."""
    classes: int
    catalogue: str | None
    """The catalogue's name of the data, if they were found to be what it says; None for built-in sets and paths."""

    def to_json(self) -> dict[str, Any]:
        """Return what the plan keeps."""
        return asdict(self)


@dataclass(frozen=True)
class Matrix:
    """All that an evaluation measures."""

    cells: list[CellPlan]
    """By model, data set and task: those of one model and data set share features."""
    remarks: list[Remark]
    """On what is left out, and on what is measured otherwise than a reader would think."""


def matrix_of(settings: EvalConfig, models: Sequence[Model], sets: Sequence[DataSet]) -> Matrix:
    """Return the cells, and what is to be said of tasks on data sets that have none.

    Raises UserError for values and data sets that cannot be, and when no task fits any of the data sets.
    """
    tasks = tasks_of(settings)
    of_sets: list[tuple[Any, ...]] = []
    remarks: list[Remark] = []
    for one in sets:
        facts = None if one.is_glyphs else one.facts()
        for task in tasks:
            if reason := misfit(settings, task, one, facts):
                remarks.append(Remark(one.name, task, reason))
                continue
            of_sets.append(_of_data_set(settings, task, one, facts))
            if remark := remark_on(task, one, facts):
                remarks.append(remark)
    if not of_sets:
        told = "; ".join(lines_of([remark.to_json() for remark in remarks]))
        raise UserError(
            f"eval.tasks={settings.tasks}: none of these tasks fits any of eval.datasets={settings.datasets}: {told}. "
            "Name other tasks, or complete the data"
        )
    return Matrix([CellPlan(model.name, *part) for model in models for part in of_sets], remarks)


def is_drawn(cell: Mapping[str, Any]) -> bool:
    """Return whether a planned cell is of a set that the run itself draws; a set of another run is a folder."""
    return cell["sha256"] is None


def splits_of(task: str) -> tuple[str, ...]:
    """Return the splits that a task reads where they are there."""
    return _SPLITS.get(task, ("test",))


def _of_data_set(settings: EvalConfig, task: str, one: DataSet, facts: Facts | None) -> tuple[Any, ...]:
    """Return the fields of a cell but for its model."""
    parameters = _parameters(settings, one, task)
    if facts is not None and parameters.get("templates") == "folder":
        one.check_prompts()
    if facts is None:
        return one.name, task, parameters, None, {}, 0, None
    splits = splits_of(task)
    images = {name: facts.images[name] for name in splits if name in facts.images}
    return one.name, task, parameters, facts.sha256(splits), images, facts.classes, catalogued(task, one, facts)


def _parameters(settings: EvalConfig, one: DataSet, task: str) -> dict[str, Any]:
    if task == "linear_probe":
        return {"probe": settings.probe, "metric": metric_of(one), "layer": "pre", "seed": SEED}
    if task == "few_shot":
        own = {"way": WAY, "shot": SHOT, "queries": _QUERIES, "seed": SEED}
        return {"episodes": settings.episodes, **own, "layer": "pre"}
    if task == "retrieval":
        return {}
    return {"templates": _templates(settings, one)}


def metric_of(one: DataSet) -> str:
    """Return what the probe's accuracy is: `top1`, or `mean_per_class` where the data set's own figure is that."""
    return "mean_per_class" if one.info is not None and one.info.metric == "mean_per_class_recall" else "top1"


def _templates(settings: EvalConfig, one: DataSet) -> str | list[str]:
    """Return the name of a built-in list, `folder` for the folder's own, or the prompts themselves."""
    asked = settings.templates
    if asked in _BUILT_IN_TEMPLATES:
        return asked
    if asked != "catalogue":
        return _in_file(asked)
    if one.info is None or not one.info.templates:
        return "folder"
    given = one.info.templates
    return given if isinstance(given, str) else list(given)


def _in_file(name: str) -> list[str]:
    from evals.folder import DataFolder
    from evals.templates import find_templates
    from synthclip_hpc.paths import path_of

    path = path_of("eval.templates", name)
    valid = ("catalogue", *_BUILT_IN_TEMPLATES)
    if not path.is_file():
        raise UserError(
            f"eval.templates={name}{nearest(name, valid)}: no such file; valid are {', '.join(valid)}, or a file with "
            "one prompt a line, {c} in the place of the class"
        )
    try:
        return list(find_templates(str(path), DataFolder(path.parent, False, (), ())))
    except EvalError as error:
        raise UserError(f"eval.{error}") from error
