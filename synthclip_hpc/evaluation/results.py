"""Reading what was measured: the cells of a run, whether all of them are there or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharding.marker import is_done
from sharding.plan import Plan, load_plan
from synthclip_hpc.errors import UserError
from synthclip_hpc.run import Run

SCHEMA = 1
SUFFIX = ".json"


@dataclass(frozen=True)
class Cell:
    """One model on one data set by one task."""

    model: str
    """`epoch-0040` for one of the run's own, else the outside model's words."""
    epoch: int | None
    """None for an outside model."""
    dataset: str
    task: str
    metrics: dict[str, float | None]
    """Fractions by name, as the tasks of `evals` name them."""
    record: dict[str, Any]
    """All of the cell's file."""


def read_cells(run: Run) -> list[Cell]:
    """Return the finished cells of a run in the order of its plan; none when nothing was evaluated.

    Raises UserError for a damaged one.
    """
    directory = run.phase("eval", "cells")
    plan = load_plan(directory)
    if plan is None:
        return []
    done = (shard for shard in range(plan.num_shards) if is_done(directory, plan, shard))
    return [read_cell(directory.data_path(shard, plan.suffix)) for shard in done]


def read_cell(path: Path) -> Cell:
    """Return the cell of a file. Raises UserError for a damaged one and one of another schema."""
    try:
        record = json.loads(path.read_bytes())
        schema, model, dataset = record["schema"], record["model"], record["dataset"]
        cell = Cell(model["name"], model["epoch"], dataset["name"], record["task"], record["metrics"], record)
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{path}: no cell of an evaluation ({error!r}); run verify, then repair, then resume"
        ) from error
    if schema != SCHEMA:
        raise UserError(f"{path}: schema {schema}, this version reads {SCHEMA}; use a newer synthclip-hpc")
    return cell


def planned_cells(plan: Plan) -> list[dict[str, Any]]:
    """Return what the plan says of each cell, in its order: `model`, `dataset`, `task`, `parameters`, `sha256`, …"""
    cells: list[dict[str, Any]] = plan.identity["cells"]
    return cells


def planned_remarks(plan: Plan) -> list[dict[str, str]]:
    """Return what the plan says of tasks on data sets: `dataset`, `task`, `reason`. See `fitting.lines_of`."""
    remarks: list[dict[str, str]] = plan.identity.get("remarks", [])  # plans of earlier versions have none
    return remarks
