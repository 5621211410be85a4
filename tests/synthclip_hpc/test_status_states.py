"""What status says, from journals that were written by hand and a queue that answers as told."""

from __future__ import annotations

import json
import time

import pytest

from tests.synthclip_hpc.test_slurm_submission import SMALL, row

QUEUED = "others are before it in the queue (Slurm: Priority)"
STAGE_KEYS = {
    "name",
    "state",
    "shards_total",
    "shards_done",
    "items_total",
    "items_done",
    "items_rejected",
    "items_per_s",
    "eta_s",
    "attempts",
    "running",
    "preemptions",
    "timeouts",
    "node_failures",
    "failures",
    "requeues",
    "cancellations",
    "unknown",
    "message",
    "heard_age_s",
    "phases",
}
COUNTED = ("preemptions", "timeouts", "node_failures", "failures", "requeues", "cancellations", "unknown")


@pytest.fixture
def submitted(app, fake_slurm):
    """A Slurm submission of 4 shards with 5 captions each, as jobs 101 and 102."""
    assert app("submit", *SMALL, "slurm.elements=2").code == 0
    return app


@pytest.fixture
def journal(submitted):
    """Write the journal of an attempt: its start, then (event, age in seconds, fields)."""

    def write(index: int, restart: int, *told: tuple, start_age_s: float = 3600, job: str = "101") -> None:
        name = f"{job}_{index}_{restart}"
        start = {"attempt": name, "job": job, "index": index, "restart": restart, "submission": "00001-captions"}
        path = submitted.run.phase("captions", "write").journal_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        now = time.time()
        lines = [("start", start_age_s, start), *told]
        events = [{"event": event, "time": now - age_s, **fields} for event, age_s, fields in lines]
        path.write_text("".join(json.dumps(event) + "\n" for event in events))

    return write


@pytest.fixture
def queue(submitted, fake_slurm):
    def answer(*elements: tuple[int, str, str]) -> None:
        name = submitted.submissions()[-1].job_names[0]
        lines = [row("101", name, state, reason, index=index) for index, state, reason in elements]
        fake_slurm.answer("squeue", {"stdout": "".join(lines)})

    return answer


def captions(app) -> dict:
    return dict(app.status()["stages"]["captions"])


def counts(stage: dict) -> dict:
    return {key: stage[key] for key in COUNTED if stage[key]}


def test_the_json_has_every_promised_key(submitted):
    status = submitted.status()
    assert status["schema"] == 1
    assert set(status) >= {"schema", "run", "time", "stages", "sources"}
    for stage in status["stages"].values():
        assert set(stage) >= STAGE_KEYS
        for phase in stage["phases"]:
            assert set(phase) >= STAGE_KEYS - {"phases"}
    for source in status["sources"].values():
        assert set(source) == {"age_s", "error"}
    assert {"files", "squeue"} <= set(status["sources"])


@pytest.mark.parametrize(
    ("elements", "state", "words"),
    [
        ([(0, "PENDING", "Priority"), (1, "PENDING", "Priority")], "pending", QUEUED),
        ([(0, "PENDING", "Resources"), (1, "RUNNING", "None")], "running", ""),
        ([(0, "COMPLETING", "None")], "running", ""),
        ([(0, "CONFIGURING", "None")], "running", ""),
        ([(0, "PENDING", "Dependency"), (1, "PENDING", "Dependency")], "waiting", "waits for the stage before it"),
        ([(0, "PENDING", "DependencyNeverSatisfied")], "blocked", "cancel, then resume"),
        ([(0, "PENDING", "JobHeldUser")], "blocked", "JobHeldUser"),
        ([(0, "PENDING", "JobHeldAdmin"), (1, "PENDING", "Priority")], "blocked", "JobHeldAdmin"),
        ([(0, "PENDING", "BeginTime")], "pending", "BeginTime"),
    ],
)
def test_the_queue_gives_the_state_before_anything_was_heard(submitted, queue, elements, state, words):
    queue(*elements)
    stage = captions(submitted)
    assert stage["state"] == state
    assert words in stage["message"]
    assert (stage["shards_total"], stage["shards_done"], stage["items_total"], stage["items_done"]) == (4, 0, 20, 0)
    assert stage["attempts"] == 0


