"""What a look at a run asks of the cluster: controllers and accounting databases are shared, and slow to forgive."""

from __future__ import annotations

import time
from typing import Any

import pytest

from synthclip_hpc.run import Run
from synthclip_hpc.submissions import all_submissions
from tests.benchmarks.synthetic_run import JOB, Shape, sacct_answer, squeue_answer, write_run
from tests.fake_slurm import FakeSlurm
from tests.synthclip_hpc.app import App, spawn

EXPLAINED = Shape(num_shards=12, num_done=4, num_elements=2, shard_items=10, progress_events=1)
"""The journals tell why each attempt ended."""
VANISHED = Shape(num_shards=24, num_done=8, num_elements=4, shard_items=10, progress_events=1)
"""Two attempts have vanished."""
FINISHED = Shape(num_shards=12, num_done=12, num_elements=2, shard_items=10, progress_events=1)


@pytest.fixture
def look(app: App, fake_slurm: FakeSlurm) -> Any:
    """Write a run of a shape, let Slurm answer for it, and look at it as a user does."""

    def at(shape: Shape, *options: str) -> tuple[Run, str]:
        run = write_run(app.path, shape)
        fake_slurm.answer("squeue", {"stdout": squeue_answer(run, shape)})
        fake_slurm.answer("sacct", {"stdout": sacct_answer(shape)})
        outcome = spawn("status", *options, f"run={run.path}")
        assert outcome.code == 0, outcome
        return run, outcome.out

    return at


@pytest.mark.parametrize("option", ["--once", "--json"])
@pytest.mark.parametrize("shape", [EXPLAINED, VANISHED])
def test_status_calls_squeue_exactly_once(look: Any, fake_slurm: FakeSlurm, shape: Shape, option: str) -> None:
    run, _ = look(shape, option)
    [arguments] = fake_slurm.arguments("squeue")
    names = {name for one in all_submissions(run) for name in one.job_names}
    assert len(names) == 2
    [asked] = [word for word in arguments if word.startswith("--name=")]
    assert set(asked.removeprefix("--name=").split(",")) == names


def test_status_leaves_accounting_alone_when_journals_tell_how_attempts_ended(look: Any, fake_slurm: FakeSlurm) -> None:
    _, out = look(EXPLAINED, "--once")
    assert fake_slurm.calls("sacct") == []
    assert "1 preemption, 1 timeout" in " ".join(out.split())


def test_status_asks_accounting_once_for_all_attempts_that_vanished(app: App, look: Any, fake_slurm: FakeSlurm) -> None:
    _, out = look(VANISHED, "--once")
    [arguments] = fake_slurm.arguments("sacct")
    assert arguments[arguments.index("-j") + 1] == JOB
    created = all_submissions(Run(app.path))[0].record["created"]
    assert arguments[arguments.index("-S") + 1] == time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(created - 3600))
    assert "2 preemptions, 1 timeout, 1 node failure" in " ".join(out.split())


def test_status_of_a_finished_run_asks_neither_queue_nor_accounting(look: Any, fake_slurm: FakeSlurm) -> None:
    _, out = look(FINISHED, "--once")
    assert "12/12" in out
    assert "running" not in out
    assert fake_slurm.calls("squeue") == []
    assert fake_slurm.calls("sacct") == []


def test_status_of_a_local_run_asks_neither_queue_nor_accounting(
    app: App, fake_slurm: FakeSlurm, at_once: None
) -> None:
    assert app("submit", "stage=captions", "preset=laptop", "concepts.limit=10").code == 0
    assert app("status", "--once").code == 0
    assert fake_slurm.calls("squeue") == []
    assert fake_slurm.calls("sacct") == []
