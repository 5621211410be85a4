"""The bill, counted from journals: hours, and work that was done again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sharding.plan import Plan, bind_plan
from synthclip_hpc.config import RunConfig
from synthclip_hpc.config_files import to_table
from synthclip_hpc.reporting.bill import bill_of, lives_of
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import claim
from tests.synthclip_hpc.report_runs import new_run


def write_journal(run: Run, attempt: str, *events: dict[str, Any]) -> None:
    path = run.phase("render", "draw").journal_path(attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def start(at: float, **facts: Any) -> dict[str, Any]:
    return {"event": "start", "time": at, "node": "n1", **facts}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A rendering of 100 items: an attempt that was killed after 40, and one that began again at 20."""
    run = new_run(tmp_path / "run")
    bind_plan(run.phase("render", "draw"), Plan("render", "draw", "map", 100, 100, ".tar", {}))
    facts = {
        "cluster": "slurm",
        "stage": "render",
        "phase": "draw",
        "plan_hash": "",
        "num_elements": 1,
        "config": to_table(RunConfig()),
        "asked": {"nodes": 1, "cpus": 4, "num_gpus": 2, "throttle": 0},
    }
    submission = claim(run, "render", [0], facts)
    assert submission is not None
    name = submission.name
    write_journal(
        run,
        "7_0_0",
        start(1000.0, submission=name),
        {"event": "progress", "time": 4600.0, "shard": 0, "items": 40, "new": 40},
    )
    write_journal(
        run,
        "7_0_1",
        start(8200.0, submission=name),
        {"event": "ready", "time": 8272.0, "seconds": 72.0},
        {"event": "gpu", "time": 8300.0, "utilisation_percent": 80.0, "samples": 30},
        {"event": "gpu", "time": 8310.0, "utilisation_percent": 20.0, "samples": 10},
        {"event": "shard_done", "time": 15400.0, "shard": 0, "total": 100, "done": 100, "rejected": 0, "new": 80},
    )
    write_journal(run, "7_seal_0", start(15500.0, role="seal"), {"event": "end", "time": 15600.0})
    return run


def test_hours_are_those_of_what_attempts_held(run: Run) -> None:
    (bill,) = bill_of(run, ("captions", "render"))
    assert bill.attempts == 2
    assert bill.cpu_hours == pytest.approx(4 * (1 + 2))
    assert bill.gpu_hours == pytest.approx(2 * (1 + 2))
    assert bill.wall_s == pytest.approx(14400)
    assert bill.nodes == {"n1"}


def test_what_was_made_twice_is_told(run: Run) -> None:
    (bill,) = bill_of(run, ("render",))
    assert bill.redone_share == pytest.approx(20 / 120)


def test_start_up_is_told_and_all_of_a_life_that_never_got_ready(run: Run) -> None:
    (bill,) = bill_of(run, ("render",))
    assert bill.startup_share == pytest.approx((3600 + 72) / (3600 + 7200))


def test_utilisation_is_weighted_by_its_samples(run: Run) -> None:
    (bill,) = bill_of(run, ("render",))
    assert bill.gpu_utilisation == pytest.approx(65.0)


def test_seal_jobs_and_torn_lines_are_no_attempts(run: Run) -> None:
    path = run.phase("render", "draw").journal_path("7_0_1")
    path.write_text(path.read_text() + '{"event": "progre\n')
    assert [life.new_items for life in lives_of(run.phase("render", "draw"))] == [40, 80]


def test_a_run_in_which_nothing_started_has_no_bill(tmp_path: Path) -> None:
    assert bill_of(new_run(tmp_path / "run"), ("captions", "render", "train")) == []
