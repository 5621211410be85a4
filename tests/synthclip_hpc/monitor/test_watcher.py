"""Snapshots of whole runs: that looking again costs little, equals a fresh look, and outlives a hanging Slurm."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from typing import Any

import pytest

from sharding.directory import PhaseDirectory
from synthclip_hpc.config import RunConfig
from synthclip_hpc.monitor.parts import AttemptStatus
from synthclip_hpc.monitor.shards import newest_captions, shard_rows
from synthclip_hpc.monitor.snapshot import SOURCE_OF, PhaseStatus, Snapshot
from synthclip_hpc.monitor.watcher import Watcher
from synthclip_hpc.run import Run
from synthclip_hpc.stages.phase import Estimate
from tests.benchmarks.synthetic_life import Life
from tests.benchmarks.synthetic_run import JOB, Shape, sacct_answer, squeue_answer, write_run
from tests.fake_slurm import FakeSlurm
from tests.synthclip_hpc.app import App

SHAPE = Shape(num_shards=48, num_done=16, num_elements=8, shard_items=10, progress_events=4)
LOCAL = ("stage=captions", "concepts.limit=20", "captions.shard_items=5", "workers=2")


@pytest.fixture
def run(app: App, fake_slurm: FakeSlurm) -> Run:
    """A run with 8 elements at work, each in its second life."""
    run = write_run(app.path, SHAPE)
    fake_slurm.answer("squeue", {"stdout": squeue_answer(run, SHAPE)})
    fake_slurm.answer("sacct", {"stdout": sacct_answer(SHAPE)})
    return run


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the markers of each phase were listed."""
    counted: Counter[str] = Counter()
    real = PhaseDirectory.marked_shards

    def marked_shards(directory: PhaseDirectory) -> set[int]:
        counted[directory.path.name] += 1
        return real(directory)

    monkeypatch.setattr(PhaseDirectory, "marked_shards", marked_shards)
    return counted


def captions(snapshot: Snapshot) -> PhaseStatus:
    [stage] = [stage for stage in snapshot.stages if stage.name == "captions"]
    return stage.phases[0]


def journal(run: Run, attempt: str, *events: dict[str, Any]) -> None:
    with run.phase("captions", "write").journal_path(attempt).open("a") as file:
        file.writelines(json.dumps({"time": time.time(), **event}) + "\n" for event in events)


def test_a_refresh_lists_the_active_phase_once_asks_squeue_never_too_soon_and_sacct_not_again(
    run: Run, fake_slurm: FakeSlurm, listings: Counter[str]
) -> None:
    now = time.time()
    watcher, life = Watcher(run, clock=lambda: now), Life(run, SHAPE)
    watcher.look()
    assert listings == {"write": 1, "read": 1}
    now += 11  # whoever made the sealed phase has had the last word by now
    watcher.look()
    for _ in range(3):
        now += 1
        life.finish(4, now)
        watcher.look()
    assert listings == {"write": 5, "read": 2}
    assert (len(fake_slurm.calls("squeue")), len(fake_slurm.calls("sacct"))) == (1, 1)


def test_a_snapshot_after_refreshes_is_the_one_that_a_fresh_look_gives(run: Run) -> None:
    now = time.time()
    watcher, life = Watcher(run, clock=lambda: now), Life(run, SHAPE)
    watcher.look()
    for _ in range(5):
        now += 10
        life.finish(5, now)
        last = watcher.look()
    journal(run, f"{JOB}_7_1", {"event": "shard_failed", "shard": 47, "type": "ValueError", "message": "bad"})
    last, fresh = watcher.look(), Watcher(run, clock=lambda: now).look()
    for kept, new in zip(captions(last).lives, captions(fresh).lives, strict=True):
        assert dataclasses.replace(kept, throughput=(), items_per_s=None, heard_age_s=None) == dataclasses.replace(
            new, throughput=(), items_per_s=None, heard_age_s=None
        )
    volatile = {"lives", "stragglers", "items_per_s", "eta_s", "eta_now", "eta_full", "hours", "heard_age_s"}
    for field in dataclasses.fields(PhaseStatus):
        if field.name not in volatile:
            assert getattr(captions(last), field.name) == getattr(captions(fresh), field.name), field.name
    assert captions(last).shards_done == 16 + 25


