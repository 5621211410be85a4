"""The chaos of evaluation in short, and that its judge finds what it looks for."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharding.canonical import canonical_json
from sharding.files import make_directory
from sharding.marker import Counts
from sharding.plan import Plan, bind_plan
from sharding.publication import publish_shard
from slurm.onemachine import Lab
from synthclip_hpc.run import Run
from tests.chaos.eval_scenario import wrong_cells
from tests.chaos.local_campaign import run_calm
from tests.chaos.scenario import Act
from tests.chaos.scenarios import EVAL
from tests.chaos.slurm_campaign import run_on_slurm
from tests.chaos.verdict import judge_slurm

SHORT = replace(
    EVAL,
    prelude=None,
    models=1,
    tasks=("zero_shot", "retrieval"),
    glyph_images=1,
    keys=("render.size=64", "eval.device=cpu"),
    acts=(Act(("slurm.partition=low",), ("sigkill-worker", "requeue"), 0, (0.2, 1.0)),),
    breaks=(),
    late_kills=(),
)


@pytest.mark.slurm
@pytest.mark.timeout(900)  # every attempt imports torch; a busy machine takes minutes
def test_an_evaluation_on_slurm_survives_a_kill_and_a_requeue(
    slurm_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHCLIP_TEST_DATA", str(tmp_path / "none"))
    scenario, bank = SHORT.made_in(tmp_path)
    run_calm(scenario, tmp_path / "calm", bank)
    campaign = run_on_slurm(slurm_lab, scenario, tmp_path / "run", bank, random.Random(0), print)
    verdict = judge_slurm("short", campaign, tmp_path / "calm", scenario)
    assert verdict.problems == []
    assert sorted(injection.fault for injection in verdict.injections) == ["requeue", "sigkill-worker"]


CELLS = [("epoch-0001", "a"), ("epoch-0001", "b"), ("epoch-0002", "a")]


def written(folder: Path, changes: dict[int, dict[str, Any]] | None = None, count: int = 3) -> Path:
    """Write the first cells of a finished run, some of them with changes."""
    cells = [{"model": model, "dataset": dataset, "task": "zero_shot"} for model, dataset in CELLS]
    plan = Plan("eval", "cells", "map", 3, 1, ".json", {"cells": cells})
    directory = Run(folder).phase("eval", "cells")
    bind_plan(directory, plan)
    for shard, cell in enumerate(cells[:count]):
        record: dict[str, Any] = {
            "schema": 1,
            "model": {"name": cell["model"], "epoch": 1, "sha256": cell["model"]},
            "dataset": {"name": cell["dataset"]},
            "task": cell["task"],
            "metrics": {"acc1": 0.5},
        }
        staged = directory.staged_path(shard, "a_0_0", ".json")
        make_directory(staged.parent)
        staged.write_bytes(canonical_json(record | (changes or {}).get(shard, {})))
        publish_shard(
            directory,
            plan,
            shard,
            staged,
            Counts(1, 1, 0, {}),
            inputs_hash="",
            promise="bytes",
            provenance={},
            inspect=lambda path, plan, shard: Counts(1, 1, 0, {}),
        )
    return folder


def test_whole_cells_are_no_problem(tmp_path: Path) -> None:
    assert wrong_cells(written(tmp_path)) == []


@pytest.mark.parametrize(
    ("changes", "count", "told"),
    [
        ({}, 2, "2 cells, expected 3"),
        ({1: {"dataset": {"name": "a"}}}, 3, "a cell occurs twice"),
        ({2: {"metrics": {"acc1": None}}}, 3, "epoch-0002, a, zero_shot: no number"),
        ({1: {"model": {"name": "epoch-0001", "epoch": 1, "sha256": "x"}}}, 3, "a model has several hashes"),
        (
            {2: {"model": {"name": "epoch-0002", "epoch": 2, "sha256": "epoch-0001"}}},
            3,
            "two models have the same hash",
        ),
    ],
)
def test_what_is_wrong_with_cells_is_found(tmp_path: Path, changes: dict, count: int, told: str) -> None:
    problems = wrong_cells(written(tmp_path, changes, count))
    assert any(problem.startswith(told) for problem in problems), json.dumps(problems)
