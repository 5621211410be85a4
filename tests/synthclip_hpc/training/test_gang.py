"""The workers' part in training: rounds that end well, badly, or because of a stop. torchrun is a small program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sharding.directory import PhaseDirectory
from slurm.signals import Stopped
from slurm.torchrun import Node
from synthclip_hpc.errors import UserError
from synthclip_hpc.training import gang
from synthclip_hpc.training.gang import Job, RankFailed, accompany, lead
from synthclip_hpc.training.rounds import Outcome
from tests.synthclip_hpc.app import REPOSITORY

AGENT = "tests.synthclip_hpc.training.gang_node"
FINISHED = ["outcome finished 14"]


class Stage:
    """One node's job, and what became of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[dict] = []
        self.looks = 0

    def play(self, rounds: list[list[str]], node: int = 0) -> None:
        """Say what each round does on a node."""
        path = self.folder / "script.json"
        known = json.loads(path.read_bytes()) if path.exists() else {}
        path.write_text(json.dumps(known | {str(node): rounds}))

    def job(self, rank: int = 0, count: int = 1, attempt: str = "7_0_0") -> Job:
        directory = PhaseDirectory(self.folder)
        return Job(directory, str(self.folder), "00001-train", attempt, Node(rank, count, f"n{rank}"), "1", 5, 2)

    def lead(self, safe_point=lambda: None, count: int = 1) -> int:
        job = self.job(count=count)
        return lead(job, safe_point, lambda number: self.look(job, number), self.tell)

    def look(self, job: Job, number: int) -> int | None:
        self.looks += 1
        path = job.round(number).folder / "step"
        return int(path.read_text()) if path.exists() else None

    def tell(self, event: str, **fields) -> None:
        self.told.append({"event": event, **fields})

    def ends(self) -> list[tuple]:
        return [(one["outcome"], one["step"], one["exit_code"]) for one in self.told if one["event"] == "round_ended"]

    def started(self, node: int, number: int) -> Path:
        return self.folder / f"started-{node}-{number}.json"


@pytest.fixture
def stage(tmp_path, monkeypatch) -> Stage:
    monkeypatch.setattr(gang, "AGENT", AGENT)
    monkeypatch.setattr(gang, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(gang, "_INVITATION_EVERY_S", 0.02)
    monkeypatch.setattr(gang, "_SIGNAL_LATER_S", 0.5)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return Stage(tmp_path)


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return not (Path(f"/proc/{pid}/status").read_text().split("State:")[1].strip().startswith("Z"))
    except FileNotFoundError:
        return False


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class StopsAt:
    """A safe point that stops once a file is there."""

    def __init__(self, path: Path, reason="notice") -> None:
        self.path, self.reason, self.raised = path, reason, 0

    def __call__(self) -> None:
        if self.path.exists():
            self.raised += 1
            raise Stopped(self.reason)


def test_a_round_that_finishes_is_the_only_one(stage):
    stage.play([FINISHED])
    before = descriptors()
    assert stage.lead() == 0
    assert stage.ends() == [("finished", 14, 0)]
    assert descriptors() == before
    job = stage.job()
    assert job.round(0).outcome() == Outcome("finished", 14)
    # What torchrun was given.
    argv = json.loads(stage.started(0, 0).read_bytes())["argv"]
    address, port = job.round(0).invitation()
    assert address == "127.0.0.1" and f"--master-port={port}" in argv and "--max-restarts=0" in argv
    assert argv[-6:] == ["--module", "synthclip_hpc.training.rank", str(stage.folder), "00001-train", "7_0_0", "0"]


def test_a_killed_round_is_followed_by_the_next_one(stage):
    stage.play([["step 3", "killed"], ["step 5", "error 1 peer RuntimeError gone", "exit 1"], FINISHED])
    assert stage.lead() == 2
    assert stage.ends() == [("lost", 3, -signal.SIGKILL), ("lost", 5, 1), ("finished", 14, 0)]


def test_rounds_of_an_earlier_life_of_the_attempt_are_left_behind(stage):
    stage.job().round(4).invite("127.0.0.1", 1)
    stage.job().round(4).end(Outcome("stopped", 3))
    stage.play([FINISHED])
    assert stage.lead() == 5


def test_a_users_mistake_is_told_in_its_words_whoever_else_failed(stage):
    words = ["error 0 peer RuntimeError gloo", "error 3 own KeyError x", "error 2 user UserError train.lr=9: too much"]
    stage.play([[*words, "exit 1"]])
    with pytest.raises(UserError) as error:
        stage.lead()
    assert str(error.value) == "train.lr=9: too much"
    assert stage.ends() == [("lost", None, 1)]


def test_an_error_of_a_rank_ends_the_attempt_with_its_traceback(stage):
    stage.play([["error 0 peer RuntimeError gone", "error 1 own KeyError 'weight'", "exit 1"]])
    with pytest.raises(RankFailed) as error:
        stage.lead()
    assert str(error.value) == "rank 1: KeyError: 'weight'\nTraceback of KeyError"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["killed"], "torchrun ended with signal SIGKILL; see the log before this"),
        (["exit 3"], "torchrun ended with exit code 3; see the log before this"),
        (["error 2 peer RuntimeError gloo is gone", "exit 1"], "rank 2 said RuntimeError: gloo is gone"),
    ],
)
def test_three_rounds_without_a_step_end_the_attempt(stage, words, reason):
    stage.play([words])
    with pytest.raises(RankFailed) as error:
        stage.lead()
    assert str(error.value) == f"3 rounds in a row ended without a step: {reason}"
    assert len(stage.ends()) == 3