def test_attempts_that_have_ended_are_described_once(run: Run) -> None:
    watcher = Watcher(run)
    first = {one.name: one for one in captions(watcher.look()).lives}
    second = {one.name: one for one in captions(watcher.look()).lives}
    ended = [name for name, one in first.items() if one.state != "running"]
    assert len(ended) == 8
    assert all(second[name] is first[name] for name in ended)


def test_the_lives_tell_state_cause_node_and_what_was_made(run: Run) -> None:
    phase = captions(Watcher(run).look())
    lives = {one.name: one for one in phase.lives}
    assert len(lives) == 16 == phase.attempts
    causes = {index: lives[f"{JOB}_{index}_0"].cause for index in range(4)}
    assert causes == {0: "timeout", 1: "preemption", 2: "preemption", 3: "node_failure"}
    assert {lives[f"{JOB}_{index}_0"].state for index in range(4)} == {"interrupted"}
    running = lives[f"{JOB}_3_1"]
    assert (running.state, running.cause, running.node, running.ended) == ("running", "", "node3", None)
    # One shard of 10 items, and 2 of the progress events of the next, 2 items each.
    assert (running.shards_done, running.items, running.shards_now) == (1, 14, (19,))
    assert [one.started for one in phase.lives] == sorted((one.started for one in phase.lives), reverse=True)  # type: ignore[type-var]


def test_the_numbers_of_a_running_phase_agree_with_one_another(run: Run) -> None:
    snapshot = Watcher(run).look()
    phase = captions(snapshot)
    assert sum(cell.done for cell in phase.heat) == phase.shards_done == 16
    assert sum(cell.running for cell in phase.heat) == phase.shards_running == 8
    assert sum(cell.pending for cell in phase.heat) == 24
    assert (phase.running, phase.concurrency_full) == (8, 8)
    assert phase.eta_now is not None
    assert phase.eta_now.low <= phase.eta_now.high
    assert phase.hours is not None
    assert phase.hours.expected is not None
    assert phase.hours.used < phase.hours.expected.low <= phase.hours.expected.high
    assert phase.hours.device == "CPU"
    assert phase.shard_median_s == 40.0
    [stage] = [stage for stage in snapshot.stages if stage.name == "captions"]
    assert (stage.heat, stage.eta_now, stage.hours) == (phase.heat, phase.eta_now, phase.hours)
    assert (stage.lives, stage.phases) == ((), (phase,))


def test_what_waits_is_told_in_words_and_a_throttle_limits_what_can_run_at_once(
    run: Run, fake_slurm: FakeSlurm
) -> None:
    told = squeue_answer(run, SHAPE).replace("RUNNING|None|node5", "PENDING|QOSMaxJobsPerUserLimit|")
    fake_slurm.answer("squeue", {"stdout": told})
    phase = captions(Watcher(run).look())
    [wait] = phase.waits
    assert (wait.jobs, wait.stuck) == (1, False)
    assert wait.starts is not None
    assert (phase.running, phase.concurrency_full) == (7, 8)
    record = run.submissions_path / "00001-captions" / "record.json"
    changed = json.loads(record.read_text()) | {"asked": {"nodes": 1, "throttle": 7}}
    record.write_text(json.dumps(changed))
    assert captions(Watcher(run).look()).concurrency_full == 7


def test_a_dependency_that_can_never_be_met_is_an_alarm(run: Run, fake_slurm: FakeSlurm) -> None:
    told = squeue_answer(run, SHAPE).replace("PENDING|Dependency", "PENDING|DependencyNeverSatisfied")
    fake_slurm.answer("squeue", {"stdout": told})
    alarm = Watcher(run).look().alarms[0]
    assert (alarm.kind, alarm.where) == ("stuck", "captions/write")
    assert "never start" in alarm.text


def test_a_hanging_squeue_leaves_the_watcher_alive_and_its_numbers_marked_as_old(
    run: Run, fake_slurm: FakeSlurm
) -> None:
    answer = squeue_answer(run, SHAPE)
    fake_slurm.answer("squeue", {"stdout": answer, "sleep_s": 1})
    watcher = Watcher(run, patience_s=0.01)
    first = watcher.look()
    assert first.sources["squeue"].error == "squeue has not answered yet"
    assert first.alive
    assert captions(first).shards_done == 16
    assert [alarm.kind for alarm in first.alarms if alarm.where == "squeue"] == ["queue"]
    Life(run, SHAPE).finish(3, time.time())
    assert captions(watcher.look()).shards_done == 19
    deadline = time.monotonic() + 30
    while watcher.look().sources["squeue"].error and time.monotonic() < deadline:
        time.sleep(0.05)
    last = watcher.look()
    assert (last.sources["squeue"].error, captions(last).running) == (None, 8)
    assert len(fake_slurm.calls("squeue")) == 1


