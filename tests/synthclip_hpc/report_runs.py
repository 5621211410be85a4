"""Runs with an evaluation that nobody computed: what the report reads, with figures that a test can know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals import catalogue
from sharding.canonical import canonical_json
from sharding.files import write_file
from sharding.marker import Counts
from sharding.plan import Plan, bind_plan
from sharding.publication import publish_shard
from synthclip_hpc.config import RunConfig, with_values
from synthclip_hpc.reporting.paper import paper_tables
from synthclip_hpc.run import Run

CLASSES = 100


def new_run(path: Path, **values: Any) -> Run:
    """A run with a configuration and nothing else; keys are written with `__` for the dot."""
    run = Run(path)
    config = with_values(RunConfig(), {key.replace("__", "."): value for key, value in values.items()})
    run.create(config, {"argv": ["/somewhere/synthclip_hpc/submit.py", "stage=all"], "versions": {"numpy": "2.0"}})
    return run


def usual_parameters(dataset: str, task: str) -> dict[str, Any]:
    """The parameters of a cell that nobody has set anything for: the paper's."""
    info = catalogue.find(dataset) if dataset in catalogue.names() else None
    own = {"layer": "pre", "seed": 0, "device": "cpu"}
    if task == "linear_probe":
        metric = "mean_per_class" if info is not None and info.metric == "mean_per_class_recall" else "top1"
        return {"probe": "lgssl", "metric": metric, **own}
    if task == "few_shot":
        return {"episodes": 5000, "way": 5, "shot": 5, "queries": 6, **own}
    if task == "retrieval":
        return {"device": "cpu"}
    templates = "folder" if info is None or not info.templates else info.templates
    return {"templates": templates if isinstance(templates, str) else list(templates), "device": "cpu"}


def cell(
    dataset: str, task: str, metrics: dict[str, float | None], model: str = "epoch-0020", **facts: Any
) -> dict[str, Any]:
    """The record of one cell; metrics are fractions. A data set with a name of the catalogue is the catalogue's."""
    epoch = int(model.removeprefix("epoch-")) if model.startswith("epoch-") else None
    catalogued = dataset if dataset in catalogue.names() else None
    return {
        "schema": 1,
        "model": {"name": model, "epoch": epoch, "source": "run", "sha256": "0" * 64},
        "dataset": {"name": dataset, "split": "test", "images": 200, "sha256": dataset, "catalogue": catalogued},
        "task": task,
        "parameters": usual_parameters(dataset, task),
        "protocol": f"protocol of {task}",
        "metrics": metrics,
        "provenance": {"host": "secret-host"},
        **facts,
    }


def zero_shot(dataset: str, acc1: float, acc5: float, model: str = "epoch-0020") -> dict[str, Any]:
    """A zero-shot cell of 100 classes."""
    metrics: dict[str, float | None] = {"acc1": acc1, "acc5": acc5, "mean_per_class_recall": acc1}
    return cell(dataset, "zero_shot", metrics, model, classes={"number": CLASSES})


def retrieval(dataset: str, recall: float, model: str = "epoch-0020", images: int = 200) -> dict[str, Any]:
    """A retrieval cell, with five captions an image."""
    metrics: dict[str, float | None] = {
        f"{way}_retrieval_recall@{k}": recall for way in ("image", "text") for k in (1, 5, 10)
    }
    found = cell(dataset, "retrieval", metrics, model, captions=5 * images)
    found["dataset"]["images"] = images
    return found


def paper_cells(row: str, model: str = "epoch-0040", plus: float = 0.0) -> list[dict[str, Any]]:
    """Cells with the figures of a row of the paper's Table 1, each `plus` percent points higher."""
    found: dict[tuple[str, str], dict[str, float | None]] = {}
    metrics = {
        "linear_probe": ("linear_probe", "accuracy"),
        "few_shot": ("few_shot", "accuracy"),
        "zero_shot": ("zero_shot", "acc1"),
        "image_retrieval": ("retrieval", "image_retrieval_recall@5"),
        "text_retrieval": ("retrieval", "text_retrieval_recall@5"),
    }
    for table in paper_tables().values():
        if table.paper not in ("Table 1a", "Table 1b"):
            continue
        for column, value in zip(table.columns, table.row(row).values, strict=True):
            if column.task and column.dataset:
                task, metric = metrics[column.task]
                found.setdefault((column.dataset, task), {})[metric] = (value + plus) / 100
    return [cell(dataset, task, values, model) for (dataset, task), values in found.items()]


def outside(record: dict[str, Any], sha256: str = "ab" * 32) -> dict[str, Any]:
    """The record as that of a model from elsewhere."""
    return record | {"model": {"name": record["model"]["name"], "epoch": None, "source": "outside", "sha256": sha256}}


def put_plan(run: Run, stage: str, phase: str) -> None:
    """Make a stage part of a run: one of its phases is planned."""
    bind_plan(run.phase(stage, phase), Plan(stage, phase, "map", 1, 1, ".json", {}))


def put_cells(
    run: Run,
    records: Sequence[dict[str, Any]],
    *,
    missing: Sequence[dict[str, Any]] = (),
    models: Sequence[dict[str, Any]] = (),
) -> None:
    """Publish records as the finished cells of a run; after them those that are planned and missing."""
    directory = run.phase("eval", "cells")
    planned = [
        {"model": one["model"]["name"], "dataset": one["dataset"]["name"], "task": one["task"]}
        for one in (*records, *missing)
    ]
    plan = Plan("eval", "cells", "map", len(planned), 1, ".json", {"cells": planned, "models": list(models)})
    bind_plan(directory, plan)
    for number, record in enumerate(records):
        path = directory.staged_path(number, "test_0_0", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, canonical_json(record))
        publish_shard(
            directory, plan, number, path, Counts(1, 1, 0, {}), inputs_hash="", promise="bytes", provenance={}
        )
