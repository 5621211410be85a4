"""What tables and plots call data sets, tasks and metrics."""

from __future__ import annotations

from synthclip_hpc.config import RunConfig
from synthclip_hpc.config.eval import GLYPH_SETS
from synthclip_hpc.evaluation.results import Cell

_TITLES = {
    "zero_shot": "zero-shot",
    "long_tail": "long tail",
    "linear_probe": "linear probe",
    "few_shot": "few-shot",
    "acc1": "top-1",
    "acc5": "top-5",
    "mean_per_class_recall": "mean per class",
}
SHOWN_METRICS = {
    "zero_shot": ("acc1", "acc5", "mean_per_class_recall"),
    "long_tail": ("acc1", "acc5"),
    "linear_probe": ("accuracy",),
    "few_shot": ("accuracy",),
    "retrieval": tuple(f"{way}_retrieval_recall@{rank}" for way in ("image", "text") for rank in (1, 5, 10)),
}
"""Task -> its metrics, in the order of a table."""


def task_title(task: str, variant: str = "") -> str:
    """Return what a table calls a task, with how its protocol departs from the usual one."""
    return _TITLES.get(task, task.replace("_", " ")) + (f" ({variant})" if variant else "")


def metric_title(metric: str) -> str:
    """Return what a table calls a metric."""
    direction, found, rank = metric.partition("_retrieval_recall@")
    return f"{direction} recall@{rank}" if found else _TITLES.get(metric, metric.replace("_", " "))


def figure_title(task: str, metric: str, variant: str = "") -> str:
    """Return what stands alone below a number: task and metric, and how the protocol departs from the usual one."""
    title = metric_title(metric) if task == "retrieval" else f"{task_title(task)} {metric_title(metric)}"
    return title + (f" ({variant})" if variant else "")


def set_title(cell: Cell, config: RunConfig) -> str:
    """Return a data set's name; of a built-in one what it is to a model that this run has trained."""
    if cell.dataset not in GLYPH_SETS or config.render.renderer != "glyphs" or cell.epoch is None:
        return cell.dataset
    style = "the training style" if config.render.style in cell.dataset else "an unseen style"
    return f"new scenes, {style}"
