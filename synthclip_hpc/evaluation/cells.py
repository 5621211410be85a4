"""Which cells an evaluation has: model, data set and task, and the parameters of each protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evals.errors import EvalError
from synthclip_hpc.config.eval import EvalConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.evaluation.data_sets import DataSet, Facts
from synthclip_hpc.evaluation.models import Model
from synthclip_hpc.evaluation.settings import SEED, tasks_of

LONG_TAIL = "long_tail"
_WAY, _SHOT, _QUERIES = 5, 5, 6
_BUILT_IN_TEMPLATES = ("openai80", "simple7")
_PROBED = ("train", "val", "test")
_SPLITS = {"linear_probe": _PROBED, "few_shot": _PROBED}
RETRIEVAL_SETS = "-retrieval"
"""How the names of built-in sets for retrieval end."""


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

    def to_json(self) -> dict[str, Any]:
        """Return what the plan keeps."""
        return asdict(self)


def cells_of(settings: EvalConfig, models: Sequence[Model], sets: Sequence[DataSet]) -> list[CellPlan]:
    """Return the cells by model, data set and task: those of one model and data set share features.

    Raises UserError for values and data sets that cannot be, and when no task fits any of the data sets.
    """
    tasks = tasks_of(settings)
    of_sets = [part for one in sets for part in _of_data_set(settings, one, tasks)]
    if not of_sets:
        raise UserError(
            f"eval.tasks={settings.tasks}: none of these tasks fits any of eval.datasets={settings.datasets}; "
            "retrieval wants captions, the others classes, and linear_probe and few_shot a train split as well, "
            "few_shot with 5 images a class"
        )
    return [CellPlan(model.name, *part) for model in models for part in of_sets]


def splits_of(task: str) -> tuple[str, ...]:
    """Return the splits that a task reads where they are there."""
    return _SPLITS.get(task, ("test",))


def _of_data_set(settings: EvalConfig, one: DataSet, tasks: Sequence[str]) -> list[tuple[Any, ...]]:
    facts = None if one.is_glyphs else one.facts()
    found = []
    for task in (task for task in tasks if _fits(settings, task, one, facts)):
        splits = splits_of(task)
        sha256 = None if facts is None else facts.sha256(splits)
        images = {} if facts is None else {name: facts.images[name] for name in splits if name in facts.images}
        classes = 0 if facts is None else facts.classes
        found.append((one.name, task, _parameters(settings, one, task), sha256, images, classes))
    return found


def _fits(settings: EvalConfig, task: str, one: DataSet, facts: Facts | None) -> bool:
    retrieval = one.name.endswith(RETRIEVAL_SETS) if facts is None else facts.retrieval
    if task == "retrieval" or retrieval:
        return task == "retrieval" and retrieval
    if (task == LONG_TAIL) != (one.name == LONG_TAIL):
        return False
    if task not in _SPLITS:
        return True
    if facts is None:
        return settings.glyph_images >= _SHOT  # of which the probe holds a fifth out
    has_train = "train" in facts.images
    if task == "few_shot":
        return has_train and facts.classes >= _WAY and facts.least["train"] >= _SHOT
    return has_train


def _parameters(settings: EvalConfig, one: DataSet, task: str) -> dict[str, Any]:
    if task == "linear_probe":
        return {"probe": settings.probe, "metric": metric_of(one), "layer": "pre", "seed": SEED}
    if task == "few_shot":
        own = {"way": _WAY, "shot": _SHOT, "queries": _QUERIES, "seed": SEED}
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