def test_a_phase_that_left_the_queue_without_a_word_waits_for_resume(submitted):
    stage = captions(submitted)
    assert (stage["state"], stage["running"]) == ("partial", 0)
    assert stage["message"] == "its jobs were gone before any began: resume"


def test_a_running_element_shows_progress_rate_and_eta(submitted, journal, queue):
    queue((0, "RUNNING", "None"), (1, "PENDING", "Priority"))
    journal(
        0,
        0,
        ("shard_start", 60, {"shard": 0, "resumed_items": 0}),
        ("shard_done", 30, {"shard": 0, "done": 4, "rejected": 1, "new": 5}),
        ("shard_start", 30, {"shard": 2, "resumed_items": 0}),
        ("progress", 1, {"shard": 2, "items": 3, "new": 3}),
        start_age_s=100,
    )
    marker = submitted.run.phase("captions", "write").marker_path(0)
    marker.parent.mkdir(parents=True)
    marker.write_text("{}")
    stage = captions(submitted)
    assert (stage["state"], stage["running"], stage["attempts"]) == ("running", 1, 1)
    assert (stage["shards_done"], stage["items_done"], stage["items_rejected"]) == (1, 7, 1)
    assert 0.01 < stage["items_per_s"] < 8
    assert stage["eta_s"] == pytest.approx((20 - 8) / stage["items_per_s"])
    assert 0 <= stage["heard_age_s"] < 10


def test_without_progress_there_is_no_rate_and_no_eta(submitted, journal, queue):
    queue((0, "RUNNING", "None"))
    journal(0, 0, start_age_s=100)
    stage = captions(submitted)
    assert (stage["state"], stage["items_per_s"], stage["eta_s"]) == ("running", None, None)


@pytest.mark.parametrize(
    ("told", "cause", "state"),
    [
        ([("requeue", 50, {"cause": "timeout"}), ("end", 49, {"reason": "notice"})], {"timeouts": 1}, "partial"),
        ([("requeue", 50, {"cause": "preemption"}), ("end", 49, {"reason": "notice"})], {"preemptions": 1}, "partial"),
        ([("end", 49, {"reason": "error", "type": "OSError", "message": "No space left"})], {"failures": 1}, "failed"),
        (
            [
                ("shard_failed", 50, {"shard": 1, "type": "ValueError", "message": "bad"}),
                ("end", 49, {"reason": "failed"}),
            ],
            {"failures": 1},
            "failed",
        ),
        ([("gave_up", 50, {"cause": "unknown", "count": 21, "limit": 20})], {"failures": 1}, "failed"),
        ([("end", 49, {"reason": "completed"})], {}, "partial"),
    ],
)
def test_a_journal_tells_why_its_attempt_ended(submitted, journal, fake_slurm, told, cause, state):
    journal(0, 0, *told)
    stage = captions(submitted)
    assert counts(stage) == cause
    assert (stage["state"], stage["attempts"], stage["running"]) == (state, 1, 0)
    assert fake_slurm.calls("sacct") == []


def test_an_error_of_ours_is_told_in_a_line(submitted, journal):
    journal(
        0,
        0,
        ("shard_failed", 50, {"shard": 1, "type": "ValueError", "message": "bad\nsecond line"}),
        ("end", 49, {"reason": "failed"}),
    )
    assert "shard 1: ValueError: bad" in submitted("status", "--once").words


def test_lives_of_one_element_are_counted_apart_and_only_the_last_one_runs(submitted, journal, queue, fake_slurm):
    queue((0, "RUNNING", "None"))
    journal(0, 0, ("requeue", 3000, {"cause": "preemption"}), start_age_s=3600)
    journal(0, 1, start_age_s=2000)
    journal(0, 2, start_age_s=1000)
    states = ["PREEMPTED", "NODE_FAIL", "RUNNING"]
    lives = [f"101_0|{state}|17000{n}0000|17000{n}0001|n1|0:9\n" for n, state in enumerate(states)]
    fake_slurm.answer("sacct", {"stdout": "".join(lives)})
    stage = captions(submitted)
    assert (stage["attempts"], stage["running"]) == (3, 1)
    assert counts(stage) == {"preemptions": 1, "node_failures": 1}


