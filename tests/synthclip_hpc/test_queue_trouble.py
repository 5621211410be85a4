"""squeue or sacct missing, hanging or talking nonsense: nothing is guessed, nothing is lost, status still answers."""

from __future__ import annotations

import json
import time

import pytest

from tests.synthclip_hpc.app import call
from tests.synthclip_hpc.test_slurm_submission import SMALL, row

TROUBLES = {
    "missing": "squeue is not on the PATH",
    "hanging": "squeue did not answer within",
    "nonsense": "cannot be understood",
    "failing": "Unable to contact slurm controller",
    "silent failure": "it said nothing",
}


@pytest.fixture
def submitted(app, fake_slurm, monkeypatch):
    """A run with one submission, and a squeue that can be put out of order."""
    from slurm.commands import run_command

    def hurried(command, timeout_s, environment):
        return run_command(command, min(timeout_s, 0.5), environment)

    monkeypatch.setattr("slurm.queue.run_command", hurried)
    assert app("submit", *SMALL).code == 0

    def trouble(kind: str) -> None:
        if kind == "missing":
            fake_slurm.remove("squeue")
        else:
            answers = {
                "hanging": {"sleep_s": 5},
                "nonsense": {"stdout": "JOBID PARTITION NAME USER\n101 gpu x y\n"},
                "failing": {"exit": 1, "stderr": "slurm_load_jobs error: Unable to contact slurm controller\n"},
                "silent failure": {"exit": 1},
            }
            fake_slurm.answer("squeue", answers[kind])

    return trouble


@pytest.mark.parametrize("kind", TROUBLES)
def test_resume_says_so_and_offers_to_assume_that_all_has_ended(app, fake_slurm, submitted, kind):
    submitted(kind)
    for verb, words in (("resume", ["cluster=slurm"]), ("submit", [*SMALL])):
        outcome = app(verb, *words)
        assert outcome.code == 2, outcome
        assert TROUBLES[kind] in outcome.err
        assert "assume_ended=true" in outcome.err
    assert len(app.submissions()) == 1
    assert len(fake_slurm.calls("sbatch")) == 2
    outcome = app("resume", "cluster=slurm", "assume_ended=true")
    assert outcome.code == 0, outcome
    assert [one.name for one in app.submissions()] == ["00001-captions", "00002-captions"]


@pytest.mark.parametrize("kind", TROUBLES)
def test_repair_waits_for_an_answer_as_well(app, submitted, kind):
    submitted(kind)
    outcome = app("repair")
    assert outcome.code == 2
    assert TROUBLES[kind] in outcome.err
    outcome = app("repair", "assume_ended=true")
    assert (outcome.code, outcome.out) == (0, "nothing to repair\n")


@pytest.mark.parametrize("kind", TROUBLES)
def test_status_still_answers_and_shows_the_error(app, submitted, kind):
    submitted(kind)
    status = app.status()
    source = status["sources"]["squeue"]
    assert TROUBLES[kind] in source["error"]
    assert source["age_s"] >= 0
    assert status["sources"]["files"]["error"] is None
    assert status["stages"]["captions"]["shards_total"] == 4
    assert status["stages"]["concepts"]["state"] == "done"
    text = app("status", "--once")
    assert text.code == 0
    assert TROUBLES[kind].split()[0] in text.words


def test_an_answer_about_other_jobs_is_no_error_and_no_job_of_ours(app, fake_slurm, submitted):
    fake_slurm.answer("squeue", {"stdout": row("101", "somebody-elses-job", "RUNNING", "None")})
    assert app.status()["sources"]["squeue"]["error"] is None
    assert app("resume", "cluster=slurm").code == 0
    assert len(app.submissions()) == 2


def test_status_of_a_finished_run_asks_no_queue(app, at_once, fake_slurm):
    assert app("submit", *SMALL[:-1]).code == 0
    for _ in range(2):
        assert app.status()["stages"]["captions"]["state"] == "done"
    assert fake_slurm.calls("squeue") == []
    assert fake_slurm.calls("sacct") == []


def test_a_queue_that_cannot_be_asked_does_not_keep_a_finished_run_from_being_told_so(app, at_once, fake_slurm):
    assert app("submit", *SMALL[:-1]).code == 0
    fake_slurm.remove("squeue")
    outcome = call("resume", f"run={app.path}", "cluster=local")
    assert outcome.code == 0
    assert "done (4 of 4 shards sealed)" in outcome.out


def vanished_attempt(app) -> None:
    """An element that started an hour ago, and of which nobody has heard again."""
    event = {
        "event": "start",
        "time": time.time() - 3600,
        "attempt": "101_0_0",
        "job": "101",
        "index": 0,
        "restart": 0,
        "submission": "00001-captions",
        "element": 0,
        "node": "n1",
        "pid": 1,
    }
    path = app.run.phase("captions", "write").journal_path("101_0_0")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(event) + "\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "sacct is not on the PATH"),
        ({"exit": 1, "stderr": "Slurm accounting storage is disabled\n"}, "storage is disabled"),
        ({"stdout": "garbage\n"}, "cannot be understood"),
    ],
)
def test_without_accounting_a_vanished_attempt_is_counted_as_unknown(app, fake_slurm, submitted, answer, words):
    vanished_attempt(app)
    if answer is None:
        fake_slurm.remove("sacct")
    else:
        fake_slurm.answer("sacct", answer)
    status = app.status()
    captions = status["stages"]["captions"]
    assert (captions["attempts"], captions["running"], captions["unknown"]) == (1, 0, 1)
    assert words in status["sources"]["sacct"]["error"]
    assert app("resume", "cluster=slurm").code == 0


@pytest.mark.parametrize(
    ("state", "key"),
    [
        ("PREEMPTED", "preemptions"),
        ("TIMEOUT", "timeouts"),
        ("NODE_FAIL", "node_failures"),
        ("FAILED", "failures"),
        ("OUT_OF_MEMORY", "failures"),
        ("REQUEUED", "requeues"),
        ("CANCELLED by 0", "cancellations"),
        ("NEW_WORD", "unknown"),
    ],
)
def test_accounting_tells_why_a_vanished_attempt_ended(app, fake_slurm, submitted, state, key):
    vanished_attempt(app)
    fake_slurm.answer("sacct", {"stdout": f"101_0|{state}|1700000000|1700000100|n1|0:9\n"})
    captions = app.status()["stages"]["captions"]
    counted = {
        name: captions[name]
        for name in ("preemptions", "timeouts", "node_failures", "failures", "requeues", "cancellations", "unknown")
    }
    assert counted == dict.fromkeys(counted, 0) | {key: 1}
    [arguments] = fake_slurm.arguments("sacct")
    assert "101" in " ".join(arguments)
