"""Phase `cells`: one model on one data set by one task is a cell, a shard, and a file of strict JSON.

Cells lie by model, data set and task: those that share a model or features lie beside one another, and an element gets
a block of them by cost. Features are kept in `eval/features/`, whoever makes them; two at once make the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sharding.marker import Counts, Promise
from sharding.plan import Plan, ShardRange
from synthclip_hpc.config import RunConfig
from synthclip_hpc.evaluation.places import FEATURES
from synthclip_hpc.evaluation.results import SUFFIX, planned_cells, planned_remarks, read_cell
from synthclip_hpc.evaluation.settings import check_settings, glyph_sets_of, words
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    from sharding.directory import PhaseDirectory
    from synthclip_hpc.place import Place
    from synthclip_hpc.run import Run

_HELD = ("device", "precision", "threads", "batch_items")
"""Settings that rounding depends on."""


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One cell a shard. Raises UserError for bad values, and for data and models that are not there or not whole."""
    from synthclip_hpc.evaluation.cells import matrix_of
    from synthclip_hpc.evaluation.data_sets import data_sets_of
    from synthclip_hpc.evaluation.models import models_of

    check_settings(config.eval)
    models, sets = models_of(config), data_sets_of(config.eval)
    found = matrix_of(config.eval, models, sets)
    return Plan(
        stage="eval",
        phase="cells",
        kind="map",
        num_items=len(found.cells),
        shard_items=1,
        suffix=SUFFIX,
        identity={
            **{f"eval.{name}": getattr(config.eval, name) for name in _HELD},
            "models": [model.identity() for model in models],
            "cells": [cell.to_json() for cell in found.cells],
            "remarks": [remark.to_json() for remark in found.remarks],
        },
    )


@contextmanager
def open_evaluator(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that makes one cell; the model of the cell before stays open for the next."""
    from synthclip_hpc.models.runtime import check_device, prepare

    prepare(config.eval.threads)
    check_device("eval", config.eval.device, "float32", "fp32")
    from evals.session import session
    from synthclip_hpc.stages.eval.evaluator import Evaluator

    evaluator = Evaluator(config, run, plan)
    with session(evaluator.look):
        yield evaluator.make


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether a finished file is of the planned cell. Raises ValueError when it is not."""
    found, cell = read_cell(path), planned_cells(plan)[shard.index]
    if (found.model, found.dataset, found.task) != (cell["model"], cell["dataset"], cell["task"]):
        raise ValueError(f"{path} is of another cell: {found.model}, {found.dataset}, {found.task}")
    return Counts(1, 1, 0, {})


def upstream(config: RunConfig) -> tuple[tuple[str, str], ...]:
    """Return what is evaluated: the trained model, those of its earlier epochs, and the sets that the run draws."""
    own = () if config.eval.checkpoints == "none" else (("train", "fit"),)
    return (*own, ("eval", "sets"), ("eval", "models"))


def check_place(config: RunConfig, place: Place) -> None:
    """Raise UserError when cells could not be made where they are going to be."""
    from synthclip_hpc.evaluation.preflight import check_place as check

    check(config.eval, place)


def weights(plan: Plan) -> Sequence[float]:
    """Return about how much work each cell is."""
    from synthclip_hpc.evaluation.costs import costs_of

    return costs_of(planned_cells(plan))


def promise(config: RunConfig) -> Promise:
    """Return `bytes` on the CPU; kernels of GPUs promise nothing."""
    return "bytes" if config.eval.device == "cpu" else "items"


def estimate(config: RunConfig) -> Estimate:
    """Return what a cell costs, from a glyph set to the linear probe of SUN397."""
    if config.eval.device == "cpu" and glyph_sets_of(config.eval) == words(config.eval.datasets):
        return Estimate((2e3, 1e5), (1, 30), "measured: glyph sets, a small model on one CPU core")
    if config.eval.device == "cpu":
        return Estimate((2e3, 1e5), (3, 3600), "measured: small models on one CPU core; guessed: large data sets")
    return Estimate((2e3, 1e5), (20, 1800), "guessed: 10,000 to 100,000 images, ViT-B/16", device="GPU")


def tidy(directory: PhaseDirectory, plan: Plan) -> None:
    """Remove what killed attempts left among the features: all have ended."""
    features = directory.path.parent / FEATURES
    for left in (path for mark in (".making-*", ".broken-*") for path in features.glob(mark)):
        shutil.rmtree(left, ignore_errors=True)


def remarks(plan: Plan) -> list[str]:
    """Return which tasks are left out on which data sets, and what is not to be compared, each with the reason."""
    from synthclip_hpc.evaluation.fitting import lines_of, worth_telling

    return lines_of(worth_telling(planned_remarks(plan), planned_cells(plan)))


def summary(directory: PhaseDirectory, plan: Plan) -> list[str]:
    """Return what a command tells of the results."""
    from synthclip_hpc.evaluation.summary import table_of

    cells = [read_cell(directory.data_path(shard, plan.suffix)) for shard in range(plan.num_shards)]
    return [*table_of(cells), *remarks(plan)]


PHASE = Phase(
    stage="eval",
    name="cells",
    kind="map",
    upstream=upstream,
    layout=layout,
    open=open_evaluator,
    inspect=inspect,
    estimate=estimate,
    promise=promise,
    threads=lambda config: config.eval.threads,
    gpus=lambda config: 0 if config.eval.device == "cpu" else 1,
    weights=weights,
    check_place=check_place,
    check_sealed=tidy,
    remarks=remarks,
    summary=summary,
)
