"""The matrix of an evaluation as it fills, from files written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sharding.directory import PhaseDirectory
from sharding.plan import Plan
from synthclip_hpc.evaluation.results import Cell, read_cell
from synthclip_hpc.monitor.book import OpenShards
from synthclip_hpc.monitor.evaluation import EvaluationWatch, main_metric

CELLS = [
    {"model": "epoch-0040", "dataset": "a", "task": "zero_shot"},
    {"model": "epoch-0040", "dataset": "a", "task": "few_shot"},
    {"model": "epoch-0040", "dataset": "b", "task": "retrieval"},
    {"model": "epoch-0040", "dataset": "c", "task": "zero_shot"},
]
NOBODY = OpenShards({}, {})


@pytest.fixture
def plan() -> Plan:
    return Plan("eval", "cells", "map", len(CELLS), 1, ".json", {"cells": CELLS})


@pytest.fixture
def directory(tmp_path: Path) -> PhaseDirectory:
    return PhaseDirectory(tmp_path / "eval" / "cells")


def write(directory: PhaseDirectory, shard: int, metrics: dict[str, Any], text: str | None = None) -> None:
    told = CELLS[shard]
    model, dataset = {"name": told["model"], "epoch": 40}, {"name": told["dataset"]}
    record = {"schema": 1, "model": model, "dataset": dataset, "task": told["task"], "metrics": metrics}
    path = directory.data_path(shard, ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record) if text is None else text)


def test_the_matrix_has_a_cell_for_all_that_is_planned_and_numbers_for_what_is_done(
    plan: Plan, directory: PhaseDirectory
) -> None:
    write(directory, 0, {"acc1": 0.5, "acc5": 0.9})
    found = EvaluationWatch().status(directory, plan, {0}, OpenShards({1: ("x",)}, {2: "bad"}))
    assert (len(found.cells), found.cells_done) == (4, 1)
    assert [cell.state for cell in found.cells] == ["done", "running", "failed", "pending"]
    first = found.cells[0]
    assert (first.model, first.epoch, first.dataset, first.main, first.value) == ("epoch-0040", 40, "a", "acc1", 0.5)
    assert found.cells[1].value is None


def test_each_file_is_read_once_and_again_after_a_repair(
    plan: Plan, directory: PhaseDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path) -> Cell:
        read.append(path.stem)
        return read_cell(path)

    monkeypatch.setattr("synthclip_hpc.monitor.evaluation.read_cell", counted)
    for shard in range(3):
        write(directory, shard, {"acc1": 0.25 * shard})
    watch = EvaluationWatch()
    for _ in range(3):
        watch.status(directory, plan, {0, 1, 2}, NOBODY)
    assert read == ["00000", "00001", "00002"]
    watch.status(directory, plan, {0, 2}, NOBODY)
    write(directory, 1, {"acc1": 1.0})
    assert watch.status(directory, plan, {0, 1, 2}, NOBODY).cells[1].value == 1.0


def test_a_look_reads_so_many_files_and_the_next_one_the_rest(
    plan: Plan, directory: PhaseDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthclip_hpc.monitor.evaluation.READ_AT_MOST", 2)
    for shard in range(3):
        write(directory, shard, {"acc1": 0.5})
    watch = EvaluationWatch()
    values = [[cell.value for cell in watch.status(directory, plan, {0, 1, 2}, NOBODY).cells] for _ in range(2)]
    assert values == [[0.5, 0.5, None, None], [0.5, 0.5, 0.5, None]]


def test_a_damaged_cell_is_told_and_the_others_are_shown(plan: Plan, directory: PhaseDirectory) -> None:
    write(directory, 0, {"acc1": 0.5})
    write(directory, 1, {}, text="{")
    found = EvaluationWatch().status(directory, plan, {0, 1, 2}, NOBODY)
    assert [cell.state for cell in found.cells] == ["done", "unreadable", "unreadable", "pending"]


@pytest.mark.parametrize(
    ("task", "metrics", "main"),
    [
        ("zero_shot", {"acc5": 0.9, "acc1": 0.5}, "acc1"),
        ("linear_probe", {"acc1": 0.5, "accuracy": 0.6}, "accuracy"),
        ("few_shot", {"accuracy": 0.5, "std": 0.1}, "accuracy"),
        ("retrieval", {"text_retrieval_recall@5": 0.1, "image_retrieval_recall@5": 0.2}, "image_retrieval_recall@5"),
        ("a new one", {"something": 0.1}, "something"),
        ("zero_shot", {}, ""),
    ],
)
def test_a_task_has_one_number_that_stands_for_it(task: str, metrics: dict[str, float | None], main: str) -> None:
    assert main_metric(task, metrics) == main
