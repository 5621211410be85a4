"""What a figure was measured on and how: whether as the paper did it, and which figures may be compared at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evals import catalogue
from evals.catalogue import DataSetInfo
from evals.errors import EvalError
from sharding.canonical import fingerprint
from synthclip_hpc.evaluation.results import Cell
from synthclip_hpc.reporting.naming import metric_title, task_title
from synthclip_hpc.reporting.paper import paper_tables


@dataclass(frozen=True)
class PaperTask:
    """A task as the paper did it."""

    task: str
    """That of the cell."""
    metric: str
    """The one that the paper prints."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Of the cell, as a cell that is like the paper's has them."""


PAPER_TASKS = {
    "linear_probe": PaperTask("linear_probe", "accuracy", {"probe": "lgssl"}),
    "few_shot": PaperTask("few_shot", "accuracy", {"way": 5, "shot": 5, "queries": 6, "episodes": 5000}),
    "zero_shot": PaperTask("zero_shot", "acc1", {"templates": "simple7"}),
    "robustness": PaperTask("zero_shot", "acc1", {"templates": "openai80"}),
    "long_tail": PaperTask("long_tail", "acc1", {"templates": "openai80"}),
    "image_retrieval": PaperTask("retrieval", "image_retrieval_recall@5"),
    "text_retrieval": PaperTask("retrieval", "text_retrieval_recall@5"),
}
"""What `task` of a column of the paper's tables stands for. `robustness` is Table 9: zero-shot with 80 prompts a class,
where Table 1b has seven, so their ImageNet columns are two."""
_METRICS = {"top1": "acc1", "mean_per_class": "mean_per_class_recall"}
"""What a linear probe calls its accuracy -> what the catalogue calls it."""
_TESTED_WITH_TRAIN = {"sun397": 108_754}
"""Test images of folders that the catalogue knows as other people's, but whose test split is all there is."""
_OF_MACHINE = ("device", "precision", "threads", "batch_items")
"""Parameters that change roundings only."""


@dataclass(frozen=True)
class Measure:
    """What a figure is of. Only figures of equal measures may be compared."""

    dataset: str
    identity: str = ""
    """Of data and protocol; empty for those that the paper's tables have."""


@dataclass(frozen=True)
class Standing:
    """How a cell stands to the paper's tables."""

    tasks: tuple[str, ...]
    """Those of PAPER_TASKS in whose columns its figures may stand; empty for most of what can be measured."""
    reasons: tuple[str, ...] = ()
    """Where a table of the paper has the data set by its name, and the cell's figure may not stand there: why."""


def standing(cell: Cell) -> Standing:
    """Return which figures of the paper a cell may be set beside. It may when

    - the data set is one of the table's, and its folder was found to have the catalogue's splits and counts when it was
      evaluated (`dataset.catalogue` of the record; a folder by path never has one, whatever it is called);
    - the metric is the data set's own by the catalogue, of the linear probe top-1 or the mean per class;
    - all parameters of PAPER_TASKS are the cell's: lgssl's probe; 5,000 episodes of 5 ways, 5 shots, 6 queries; the
      prompts of that table. A record that does not tell them is not like the paper's.
    """
    columns = {(one.task, one.dataset) for table in paper_tables().values() for one in table.columns}
    asked = [name for name, one in PAPER_TASKS.items() if one.task == cell.task and (name, cell.dataset) in columns]
    found = {name: (*_other_data(cell), *_other_protocol(cell, PAPER_TASKS[name])) for name in asked}
    tasks = tuple(name for name, reasons in found.items() if not reasons)
    return Standing(tasks, () if tasks or not asked else found[asked[0]])


def not_comparable(cells: Iterable[Cell]) -> str:
    """Return which figures are on the paper's data sets and may not stand beside its own, and why; empty for none."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, None]] = {}
    for cell in cells:
        if reasons := standing(cell).reasons:
            found.setdefault((cell.task, reasons), {})[cell.dataset] = None
    return "; ".join(
        f"{task_title(task)} on {', '.join(sets)} ({'; '.join(reasons)})" for (task, reasons), sets in found.items()
    )


def measure_of(cell: Cell) -> Measure:
    """Return what the figures of a cell are of: data and protocol, of which a verified data set counts by its name."""
    record, parameters = cell.record, _parameters(cell)
    dataset = record["dataset"]
    verified = dataset.get("catalogue")
    data = {"name": verified, "splits": dataset.get("splits")} if verified else {"sha256": dataset.get("sha256")}
    protocol = {name: value for name, value in parameters.items() if name not in _OF_MACHINE}
    return Measure(cell.dataset, fingerprint({"task": cell.task, "data": data, "protocol": protocol}))


def variant(cell: Cell) -> str:
    """Return how the protocol of a cell departs from the usual one of its task; empty where it does not."""
    parameters = _parameters(cell)
    if "templates" in parameters:
        return "" if _are_usual(parameters["templates"], cell) else _prompts(parameters["templates"])
    usual = next((one.parameters for one in PAPER_TASKS.values() if one.task == cell.task), {})
    other = {name: parameters[name] for name in usual if parameters.get(name, usual[name]) != usual[name]}
    return ", ".join(str(value) if name == "probe" else _told(name, value) for name, value in other.items())


def _other_data(cell: Cell) -> list[str]:
    dataset = cell.record["dataset"]
    info = _info(cell)
    if dataset.get("catalogue") != cell.dataset or info is None:
        return ["its folder was not verified by the catalogue's splits and counts"]
    if (images := _TESTED_WITH_TRAIN.get(cell.dataset)) is not None and dataset.get("images") == images:
        return [f"tested on all {images:,} images, those of train among them"]
    return []


def _other_protocol(cell: Cell, paper: PaperTask) -> list[str]:
    parameters, info = _parameters(cell), _info(cell)
    reasons = []
    for name, wanted in paper.parameters.items():
        if (value := parameters.get(name)) != wanted:
            reasons.append(f"{_told(name, value)}, the paper's: {_told(name, wanted)}")
    metric = _METRICS.get(parameters.get("metric", ""), "") if cell.task == "linear_probe" else paper.metric
    if cell.task != "few_shot" and info is not None and not metric.endswith(info.metric):
        reasons.append(f"{metric_title(metric) or 'metric not known'}, the paper's: {metric_title(info.metric)}")
    return reasons


def _told(name: str, value: Any) -> str:
    """Return a parameter in words."""
    if value is None:
        return f"{name} not known"
    if name == "templates":
        return _prompts(value)
    if name == "probe":
        return f"{value} probe"
    number = f"{value:,}" if isinstance(value, int) else str(value)
    if name in ("way", "shot"):
        return f"{number}-{name}"
    return f"{number} {name if value != 1 else {'episodes': 'episode', 'queries': 'query'}[name]}"


def _prompts(templates: object) -> str:
    if templates == "folder":
        return "the folder's own prompts"
    return f"{templates} prompts" if isinstance(templates, str) else "other prompts"


def _are_usual(templates: object, cell: Cell) -> bool:
    """Tell whether prompts are the data set's own: the folder's, or those that the catalogue has for it."""
    info = _info(cell)
    own = "folder" if info is None or not info.templates else info.templates
    return templates in ("folder", own) or (isinstance(templates, list) and tuple(templates) == own)


def _info(cell: Cell) -> DataSetInfo | None:
    try:
        return catalogue.find(cell.dataset)
    except EvalError:
        return None


def _parameters(cell: Cell) -> Mapping[str, Any]:
    found = cell.record.get("parameters")
    return found if isinstance(found, dict) else {}
