"""What status makes of lives that ended in unusual ways: reopened shards, lost events, supervisors' words, damage."""

from __future__ import annotations

import json
import os
import platform
import time

import pytest

from synthclip_hpc.processes import identify
from synthclip_hpc.submissions import mark_cancelled, update
from tests.synthclip_hpc.test_slurm_submission import SMALL
from tests.synthclip_hpc.test_status_states import counts

LOCAL = ("stage=captions", "concepts.limit=20", "captions.shard_items=5", "workers=2")


@pytest.fixture
def write(app):
    """Append (event, age in seconds, fields) to a journal of captions/write."""

    def append(attempt: str, *told: tuple) -> None:
        path = app.run.phase("captions", "write").journal_path(attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        now = time.time()
        with path.open("a") as file:
            file.writelines(json.dumps({"event": name, "time": now - age, **more}) + "\n" for name, age, more in told)

    return append


@pytest.fixture
def on_slurm(app, fake_slurm):
    assert app("submit", *SMALL, "slurm.elements=2").code == 0
    return app


@pytest.fixture
def supervised(app, monkeypatch):
    """A local submission of 4 shards to 2 workers, whose supervisor (this process) is alive."""

    def start(run, submissions):
        for one in submissions:
            update(one, state="submitted", supervisor=identify(os.getpid()))

    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", start)
    assert app("submit", *LOCAL).code == 0
    assert app.submissions()[0].record["supervisor"]["host"] == platform.node()
    return app


def begin(attempt: str, age_s: float, **more) -> tuple:
    job, index, restart = attempt.split("_")
    start = {"attempt": attempt, "job": job, "index": int(index), "restart": int(restart)}
    return ("start", age_s, {**start, "submission": "00001-captions"} | more)


def captions(app) -> dict:
    return dict(app.status()["stages"]["captions"])


def mark(app, *shards: int) -> None:
    for shard in shards:
        path = app.run.phase("captions", "write").marker_path(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def shard_events(shard: int, age_s: float) -> list[tuple]:
    return [
        ("shard_start", age_s, {"shard": shard, "resumed_items": 0}),
        ("progress", age_s - 1, {"shard": shard, "items": 4, "new": 4}),
        ("shard_done", age_s - 2, {"shard": shard, "done": 5, "rejected": 0, "new": 1}),
    ]


def test_items_of_a_reopened_shard_count_only_from_its_new_beginning(on_slurm, write):
    done = [event for shard in range(4) for event in shard_events(shard, 900 - 100 * shard)]
    write("101_0_0", begin("101_0_0", 1000), *done, ("end", 500, {"reason": "completed"}))
    mark(on_slurm, 0, 1, 3)  # as `repair` leaves it
    stage = captions(on_slurm)
    assert (stage["shards_done"], stage["items_done"]) == (3, 15)
    # Another attempt at it, which was still on its way when the shard was published, holds nothing that counts.
    write("101_1_0", begin("101_1_0", 800), ("shard_start", 705, {"shard": 2, "resumed_items": 0}))
    write("101_1_0", ("progress", 650, {"shard": 2, "items": 3, "new": 3}))
    assert captions(on_slurm)["items_done"] == 15
    # Job 100's journal is read first, and began last.
    write("100_0_0", begin("100_0_0", 90), ("shard_start", 80, {"shard": 2, "resumed_items": 0}))
    assert captions(on_slurm)["items_done"] == 15
    write("100_0_0", ("progress", 70, {"shard": 2, "items": 2, "new": 2}))
    assert captions(on_slurm)["items_done"] == 17


def test_an_attempt_that_gave_up_at_its_start_is_told_from_its_name(on_slurm, write):
    write("101_1_21", ("gave_up", 50, {"cause": "unknown", "count": 21, "limit": 20}))
    stage = captions(on_slurm)
    assert (stage["state"], stage["attempts"], counts(stage)) == ("failed", 1, {"failures": 1})
    assert stage["message"] == "interrupted 21 times by unknown, limit 20"


def test_a_lost_start_event_leaves_the_mean_rate_and_the_cause_alone(on_slurm, write, fake_slurm):
    write("101_0_0", begin("101_0_0", 100), *shard_events(0, 90), ("end", 80, {"reason": "completed"}))
    write("101_1_0", ("ready", 95, {"seconds": 1}))
    now = time.time()
    fake_slurm.answer("sacct", {"stdout": f"101_1|NODE_FAIL|{int(now - 99)}|{int(now - 60)}|n1|0:0\n"})
    stage = captions(on_slurm)
    assert (stage["attempts"], counts(stage)) == (2, {"node_failures": 1})


def test_a_finished_phase_has_its_rate_in_spite_of_a_lost_start_event(app, at_once, write):
    assert app("submit", *LOCAL).code == 0
    write("local1_0_7", ("ready", 0, {"seconds": 1}))
    stage = captions(app)
    assert stage["state"] == "done"
    assert stage["items_per_s"] > 0.1


def test_a_worker_that_the_supervisor_saw_end_is_not_running(supervised, write):
    write("local1_seal_0", ("start", 100, {"attempt": "local1_seal_0", "role": "supervisor"}))
    write("local1_0_0", begin("local1_0_0", 99))
    write("local1_1_0", begin("local1_1_0", 99))
    assert captions(supervised)["running"] == 2
    write("local1_seal_0", ("worker_ended", 50, {"element": 1, "restart": 0, "exit_code": -9}))
    stage = captions(supervised)
    assert (stage["state"], stage["running"], stage["attempts"], counts(stage)) == ("running", 1, 2, {"unknown": 1})
    write("local1_seal_0", ("gave_up", 49, {"element": 1, "cause": "unknown", "count": 1, "limit": 0}))
    stage = captions(supervised)
    assert (stage["running"], counts(stage)) == (1, {"unknown": 1})
    assert "interrupted 1 times by unknown, limit 0" in stage["message"]
    update(supervised.submissions()[0], state="ended")
    assert captions(supervised)["state"] == "failed"


@pytest.mark.parametrize(
    ("exit_code", "cause"),
    [(-9, {"unknown": 1}), (-11, {"unknown": 1}), (1, {"failures": 1}), (-15, {"cancellations": 1}), (0, {})],
)
def test_an_exit_code_tells_what_a_worker_could_not(supervised, write, exit_code, cause):
    write("local1_seal_0", ("start", 100, {"attempt": "local1_seal_0", "role": "supervisor"}))
    write("local1_seal_0", ("worker_ended", 50, {"element": 0, "restart": 0, "exit_code": exit_code}))
    stage = captions(supervised)
    assert (stage["attempts"], stage["running"], counts(stage)) == (1, 0, cause)


def test_the_workers_own_word_comes_before_its_exit_code(supervised, write):
    write("local1_0_0", begin("local1_0_0", 99), ("end", 60, {"reason": "completed"}))
    write("local1_1_0", begin("local1_1_0", 99), ("end", 60, {"reason": "terminated"}))
    for element, code in ((0, 0), (1, 143)):
        write("local1_seal_0", ("worker_ended", 50, {"element": element, "restart": 0, "exit_code": code}))
    assert counts(captions(supervised)) == {"cancellations": 1}


def test_each_start_in_a_journal_is_an_attempt(on_slurm, write, fake_slurm):
    write("101_0_0", begin("101_0_0", 90_000), begin("101_0_0", 80_000), ("end", 79_000, {"reason": "failed"}))
    write("101_0_0", begin("101_0_0", 50))
    name = on_slurm.submissions()[0].job_names[0]
    fake_slurm.answer("squeue", {"stdout": f"101_0|101|0|{name}|RUNNING|None|n1|{int(time.time() - 50)}|N/A\n"})
    fake_slurm.answer("sacct", {"stdout": f"101_0|RUNNING|{int(time.time() - 50)}|Unknown|n1|0:0\n"})
    stage = captions(on_slurm)
    assert (stage["attempts"], stage["running"], counts(stage)) == (3, 1, {"failures": 1, "unknown": 1})


def test_a_later_submission_with_the_same_job_id_is_the_one_that_runs(on_slurm, write, fake_slurm):
    write("101_0_5", begin("101_0_5", 90_000, submission="00000-captions"), ("end", 80_000, {"reason": "failed"}))
    write("101_0_0", begin("101_0_0", 50))
    name = on_slurm.submissions()[0].job_names[0]
    fake_slurm.answer("squeue", {"stdout": f"101_0|101|0|{name}|RUNNING|None|n1|{int(time.time() - 50)}|N/A\n"})
    fake_slurm.answer("sacct", {"stdout": f"101_0|RUNNING|{int(time.time() - 50)}|Unknown|n1|0:0\n"})
    stage = captions(on_slurm)
    assert (stage["attempts"], stage["running"], counts(stage)) == (2, 1, {"failures": 1})


@pytest.mark.parametrize(("file", "what"), [("seal.json", "seal"), ("plan.json", "plan")])
@pytest.mark.parametrize(("stage", "phase", "other"), [("concepts", "", "captions"), ("captions", "write", "concepts")])
def test_a_damaged_file_fails_its_phase_and_leaves_the_view_of_the_others(
    app, at_once, file, what, stage, phase, other
):
    assert app("submit", *LOCAL).code == 0
    [path] = (app.path / stage).glob(f"{phase or '*'}/{file}")
    path.write_bytes(path.read_bytes()[:-20])
    status = app.status()
    broken, sound = status["stages"][stage], status["stages"][other]
    assert (broken["state"], broken["message"]) == ("failed", f"{what} damaged: run verify, then repair")
    assert (sound["state"], sound["items_done"], sound["shards_done"] > 0) == ("done", 20, True)
    if what == "seal":
        assert (broken["items_done"], broken["items_total"]) == (20, 20)
    assert f"{what} damaged: run verify, then repair" in app("status", "--once").words


def test_local_workers_run_until_they_have_ended_whatever_a_cancel_and_squeue_say(supervised, write, fake_slurm):
    fake_slurm.answer("squeue", {"stderr": "slurm_load_jobs error: Unable to contact slurm controller", "exit": 1})
    write("local1_0_0", begin("local1_0_0", 99))
    write("local1_1_0", begin("local1_1_0", 99))
    mark_cancelled(supervised.submissions()[0])
    status = supervised.status()
    assert status["alive"]
    assert (status["stages"]["captions"]["state"], captions(supervised)["running"]) == ("running", 2)
    update(supervised.submissions()[0], supervisor=identify(os.getpid()) | {"start_ticks": 1})
    status = supervised.status()
    assert not status["alive"]
    assert (status["stages"]["captions"]["state"], captions(supervised)["running"]) == ("partial", 0)


def test_of_a_resume_of_some_shards_the_time_left_is_that_of_these(supervised, write):
    write("local1_0_0", begin("local1_0_0", 100), ("ready", 100, {"seconds": 0}))
    write("local1_0_0", ("shard_start", 90, {"shard": 0, "resumed_items": 0}))
    write("local1_0_0", ("progress", 1, {"shard": 0, "items": 3, "new": 3}))
    stage = captions(supervised)
    assert stage["eta_s"] == pytest.approx((20 - 3) / stage["items_per_s"])
    given = supervised.submissions()[0].path / "shards.json"
    given.write_text(json.dumps({"schema": 1, "shards": [0, 1]}))
    write("local1_0_0", ("progress", 0, {"shard": 3, "items": 4, "new": 0}))  # another's: not among these
    stage = captions(supervised)
    assert stage["items_done"] == 7
    assert stage["eta_s"] == pytest.approx((10 - 3) / stage["items_per_s"])