def test_rounds_that_come_back_to_the_same_step_count_as_lost_and_one_step_more_does_not(stage, monkeypatch):
    monkeypatch.setattr(gang, "_STUCK_ROUNDS", 3)
    kills = [[f"step {step}", "killed"] for step in (4, 4, 4, 5, 5, 5, 5)]
    stage.play(kills)
    with pytest.raises(RankFailed, match="3 rounds in a row did not get beyond step 5"):
        stage.lead()
    assert [step for _, step, _ in stage.ends()] == [4, 4, 4, 5, 5, 5, 5]


def test_nodes_that_never_come_are_told_by_those_that_did(stage, monkeypatch):
    monkeypatch.setattr(gang, "_address", lambda node: "127.0.0.1")
    stage.play([["exit 1"]])
    for number in range(3):
        stage.job().round(number).folder.mkdir(parents=True)
        stage.job().round(number).come("n2")
    with pytest.raises(RankFailed) as error:
        stage.lead(count=4)
    assert "only 2 of 4 nodes came within 5 s (n0, n2)" in str(error.value)
    assert "raise train.start_timeout_s" in str(error.value)


def test_a_stop_is_passed_on_and_waits_for_the_ranks(stage):
    stage.play([["step 2", "wait_for_the_word", "go_on_for_a_second", "outcome stopped 3"]])
    stop = StopsAt(stage.job().round(0).folder / "step")
    with pytest.raises(Stopped) as stopped:
        stage.lead(stop)
    assert stopped.value.reason == "notice"
    # Asked once: what is raised ends the asking, not the watching.
    assert stop.raised == 1
    assert (stage.job().round(0).folder / "went_on").exists()
    assert stage.ends() == [("stopped", 3, 0)]


def test_a_training_that_finishes_while_it_is_told_to_stop_is_finished(stage):
    stage.play([["step 2", "wait_for_the_word", *FINISHED]])
    assert stage.lead(StopsAt(stage.job().round(0).folder / "step")) == 0


def test_a_stop_that_another_node_heard_first_keeps_its_reason(stage):
    stage.play([["outcome stopped 3"]])
    # This node hears of it when its ranks have ended already.
    heard = iter([False] * 3)

    class Late(StopsAt):
        def __call__(self) -> None:
            if self.path.exists() and next(heard, True):
                super().__call__()

    with pytest.raises(Stopped) as stopped:
        stage.lead(Late(stage.job().round(0).folder / "outcome.json"))
    assert stopped.value.reason == "notice"


def test_a_stop_that_this_node_never_hears_of_ends_it_too(stage):
    stage.play([["outcome stopped 3"]])
    with pytest.raises(Stopped) as stopped:
        stage.lead()
    assert stopped.value.reason == "terminate"


