"""What needs the user: runs that have stopped, nodes that are blamed, phases that fail, and what is no alarm."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurm.queue import QueueRow, QueueSnapshot
from synthclip_hpc.monitor.alarms import Scene, alarms_of, is_idle
from synthclip_hpc.monitor.failures import FailureGroup
from synthclip_hpc.monitor.open_groups import OpenGroups
from synthclip_hpc.monitor.parts import Alarm, GpuSample, Straggler
from synthclip_hpc.monitor.snapshot import PhaseStatus, Snapshot, Source
from synthclip_hpc.monitor.story import Story
from synthclip_hpc.monitor.watcher import Watcher
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import all_submissions, claim, mark_cancelled, update
from tests.benchmarks.synthetic_run import JOB, SEAL_JOB, Shape, sacct_answer, squeue_answer, write_run
from tests.fake_slurm import FakeSlurm
from tests.synthclip_hpc.app import App

SHAPE = Shape(num_shards=48, num_done=16, num_elements=8, shard_items=10, progress_events=4)
ERROR = {"event": "shard_failed", "type": "CudaError", "message": "device lost", "frame": "x.py:f"}


@pytest.fixture
def run(app: App, fake_slurm: FakeSlurm) -> Run:
    """A run with 8 elements at work on 8 nodes, submitted an hour ago."""
    run = write_run(app.path, SHAPE)
    change_record(run, created=time.time() - 3600)
    fake_slurm.answer("squeue", {"stdout": squeue_answer(run, SHAPE)})
    fake_slurm.answer("sacct", {"stdout": sacct_answer(SHAPE)})
    return run


def change_record(run: Run, **changes: Any) -> None:
    update(all_submissions(run)[-1], **changes)


def journal(run: Run, attempt: str, *events: dict[str, Any]) -> None:
    with run.phase("captions", "write").journal_path(attempt).open("a") as file:
        file.writelines(json.dumps({"time": time.time(), **event}) + "\n" for event in events)


def of_kind(snapshot: Snapshot, *kinds: str) -> list[Alarm]:
    return [alarm for alarm in snapshot.alarms if alarm.kind in kinds]


def captions(snapshot: Snapshot) -> PhaseStatus:
    return next(stage for stage in snapshot.stages if stage.name == "captions").phases[0]


def test_a_run_at_work_has_no_alarm(run: Run) -> None:
    assert Watcher(run).look().alarms == ()


def test_a_run_that_has_left_the_queue_unfinished_is_an_alarm_with_the_command_that_goes_on(
    run: Run, fake_slurm: FakeSlurm
) -> None:
    fake_slurm.answer("squeue", {"stdout": ""})
    snapshot = Watcher(run).look()
    phase = captions(snapshot)
    assert (phase.state, snapshot.alive) == ("partial", False)
    assert phase.message.startswith("nothing of it is at work")
    assert of_kind(snapshot, "stopped") == [
        Alarm(
            "stopped",
            "captions/write",
            f"32 of 48 shards open, nothing of the run is at work: python -m synthclip_hpc.resume run={run.path}",
        )
    ]
    mark_cancelled(all_submissions(run)[0])
    [alarm] = of_kind(Watcher(run).look(), "stopped")
    assert alarm.text.startswith("cancelled, 32 of 48 shards open")


def test_what_was_submitted_a_moment_ago_may_not_be_in_the_queue_yet(run: Run, fake_slurm: FakeSlurm) -> None:
    fake_slurm.answer("squeue", {"stdout": ""})
    change_record(run, created=time.time())
    assert of_kind(Watcher(run).look(), "stopped") == []


def test_jobs_that_were_gone_before_they_began_are_no_plan_that_waits(run: Run, fake_slurm: FakeSlurm) -> None:
    for path in run.phase("captions", "write").journals_path.iterdir():
        path.unlink()
    fake_slurm.answer("squeue", {"stdout": ""})
    snapshot = Watcher(run).look()
    assert captions(snapshot).message == "its jobs were gone before any began: resume"
    assert [alarm.kind for alarm in snapshot.alarms] == ["stopped"]


def test_a_node_on_which_shards_fail_is_an_alarm_while_the_phase_runs_until_they_are_done(run: Run) -> None:
    shards = (24, 32, 40, 41, 42)
    journal(run, f"{JOB}_0_1", *({**ERROR, "shard": shard} for shard in shards))
    watcher = Watcher(run)
    snapshot = watcher.look()
    [group] = snapshot.failures
    node, failing = of_kind(snapshot, "node", "failing")
    assert node.where == "captions/write"
    assert node.text == (
        "5 × CudaError follow node0 (on node0 5 of 7 tries failed, elsewhere 0 of 14); when it has ended, or after "
        f"cancel stage=captions: python -m synthclip_hpc.resume only=group:{group.id} exclude=node0 run={run.path}"
    )
    assert failing.text.startswith("5 of the 21 shards tried so far failed: python -m synthclip_hpc.failures run=")
    phase = run.phase("captions", "write")
    for shard in shards:
        marker = phase.marker_path(0).read_bytes()
        phase.marker_path(shard).parent.mkdir(parents=True, exist_ok=True)
        phase.marker_path(shard).write_bytes(marker)
    assert of_kind(watcher.look(), "node", "failing") == []


def test_what_somebody_has_submitted_again_since_is_no_alarm(run: Run) -> None:
    journal(run, f"{JOB}_0_1", *({**ERROR, "shard": shard} for shard in (24, 32, 40, 41, 42)))
    change_record(run, created=time.time() + 1)
    assert of_kind(Watcher(run).look(), "node", "failing") == []


def test_two_failures_among_many_shards_are_not_failing(run: Run) -> None:
    journal(run, f"{JOB}_0_1", *({**ERROR, "shard": shard} for shard in (24, 32)))
    assert of_kind(Watcher(run).look(), "failing") == []


def test_a_phase_that_has_ended_can_be_resumed_without_the_node_at_once(run: Run, fake_slurm: FakeSlurm) -> None:
    journal(run, f"{JOB}_0_1", *({**ERROR, "shard": shard} for shard in (24, 32, 40, 41, 42)))
    journal(run, f"{JOB}_0_1", {"event": "end", "reason": "failed"})
    fake_slurm.answer("squeue", {"stdout": ""})
    snapshot = Watcher(run).look()
    assert [alarm.kind for alarm in snapshot.alarms] == ["failed", "node"]
    assert "elsewhere 0 of 14); python -m synthclip_hpc.resume only=group:" in snapshot.alarms[1].text


def test_an_unfit_node_is_an_alarm(run: Run) -> None:
    journal(
        run, f"{JOB}_0_1", {"event": "end", "reason": "node_unfit", "type": "NodeUnfit", "message": "GPU 3 is lost"}
    )
    [alarm] = of_kind(Watcher(run).look(), "node")
    assert alarm.text.startswith("node0 found unfit (GPU 3 is lost): tell the cluster's admins; when it has ended")
    assert alarm.text.endswith(f"python -m synthclip_hpc.resume exclude=node0 run={run.path}")


class Counted(set[int]):
    """A set that counts what it is asked."""

    asked = 0

    def __contains__(self, one: object) -> bool:
        self.asked += 1
        return super().__contains__(one)


@pytest.fixture
def group(run: Run) -> FailureGroup:
    journal(run, f"{JOB}_0_1", *({**ERROR, "shard": shard} for shard in (24, 32, 40, 41, 42)))
    return Watcher(run).look().failures[0]


def test_whether_a_group_is_open_costs_what_has_changed(group: FailureGroup) -> None:
    large = dataclasses.replace(group, shards=tuple(range(10_000)))
    book, done = OpenGroups(), Counted(range(9_000))
    marked = {"captions/write": done}
    assert book.of([large], {"captions/write"}, marked) == [large]
    assert done.asked == 9_001
    assert book.of([large], {"captions/write"}, marked) == [large]
    assert done.asked == 9_002
    done.update(range(10_000))
    assert book.of([large], {"captions/write"}, marked) == []
    assert book.of([large], set(), marked) == []


@pytest.fixture
def scene(run: Run, fake_slurm: FakeSlurm) -> Callable[..., Scene]:
    def make(**changes: Any) -> Scene:
        empty: dict[str, Any] = dict.fromkeys(("submissions", "alive", "open_groups"), ())
        empty |= {"phases": {}, "stories": {}, "sources": {}}
        return Scene(**{"run": run, "now": time.time(), "is_settled": True, **empty, **changes})

    return make


def test_many_groups_that_blame_nodes_are_a_few_lines(scene: Callable[..., Scene], group: FailureGroup) -> None:
    groups = [dataclasses.replace(group, id=f"{count:08x}", count=count) for count in range(1, 8)]
    alarms = alarms_of(scene(open_groups=groups))
    assert [alarm.text.split(" ")[0] for alarm in alarms] == ["7", "6", "5", "4"]
    assert alarms[-1].text.startswith("4 more such groups: python -m synthclip_hpc.failures run=")


def test_silent_attempts_are_counted_to_the_last(run: Run, scene: Callable[..., Scene]) -> None:
    phase = captions(Watcher(run).look())
    life = next(one for one in phase.lives if one.state == "running")
    behind = Straggler(1, life.name, "node1", 900.0, None, 900.0, "silent")
    for count in (50, 70):
        lives = [dataclasses.replace(life, name=f"{JOB}_{n}_1", heard_age_s=900.0, gpu=()) for n in range(count)]
        lives.append(dataclasses.replace(life, heard_age_s=3.0))
        told = dataclasses.replace(phase, lives=tuple(lives), stragglers=(behind,) * 50)
        [alarm] = alarms_of(scene(phases={"captions/write": told}))
        assert alarm.text.startswith(f"{count} running attempts fell silent, {life.name} on node1 15 minutes ago")


def story(node: str, *, ahead_s: float = 0.0, lost: int = 0) -> Story:
    found = Story(f"1_{node}_0", node=node, lost_events=lost)
    found.clock.ahead_s = ahead_s
    return found


def test_clocks_and_lost_events_of_many_nodes_are_a_line_each(scene: Callable[..., Scene]) -> None:
    stories = {f"{n}": story(f"n{n}", ahead_s=100.0 + n, lost=1) for n in range(5)}
    clock, lost = alarms_of(scene(stories={"captions/write": stories}))
    assert (clock.kind, clock.where) == ("clock", "n4, n3, n2 and 2 more")
    assert clock.text.startswith("their clocks are up to 104 s ahead of this host's")
    assert (lost.kind, lost.where) == ("journal", "n0, n1, n2 and 2 more")
    assert lost.text.startswith("5 events could not be written")


def test_a_cluster_without_accounting_is_no_alarm(scene: Callable[..., Scene]) -> None:
    sources = {"squeue": Source(1.0, None), "sacct": Source(1.0, "sacct failed: Slurm accounting storage is disabled")}
    assert alarms_of(scene(sources=sources)) == ()
    sources["sacct"] = Source(1.0, "sacct did not answer within 10 s")
    [alarm] = alarms_of(scene(sources=sources))
    assert (alarm.where, "why attempts ended may not be known" in alarm.text) == ("sacct", True)


def with_gpu(*samples: tuple[float, float], ready_s: float | None = 100.0, heard: float = 1000.0) -> Story:
    """An attempt that began at 0, with samples (time, percent)."""
    found = Story("1_0_0", started=1e-6, ready_s=ready_s, heard=heard)
    found.tally.gpu.extend(GpuSample(at, percent, 1, 2) for at, percent in samples)
    return found


NOTHING_TO_DO = tuple((900.0 + 30 * n, 0.0) for n in range(4))


def test_gpus_are_idle_after_two_minutes_without_work_and_not_while_the_model_is_loaded() -> None:
    assert is_idle(with_gpu(*NOTHING_TO_DO), 1000.0)
    assert not is_idle(with_gpu(*NOTHING_TO_DO[1:]), 1000.0)
    assert not is_idle(with_gpu(*NOTHING_TO_DO[:3], (990.0, 80.0)), 1000.0)
    assert not is_idle(with_gpu(*NOTHING_TO_DO, ready_s=None), 1000.0)
    assert not is_idle(with_gpu(*NOTHING_TO_DO, ready_s=950.0), 1000.0)


def test_gpus_of_a_training_wait_until_its_first_steps() -> None:
    story = with_gpu(*NOTHING_TO_DO)
    assert not is_idle(story, 1000.0, trains=True)
    for at in (950.0, 980.0):
        story.tell({"event": "training", "time": at, "step": 1})
    assert not is_idle(story, 1000.0, trains=True)
    early = with_gpu(*NOTHING_TO_DO)
    early.tell({"event": "training", "time": 890.0, "step": 1})
    assert is_idle(early, 1000.0, trains=True)


def test_samples_that_ended_say_nothing_of_gpus_now() -> None:
    assert not is_idle(with_gpu(*NOTHING_TO_DO), 1200.0)
    # The attempt goes on and is heard of, only its GPUs cannot be asked any more.
    assert not is_idle(with_gpu(*NOTHING_TO_DO, heard=1190.0), 1200.0)
    ahead = with_gpu(*((at + 5000, percent) for at, percent in NOTHING_TO_DO), heard=5995.0)
    ahead.clock.arrived(5995.0, None, 1000.0)
    assert is_idle(ahead, 1000.0)


def test_a_dead_attempt_does_not_run_because_its_clock_is_ahead(run: Run, fake_slurm: FakeSlurm) -> None:
    later = time.time() + 300
    rows = [line for line in squeue_answer(run, SHAPE).splitlines(True) if not line.startswith(f"{JOB}_0|")]
    fake_slurm.answer("squeue", {"stdout": "".join(rows)})
    journal(run, f"{JOB}_0_1", {"event": "progress", "shard": 16, "items": 6, "new": 2, "time": later})
    now = time.time()
    watcher = Watcher(run, clock=lambda: now)
    assert captions(watcher.look()).running == 7
    # What arrives later counts from then on, until the queue has been asked again.
    journal(run, f"{JOB}_0_1", {"event": "progress", "shard": 16, "items": 7, "new": 1, "time": later + 1})
    now += 3
    assert captions(watcher.look()).running == 8


def test_an_ahead_clock_ages_from_when_its_word_was_read() -> None:
    dead = Story("1_0_0", heard=1300.0)
    dead.clock.arrived(1300.0, 990.0, 1000.0)
    assert [dead.silent_s(now) for now in (1000.0, 1100.0, 1400.0)] == [0.0, 100.0, 400.0]


def test_a_run_on_two_clusters_is_looked_up_on_both(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = "/etc/old.conf", "/etc/new.conf"
    change_record(run, environment={"SLURM_CONF": old})
    first = all_submissions(run)[0]
    record = {**first.record, "environment": {"SLURM_CONF": new}, "array_jobs": ["99"], "seal_jobs": ["100"]}
    assert claim(run, "render", [0], {**record, "stage": "render", "phase": "draw", "state": "submitted"}) is not None
    asked: Counter[str] = Counter()

    def read_queue(names: list[str], environment: dict[str, str]) -> QueueSnapshot:
        conf = environment["SLURM_CONF"]
        asked[conf] += 1
        rows = [
            QueueRow(f"{JOB}_{n}", JOB, n, first.job_names[0], "RUNNING", "None", f"node{n}", None, None)
            for n in range(8)
        ]
        return QueueSnapshot(tuple(row for row in rows if conf == old and row.name in names), time.time(), None)

    monkeypatch.setattr("synthclip_hpc.monitor.slurm_view.read_queue", read_queue)
    snapshot = Watcher(run).look()
    assert (captions(snapshot).state, captions(snapshot).running) == ("running", 8)
    assert asked == {old: 1, new: 1}


def test_accounting_of_each_cluster_is_asked_about_its_own_jobs(run: Run, fake_slurm: FakeSlurm) -> None:
    change_record(run, environment={"SLURM_CONF": "/etc/old.conf"})
    record = {**all_submissions(run)[0].record, "environment": {"SLURM_CONF": "/etc/new.conf"}, "array_jobs": ["99"]}
    claim(run, "captions", [0], {**record, "seal_jobs": [], "created": time.time() - 60})
    Watcher(run).look()
    [call] = fake_slurm.calls("sacct")
    assert call["env"]["SLURM_CONF"] == "/etc/old.conf"
    assert SEAL_JOB not in call["argv"][call["argv"].index("-j") + 1]


def test_a_killed_supervisor_leaves_an_alarm(app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from synthclip_hpc.processes import identify

    def start(run: Run, submissions: Any) -> None:
        dead = {**identify(1), "start_ticks": -1}
        for one in submissions:
            update(one, state="submitted", supervisor=dead)

    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", start)
    words = ("stage=captions", "concepts.limit=20", "captions.shard_items=5", "workers=2")
    assert app("submit", *words).code == 0
    told = app.status()
    assert [alarm["kind"] for alarm in told["alarms"]] == ["stopped"]
    assert "4 of 4 shards open, nothing of the run is at work" in told["alarms"][0]["text"]
    assert "python -m synthclip_hpc.resume" in app("status", "--once").words