def test_accounting_is_not_asked_again_once_it_has_told(run: Run, fake_slurm: FakeSlurm) -> None:
    now = time.time()
    watcher = Watcher(run, clock=lambda: now)
    for _ in range(20):
        now += 60
        watcher.look()
    assert len(fake_slurm.calls("sacct")) == 1
    assert len(fake_slurm.calls("squeue")) > 1


def test_accounting_is_asked_for_an_hour_about_what_it_does_not_know(run: Run, fake_slurm: FakeSlurm) -> None:
    fake_slurm.answer("sacct", {"stdout": ""})
    begin = now = time.time()
    watcher = Watcher(run, clock=lambda: now)
    while now < begin + 2 * 3600:
        now += 600
        last = watcher.look()
    assert captions(last).unknown == 4
    asked = len(fake_slurm.calls("sacct"))
    assert 2 <= asked <= 8
    now += 3600
    watcher.look()
    assert len(fake_slurm.calls("sacct")) == asked


def test_a_failure_makes_a_group_which_stays_the_same_object_until_something_fails_again(run: Run) -> None:
    watcher = Watcher(run)
    assert watcher.look().failures == ()
    failure = {"event": "shard_failed", "type": "ValueError", "message": "bad shard", "where": "x.py:f"}
    journal(run, f"{JOB}_0_1", {**failure, "shard": 24})
    first = watcher.look()
    [group] = first.failures
    assert (group.count, group.shards, captions(first).shards_failed) == (1, (24,), 1)
    assert watcher.look().failures is first.failures
    journal(run, f"{JOB}_1_1", {**failure, "shard": 25})
    [group] = watcher.look().failures
    assert (group.count, group.shards) == (2, (24, 25))


def test_idle_gpus_are_an_alarm_and_their_samples_are_bounded(run: Run) -> None:
    sample = {"event": "gpu", "memory_bytes": 1, "memory_total_bytes": 2}
    busy, idle = f"{JOB}_0_1", f"{JOB}_1_1"
    for percent, attempt in ((90.0, busy), (0.0, idle)):
        journal(run, attempt, *({**sample, "utilisation_percent": percent} for _ in range(60)))
    snapshot = Watcher(run).look()
    [alarm] = [alarm for alarm in snapshot.alarms if alarm.kind == "idle-gpu"]
    assert alarm.text == "1 attempt with idle GPUs, on node1"
    lives = {one.name: one for one in captions(snapshot).lives}
    assert (len(lives[busy].gpu), lives[busy].gpu[-1].utilisation_percent) == (40, 90.0)


def test_a_node_whose_clock_is_ahead_is_an_alarm_and_no_age_is_negative(run: Run) -> None:
    journal(run, f"{JOB}_0_1", {"event": "progress", "shard": 16, "items": 6, "new": 2, "time": time.time() + 300})
    snapshot = Watcher(run).look()
    [alarm] = [alarm for alarm in snapshot.alarms if alarm.kind == "clock"]
    assert (alarm.where, "ahead of this host's" in alarm.text) == ("node0", True)
    ages = [one.heard_age_s for one in captions(snapshot).lives if one.heard_age_s is not None]
    assert len(ages) == 8
    assert min(ages) == 0.0
    assert captions(snapshot).heard_age_s == 0.0


def test_a_plan_of_a_newer_version_is_told_as_such(run: Run) -> None:
    path = run.phase("captions", "write").plan_path
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    stage = next(stage for stage in Watcher(run).look().stages if stage.name == "captions")
    assert (stage.state, stage.message) == ("failed", "plan made by a newer version: use that one")