def test_a_stop_before_the_first_round_starts_nothing(stage):
    def stop():
        raise Stopped("terminate")

    with pytest.raises(Stopped):
        stage.lead(stop)
    assert not (stage.folder / "partial").exists() and stage.told == []


def test_an_error_of_the_workers_own_ends_its_ranks(stage):
    stage.play([["step 1", "wait_for_the_word"]])
    job = stage.job()

    def look(number: int) -> int | None:
        if (job.round(number).folder / "step").exists():
            raise OSError("stale")
        return None

    with pytest.raises(OSError, match="stale"):
        lead(job, lambda: None, look, stage.tell)
    assert not is_running(json.loads(stage.started(0, 0).read_bytes())["pid"])


def test_another_node_joins_each_round_it_is_invited_to_until_the_training_is_done(stage, monkeypatch):
    monkeypatch.setattr(gang, "_address", lambda node: "127.0.0.1")
    stage.play([["step 2", "killed"], FINISHED])
    stage.play([["exit 1"], []], node=1)
    done = threading.Event()
    other = threading.Thread(
        target=accompany, args=(stage.job(rank=1, count=2), lambda: None, done.is_set), daemon=True
    )
    other.start()
    # A round in which the others have all been is over for this one as well.
    look = stage.look
    stage.look = lambda job, number: until(stage.started(1, number).exists) or look(job, number)
    assert stage.lead(count=2) == 1
    assert other.is_alive()
    done.set()
    other.join(30)
    assert not other.is_alive()
    for number in (0, 1):
        argv = json.loads(stage.started(1, number).read_bytes())["argv"]
        address, port = stage.job().round(number).invitation()
        assert {"--nnodes=2", "--node-rank=1", f"--master-addr={address}", f"--master-port={port}"} <= set(argv)
        assert stage.job().round(number).here() == ["n1"]


def test_another_node_that_is_stopped_waits_for_its_ranks(stage):
    stage.play([["wait_for_the_word", "go_on_for_a_second"]], node=1)
    job = stage.job(rank=1, count=2)
    job.round(0).invite("127.0.0.1", 1)
    with pytest.raises(Stopped):
        accompany(job, StopsAt(stage.started(1, 0)), lambda: False)
    assert (job.round(0).folder / "went_on").exists()


def test_a_node_whose_name_does_not_resolve_is_told_before_anybody_waits_for_it(stage, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "no-such-host.invalid")
    with pytest.raises(UserError, match=r"calls itself no-such-host\.invalid.*slurm\.nodes=1"):
        stage.lead(count=2)


WORKER = """
import sys
from pathlib import Path
from sharding.directory import PhaseDirectory
from slurm.torchrun import Node
from synthclip_hpc.training import gang
gang.AGENT = sys.argv[2]
folder = Path(sys.argv[1])
job = gang.Job(PhaseDirectory(folder), str(folder), "1", "7_0_0", Node(0, 1, "n0"), "1", 5, 1)
gang.lead(job, lambda: None, lambda number: None, lambda event, **fields: None)
"""


def test_the_launcher_dies_with_a_worker_that_is_killed(stage):
    stage.play([["step 1", "wait_for_the_word"]])
    with subprocess.Popen([sys.executable, "-c", WORKER, str(stage.folder), AGENT], cwd=REPOSITORY) as worker:
        until((stage.job().round(0).folder / "step").exists)
        pid = json.loads(stage.started(0, 0).read_bytes())["pid"]
        assert is_running(pid)
        worker.kill()
    until(lambda: not is_running(pid))


@pytest.mark.parametrize(
    ("count", "kept", "interface"), [(1, None, "lo"), (1, "eth7", "eth7"), (2, None, None), (2, "eth7", "eth7")]
)
def test_the_launcher_gets_this_jobs_threads_and_nobody_elses_rank(stage, count, kept, interface):
    given = {"PATH": "/bin", "RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "elsewhere", "OMP_NUM_THREADS": "64"}
    if kept:
        given["GLOO_SOCKET_IFNAME"] = kept
    found = gang._environment(given, stage.job(count=count))
    assert found.pop("GLOO_SOCKET_IFNAME", None) == interface
    assert found == {"PATH": "/bin", "OMP_NUM_THREADS": "2", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "2"}