def test_the_seal_job_is_no_attempt_but_its_words_are_told(submitted, fake_slurm):
    path = submitted.run.phase("captions", "write").journal_path("102_0_0")
    path.parent.mkdir(parents=True)
    told = [
        {
            "event": "start",
            "time": time.time() - 9,
            "attempt": "102_0_0",
            "role": "seal",
            "job": "102",
            "index": 0,
            "restart": 0,
            "submission": "00001-captions",
        },
        {"event": "end", "time": time.time() - 8, "reason": "incomplete", "message": "2 of 4 shards are not done"},
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in told))
    stage = captions(submitted)
    assert (stage["attempts"], counts(stage)) == (0, {})
    assert stage["message"] == "2 of 4 shards are not done"


def sealer(app, missing: int) -> None:
    path = app.run.phase("captions", "write").journal_path("102_0_0")
    path.parent.mkdir(parents=True, exist_ok=True)
    who = {"attempt": "102_0_0", "role": "seal", "job": "102", "index": 0, "restart": 0, "submission": "00001-captions"}
    words = {"reason": "incomplete", "num_missing": missing, "message": f"{missing} of 4 shards are not done"}
    events = [{"event": "start", "time": 10.0, **who}, {"event": "end", "time": 11.0, **words}]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def test_what_a_seal_job_missed_is_told_until_other_shards_are_missing(submitted):
    sealer(submitted, 4)
    assert captions(submitted)["message"] == "4 of 4 shards are not done"
    marker = submitted.run.phase("captions", "write").marker_path(0)
    marker.parent.mkdir(parents=True)
    marker.write_text("{}")
    stage = captions(submitted)
    assert stage["state"] == "partial"
    assert stage["message"].startswith("nothing of it is at work or waits any more")


def test_a_phase_that_never_began_names_the_stage_that_it_waits_for(submitted):
    sealer(submitted, 4)
    submitted.run.phase("concepts", "read").seal_path.unlink()
    stage = captions(submitted)
    assert (stage["state"], stage["message"]) == ("partial", "not begun: concepts is incomplete")


def test_an_error_that_an_alarm_tells_is_not_told_again_by_its_stage(submitted, journal):
    journal(
        0,
        0,
        ("shard_failed", 50, {"shard": 1, "type": "ValueError", "message": "so bad"}),
        ("end", 49, {"reason": "failed"}),
    )
    lines = [line for line in submitted("status", "--once").out.splitlines() if "so bad" in line]
    assert [line.split(":")[0] for line in lines] == ["captions/write", "captions"]
    assert "failures, group" in lines[1]


def test_a_finished_run_is_done_with_its_mean_rate(app, at_once):
    assert app("submit", *SMALL[:-1]).code == 0
    status = app.status()
    for name, items in (("concepts", 20), ("captions", 20)):
        stage = status["stages"][name]
        assert (stage["state"], stage["items_done"], stage["items_total"]) == ("done", items, items)
        assert stage["eta_s"] is None
    assert status["stages"]["captions"]["items_per_s"] > 0


@pytest.mark.parametrize("columns", ["20", "40", "80", "200"])
def test_what_goes_into_a_pipe_is_never_cut_to_a_terminal(submitted, monkeypatch, columns, queue):
    queue((0, "PENDING", "Priority"))
    monkeypatch.setenv("COLUMNS", columns)
    outcome = submitted("status", "--once")
    assert outcome.code == 0
    [line] = [line for line in outcome.out.splitlines() if line.startswith("captions ")]
    assert line.split()[:4] == ["captions", "pending", "0/4", "0/20"]


def test_status_without_a_terminal_prints_one_snapshot(submitted):
    outcome = submitted("status")
    assert outcome.code == 0
    assert outcome.out.count("captions") >= 1
    assert "\x1b" not in outcome.out


def test_status_writes_nothing(submitted):
    from tests.synthclip_hpc.app import tree

    before = tree(submitted.path)
    submitted.status()
    submitted("status", "--once")
    assert tree(submitted.path) == before


def test_text_in_square_brackets_is_shown_as_it_is(submitted, journal):
    journal(0, 0, ("end", 49, {"reason": "error", "type": "E", "message": "[bold]cost[/bold] [/] [red"}))
    assert "[bold]cost[/bold] [/] [red" in submitted("status", "--once").words