def test_an_estimate_that_cannot_be_told_any_more_leaves_the_rest_of_the_view(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthclip_hpc.errors import UserError
    from synthclip_hpc.stages import captions as stage

    def moved(config: RunConfig) -> Estimate:
        raise UserError("the mix was moved")

    monkeypatch.setattr(stage, "PHASES", (dataclasses.replace(stage.PHASES[0], estimate=moved),))
    phase = captions(Watcher(run).look())
    assert phase.shards_done == 16
    assert phase.hours is not None
    assert phase.hours.used > 0


def test_a_done_phase_stays_open_until_accounting_has_told_of_those_that_vanished(
    app: App, fake_slurm: FakeSlurm
) -> None:
    shape = Shape(num_shards=16, num_done=16, num_elements=8, shard_items=10, progress_events=4)
    run = write_run(app.path, shape)
    fake_slurm.answer("sacct", {"stdout": sacct_answer(shape), "sleep_s": 1})
    now = time.time() + 60
    watcher = Watcher(run, patience_s=0.01, clock=lambda: now)
    phase = captions(watcher.look())
    assert (phase.state, phase.unknown, phase.node_failures) == ("done", 4, 0)
    deadline = time.monotonic() + 30
    while (phase := captions(watcher.look())).unknown and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (phase.unknown, phase.node_failures, phase.preemptions) == (0, 2, 4)
    assert len(fake_slurm.calls("sacct")) == 1


@pytest.mark.parametrize(
    ("error", "hours", "kinds"),
    [("Slurm accounting storage is disabled", 0.0, []), ("slurmdbd: Connection refused", 1.1, ["queue"])],
)
def test_a_done_phase_that_accounting_never_tells_of_is_settled_in_the_end(
    app: App, fake_slurm: FakeSlurm, listings: Counter[str], error: str, hours: float, kinds: list[str]
) -> None:
    shape = Shape(num_shards=16, num_done=16, num_elements=8, shard_items=10, progress_events=4)
    run = write_run(app.path, shape)
    fake_slurm.answer("sacct", {"exit": 1, "stderr": f"{error}\n"})
    now = time.time() + 60
    watcher = Watcher(run, clock=lambda: now)
    snapshot = watcher.look()
    assert captions(snapshot).unknown == 4
    assert error in (snapshot.sources["sacct"].error or "")
    # That a cluster keeps no accounting is nothing to mend.
    assert [alarm.kind for alarm in snapshot.alarms if alarm.where == "sacct"] == kinds
    assert (watcher.watch("captions/write").settled is None) == bool(hours)
    now += 3600 * hours
    watcher.look()
    before = listings["write"]
    now += 60
    assert captions(watcher.look()).unknown == 4
    assert listings["write"] == before


def test_every_key_of_a_phase_names_its_source_and_every_source_its_age(run: Run) -> None:
    snapshot = Watcher(run).look()
    for field in dataclasses.fields(PhaseStatus):
        name, source = snapshot.source_of(field.name)
        assert source.age_s is not None
        assert name in ("files", "squeue", "sacct")
    assert {snapshot.source_of(key)[0] for key in ("shards_done", "running", "preemptions")} == {
        "files",
        "squeue",
        "sacct",
    }
    told = json.loads(json.dumps(snapshot.to_json()))
    assert told["source_of"] == dict(SOURCE_OF)
    assert told["stages"][1]["phases"][0]["lives"][0].keys() == {one.name for one in dataclasses.fields(AttemptStatus)}


def test_the_pace_follows_the_cost_of_a_look(run: Run) -> None:
    watcher = Watcher(run)
    watcher.look()
    assert 2.0 <= watcher.pace_s <= 15.0


def test_the_table_of_shards_and_the_newest_captions_are_made_on_demand(app: App, at_once: None) -> None:
    assert app("submit", *LOCAL).code == 0
    watcher = Watcher(app.run)
    snapshot = watcher.look()
    watch = watcher.watch("captions/write")
    rows = shard_rows(watch, snapshot.time)
    assert [(row.shard, row.state, row.items_total, row.node) for row in rows] == [
        (shard, "done", 5, "here") for shard in range(4)
    ]
    assert sum(row.items_done for row in rows) == captions(snapshot).items_done
    newest = newest_captions(watch, 7)
    assert len(newest) == 7
    assert {caption.shard for caption in newest} == {3, 1}
    written = {row["caption"] for row in app.captions()}
    assert {caption.caption for caption in newest} <= written


def test_the_table_tells_of_shards_that_are_run_failed_and_untouched(run: Run) -> None:
    journal(run, f"{JOB}_0_1", {"event": "shard_failed", "shard": 40, "type": "ValueError", "message": "bad"})
    watcher = Watcher(run)
    snapshot = watcher.look()
    rows = shard_rows(watcher.watch("captions/write"), snapshot.time)
    assert Counter(row.state for row in rows) == {"done": 16, "running": 8, "failed": 1, "pending": 23}
    assert (rows[40].message, rows[40].node) == ("ValueError: bad", "node0")
    assert rows[19].attempt == f"{JOB}_3_1"
    assert rows[19].items_done == 4
