"""A run on one machine, killed at any moment: `resume` goes on, and the result is that of a calm run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sharding.journal import read_events
from synthclip_hpc.processes import is_alive
from tests.synthclip_hpc.app import App, call, same_set, work_off

WORDS = (
    "stage=captions",
    "concepts.limit=100",
    "captions.shard_items=20",
    "captions.batch_items=5",
    "workers=2",
)
SLOW = "captions.template.items_per_s=40"


@pytest.fixture
def calm(app, monkeypatch) -> dict[str, str]:
    with monkeypatch.context() as without_processes:
        without_processes.setattr("synthclip_hpc.launch.local.start_supervisor", work_off)
        assert call("submit", *WORDS, f"run={app.path}-calm", "cluster=local").code == 0
    return same_set(app.path.with_name("run-calm"))


def events(app: App, kind: str) -> list[dict[str, Any]]:
    directory = app.run.phase("captions", "write")
    return [
        event | {"attempt_name": name}
        for name in directory.attempts()
        for event in read_events(directory.journal_path(name))[0]
        if event["event"] == kind
    ]


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def supervisor(app: App) -> dict[str, Any]:
    return dict(app.submissions()[-1].record["supervisor"])


def in_the_middle(app: App) -> list[int]:
    """Wait until both workers have written a batch; return their process ids."""
    wait_for(lambda: len(events(app, "progress")) >= 2)
    return [event["pid"] for event in events(app, "worker_started")]


def test_wait_follows_to_the_end(app, calm):
    outcome = app("submit", *WORDS, "wait=true")
    assert outcome.code == 0, outcome
    assert "5/5" in outcome.out and "100/100" in outcome.out
    assert same_set(app.path) == calm
    assert [one.state for one in app.submissions()] == ["ended"]


def test_submit_returns_at_once_and_prints_where_to_look(app):
    outcome = app("submit", *WORDS, SLOW)
    assert outcome.code == 0
    for word in ("status: python -m synthclip_hpc.status run=", "logs:", "resume run=", "00001-captions"):
        assert word in outcome.out
    assert is_alive(supervisor(app))
    status = wait_for(lambda: (found := app.status())["stages"]["captions"]["running"] == 2 and found)
    captions = status["stages"]["captions"]
    assert (captions["state"], captions["shards_total"], captions["items_total"]) == ("running", 5, 100)
    assert app("submit", *WORDS, SLOW).out.count("already submitted as 00001-captions") == 1
    assert app("resume").out.count("already submitted as 00001-captions") == 1
    assert "still at work" in app("repair").err
    assert app("cancel").code == 0
    assert not is_alive(supervisor(app))


def test_a_killed_worker_is_started_again_and_nothing_is_done_twice(app, calm):
    assert app("submit", *WORDS, SLOW).code == 0
    os.kill(in_the_middle(app)[0], signal.SIGKILL)
    wait_for(lambda: app.status()["stages"]["captions"]["state"] == "done")
    assert same_set(app.path) == calm
    captions = app.status()["stages"]["captions"]
    assert (captions["attempts"], captions["unknown"]) == (3, 1)
    assert sorted(event["shard"] for event in events(app, "shard_done")) == [0, 1, 2, 3, 4]
    [again] = [event for event in events(app, "shard_start") if event["resumed_items"]]
    assert again["resumed_items"] % 5 == 0


def test_a_killed_supervisor_leaves_orphans_that_stop_and_resume_goes_on(app, calm):
    assert app("submit", *WORDS, SLOW).code == 0
    workers = in_the_middle(app)
    os.kill(supervisor(app)["pid"], signal.SIGKILL)
    wait_for(lambda: [event["reason"] for event in events(app, "end")] == ["orphaned"] * 2)
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))  # noqa: PTH110
    wait_for(lambda: not is_alive(supervisor(app)))
    captions = app.status()["stages"]["captions"]
    assert (captions["state"], captions["running"]) == ("partial", 0)
    assert app("resume", "wait=true", "captions.template.items_per_s=0").code == 0
    assert same_set(app.path) == calm
    assert len(app.submissions()) == 2


def test_everything_killed_at_once_and_resumed_again_and_again(app, calm):
    def enough(kind: str, count: int) -> bool:
        return len(events(app, kind)) >= count

    assert app("submit", *WORDS, SLOW).code == 0
    for round_number in range(1, 4):
        wait_for(partial(enough, "worker_started", 2 * round_number))
        wait_for(partial(enough, "shard_start", 2 * round_number))
        started = events(app, "worker_started")
        os.kill(supervisor(app)["pid"], signal.SIGKILL)
        for event in started[-2:]:
            try:
                os.kill(event["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_for(lambda: not is_alive(supervisor(app)))
        assert app("resume").code == 0
    wait_for(lambda: app.status()["stages"]["captions"]["state"] == "done")
    assert same_set(app.path) == calm
    assert sorted(event["shard"] for event in events(app, "shard_done")) == [0, 1, 2, 3, 4]
    assert app("verify").code == 0


def test_cancel_ends_all_processes_keeps_what_is_done_and_resume_goes_on(app, calm):
    assert app("submit", *WORDS, SLOW).code == 0
    workers = in_the_middle(app)
    outcome = app("cancel")
    assert outcome.code == 0
    assert "00001-captions" in outcome.out
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)  # noqa: PTH110
    assert [one.state for one in app.submissions()] == ["cancelled"]
    captions = app.status()["stages"]["captions"]
    assert captions["running"] == 0
    assert captions["items_done"] > 0
    assert "nothing was alive" in app("cancel").out
    assert app("resume", "wait=true", "captions.template.items_per_s=0").code == 0
    assert same_set(app.path) == calm


def test_a_finished_stage_is_told_and_nothing_is_submitted(app, at_once):
    assert app("submit", *WORDS).code == 0
    before = same_set(app.path)
    for verb, words in (("submit", WORDS), ("submit", ("stage=captions",)), ("resume", ())):
        outcome = app(verb, *words)
        assert outcome.code == 0
        assert "captions/write: done (5 of 5 shards sealed)" in outcome.out
    assert len(app.submissions()) == 1
    assert same_set(app.path) == before


def test_execution_keys_change_freely_and_each_submission_keeps_its_own(app, monkeypatch, calm):
    from synthclip_hpc.submissions import update

    # As if it had been killed at once: recorded as over, nothing made.
    with monkeypatch.context() as killed:
        over = lambda run, ones: [update(one, state="ended") for one in ones]  # noqa: E731
        killed.setattr("synthclip_hpc.launch.local.start_supervisor", over)
        assert app("submit", *WORDS, SLOW, "retries.errors=1").code == 0
    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", work_off)
    words = ("workers=5", "captions.template.items_per_s=0", "retries.errors=2", "slurm.partition=x")
    assert app("resume", *words).code == 0
    first, second = app.submissions()
    assert (first.config.retries.errors, first.num_elements, first.config.captions.template.items_per_s) == (1, 2, 40)
    assert (second.config.retries.errors, second.num_elements) == (2, 5)
    assert app.run.load_config().slurm.partition == "x"
    assert same_set(app.path) == calm


def test_shards_that_were_all_there_are_sealed_without_a_submission(app, at_once, calm):
    assert app("submit", *WORDS).code == 0
    (app.path / "captions/write/seal.json").unlink()
    outcome = app("resume")
    assert outcome.code == 0
    assert "all 5 shards were there; sealed now" in outcome.out
    assert len(app.submissions()) == 1
    assert same_set(app.path) == calm


def test_resume_needs_no_bank_file_any_more(app, at_once, tmp_path):
    bank = tmp_path / "bank.txt"
    bank.write_text("cat\ndog\n")
    assert app("submit", "stage=captions", f"concepts.bank={bank}").code == 0
    bank.unlink()
    (app.path / "captions/write/seal.json").unlink()
    (app.path / "captions/write/markers/000/00000.json").unlink()
    (app.path / "captions/write/data/000/00000.parquet").unlink()
    assert app("resume").code == 0
    assert [row["concept"] for row in app.captions()] == ["cat", "dog"]


def test_a_bank_that_was_edited_is_refused_with_the_difference(app, at_once, tmp_path):
    bank = tmp_path / "bank.txt"
    bank.write_text("cat\ndog\n")
    assert app("submit", "stage=captions", f"concepts.bank={bank}").code == 0
    bank.write_text("cat\ndog\nfox\n")
    outcome = app("submit", "stage=captions")
    assert outcome.code == 2
    assert "num_items: recorded 2, asked 3" in outcome.err
    assert len(app.captions()) == 2
