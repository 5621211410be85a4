"""Several engines in one worker: the same bytes as with one, and ends of every kind lose nothing."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharding import files
from sharding.journal import Journal, read_events
from slurm.attempt import Attempt
from slurm.signals import StopFlag
from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.lanes import LaneEnded, Lanes
from synthclip_hpc.launch.chain import local_workers
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.place import Place, devices_of_worker
from synthclip_hpc.sealing import seal_phase
from synthclip_hpc.worker import run_attempt
from tests.synthclip_hpc.app import App, same_set
from tests.synthclip_hpc.scripted_engine import ScriptedEngine

SHAPE = (
    "stage=captions",
    "concepts.limit=48",
    "captions.shard_items=6",
    "captions.batch_items=2",
    "captions.device=cpu",
    "workers=1",
)
OWN = "captions.engine=tests.synthclip_hpc.test_lanes:open_troubled"
PHASE = "captions/write"


class Troubled(ScriptedEngine):
    """Has trouble with concepts that the file `$LANES_TROUBLE` names: `{concept: kind}`; `once` leaves a mark."""

    def generate(self, batch: Sequence[Request]) -> list[str]:
        trouble: dict[str, str] = {}
        if path := os.environ.get("LANES_TROUBLE"):
            trouble = json.loads(Path(path).read_text())
        for request in batch:
            kind = trouble.get(request.concept, trouble.get("every concept"))
            if kind == "killed once":
                mark = Path(os.environ["LANES_TROUBLE"] + ".mark")
                if not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            if kind == "full disk":
                raise OSError(28, "No space left on device")
            if kind == "mistake":
                raise UserError("captions.prompt: too long")
            if kind == "slow":
                time.sleep(0.1)
        return super().generate(batch)


def open_troubled(config: object, model: object) -> Troubled:
    return Troubled()


@pytest.fixture
def trouble(tmp_path, monkeypatch):
    """Say which concepts are trouble, and of which kind."""

    def write(kinds: dict[str, str]) -> None:
        path = tmp_path / "trouble.json"
        path.write_text(json.dumps(kinds))
        monkeypatch.setenv("LANES_TROUBLE", str(path))

    return write


@pytest.fixture
def calm(app, at_once) -> App:
    """The run of one engine without trouble."""
    other = App(app.path.with_name("calm"))
    assert other("submit", *SHAPE, "concepts.bank=emoji", OWN).code == 0
    return other


def concepts(run: App) -> list[str]:
    return [row["concept"] for row in run.captions()]


def events(app: App, kind: str | None = None) -> list[dict[str, Any]]:
    paths = sorted((app.path / PHASE / "journals").glob("*.jsonl"))
    found = [event for path in paths for event in read_events(path)[0]]
    return [event for event in found if kind is None or event["event"] == kind]


def submit(app: App, *words: str) -> None:
    assert app("submit", *SHAPE, "concepts.bank=emoji", OWN, *words).code == 0


def test_three_engines_write_the_same_bytes_as_one_in_one_attempt_and_one_journal(app, calm, trouble):
    trouble({"every concept": "slow"})
    submit(app, "captions.engines=3")
    assert same_set(app.path) == same_set(calm.path)
    done = events(app, "shard_done")
    assert sorted(event["shard"] for event in done) == list(range(8))
    assert sum(event["new"] for event in events(app) if "new" in event) == 48
    assert len(events(app, "ready")) == 1
    at_once = [event["event"] for event in events(app) if event["event"] in ("shard_start", "shard_done")]
    assert at_once[:3] == ["shard_start"] * 3


def test_more_engines_than_shards_are_no_trouble(app, calm):
    submit(app, "captions.engines=2", "concepts.limit=4")
    assert [row["concept"] for row in app.captions()] == concepts(calm)[:4]


def test_a_killed_engine_fails_its_shard_and_the_others_go_on_and_resume_completes(app, calm, trouble):
    trouble({concepts(calm)[20]: "killed once"})
    submit(app, "captions.engines=3")
    [failed] = events(app, "shard_failed")
    assert (failed["shard"], failed["type"]) == (3, "EngineDied")
    assert "was ended by SIGKILL" in failed["message"]
    assert sorted(event["shard"] for event in events(app, "shard_done")) == [0, 1, 2, 4, 5, 6, 7]
    assert app("resume").code == 0
    assert same_set(app.path) == same_set(calm.path)


def test_an_engine_that_was_killed_is_opened_again_for_the_next_shards(app, calm, trouble):
    """With two engines and the first of eight shards failing, each of the others must be made by a live engine."""
    trouble({"every concept": "killed once"})
    submit(app, "captions.engines=2", "retries.errors=2")
    assert len(events(app, "shard_failed")) in (1, 2)  # both may have looked for the mark before it was there
    assert len(events(app, "shard_done")) == 8 - len(events(app, "shard_failed"))
    assert app("resume").code == 0
    assert same_set(app.path) == same_set(calm.path)


def test_no_more_shards_fail_than_the_error_limit_and_those_at_work(app, calm, trouble):
    trouble({"every concept": "mistake"})
    submit(app, "captions.engines=3", "retries.errors=1")
    assert 2 <= len(events(app, "shard_failed")) <= 4
    assert {event["reason"] for event in events(app, "end")} >= {"failed"}
    assert events(app, "shard_done") == []


def test_a_full_disk_in_one_lane_ends_all_of_them_between_batches(app, calm, trouble):
    kinds = dict.fromkeys(concepts(calm), "slow")
    trouble(kinds | {concepts(calm)[0]: "full disk"})
    submit(app, "captions.engines=3", "retries.errors=100")
    [end] = [event for event in events(app, "end") if event["reason"] == "error"]
    assert (end["type"], "No space left" in end["message"]) == ("OSError", True)
    assert [event["shard"] for event in events(app, "shard_failed")] == [0]
    assert len(events(app, "shard_start")) == 3
    trouble({})
    assert app("resume").code == 0
    assert same_set(app.path) == same_set(calm.path)
    begun = {event["shard"]: event["resumed_items"] for event in events(app, "shard_start") if event["resumed_items"]}
    assert {shard: items % 2 for shard, items in begun.items()} == dict.fromkeys(begun, 0)


def test_a_signal_ends_all_lanes_between_batches_and_nothing_is_made_twice(app, calm, trouble, monkeypatch):
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
    }
    trouble(dict.fromkeys(concepts(calm), "slow"))
    with monkeypatch.context() as planned:
        planned.setattr("synthclip_hpc.launch.local.start_supervisor", lambda run, ones: ones)
        submit(app, "captions.engines=3")
    [submission] = app.submissions()
    stop = StopFlag()

    def warn() -> None:
        deadline = time.monotonic() + 30
        while len(events(app, "progress")) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR2)

    warning = threading.Thread(target=warn)
    try:
        stop.install()
        warning.start()
        reason = run_attempt(app.run, submission, Attempt("77", 0, 0, "here"), 0, stop)
    finally:
        warning.join()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (reason, stop.signal_name) == ("notice", "SIGUSR2")
    first = events(app)
    done = {event["shard"] for event in first if event["event"] == "shard_done"}
    reported = {event["shard"]: event["items"] for event in first if event["event"] == "progress"}
    stopped = {shard: items for shard, items in reported.items() if shard not in done}
    assert len(stopped) == 3
    trouble({})
    assert run_attempt(app.run, submission, Attempt("77", 0, 1, "here"), 0, StopFlag()) == "completed"
    second = read_events(app.path / PHASE / "journals/77_0_1.jsonl")[0]
    resumed = {event["shard"]: event["resumed_items"] for event in second if event["event"] == "shard_start"}
    assert {shard: items <= resumed[shard] for shard, items in stopped.items()} == dict.fromkeys(stopped, True)
    assert {shard for shard, items in resumed.items() if items} == set(stopped)
    assert sum(event["new"] for event in second if "new" in event) == 48 - 6 * len(done) - sum(resumed.values())
    seal_phase(app.run, "captions", "write")
    assert same_set(app.path) == same_set(calm.path)


class Safe:
    """A safe point that raises when told."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def check(self) -> None:
        if self.error is not None:
            raise self.error


def test_each_shard_goes_to_one_lane():
    taken: list[int] = []

    def work(share: Iterator[int]) -> bool:
        for shard in share:
            taken.append(shard)
            time.sleep(0)
        return True

    Lanes(None).run(8, range(500), work)
    assert sorted(taken) == list(range(500))


def test_the_first_error_ends_the_other_lanes_at_a_safe_point_and_is_raised_when_all_have_ended():
    lanes = Lanes(Safe())
    all_at_work = threading.Barrier(3)
    ended = []

    def work(share: Iterator[int]) -> bool:
        shard = next(share)
        all_at_work.wait(30)
        if shard == 1:
            raise MemoryError("of shard 1")
        try:
            for _ in range(5000):
                lanes.check()
                time.sleep(0.001)
            return True
        except LaneEnded:
            time.sleep(0.05)
            ended.append(shard)
            raise

    with pytest.raises(MemoryError, match="of shard 1"):
        lanes.run(3, range(10), work)
    assert sorted(ended) == [0, 2]


def test_a_lane_that_has_had_enough_ends_the_others_without_an_error():
    lanes = Lanes(None)
    taken: list[int] = []

    def work(share: Iterator[int]) -> bool:
        for shard in share:
            lanes.check()
            taken.append(shard)
            if shard == 3:
                return False
            time.sleep(0.01)
        return True

    lanes.run(2, range(1000), work)
    assert 4 <= len(taken) <= 6


def test_the_attempts_own_stop_is_raised_once_for_all_lanes():
    safe = Safe()
    lanes = Lanes(safe)

    def work(share: Iterator[int]) -> bool:
        for shard in share:
            lanes.check()
            if shard == 5:
                safe.error = UserError("stop here")
        return True

    with pytest.raises(UserError, match="stop here"):
        lanes.run(4, range(10_000), work)


def test_threads_that_share_a_journal_write_whole_lines(tmp_path, monkeypatch):
    write = files.write

    def in_two_halves(descriptor: int, data: bytes) -> None:
        write(descriptor, data[:10])
        time.sleep(0.0001)
        write(descriptor, data[10:])

    monkeypatch.setattr(files, "write", in_two_halves)
    journal = Journal(tmp_path / "journal.jsonl")

    def tell(lane: int) -> None:
        for n in range(50):
            journal.event("progress", lane=lane, n=n)

    threads = [threading.Thread(target=tell, args=(lane,)) for lane in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    found = read_events(tmp_path / "journal.jsonl")[0]
    assert [[event["n"] for event in found if event.get("lane") == lane] for lane in range(4)] == [list(range(50))] * 4
    assert len(found) == 200


def test_a_worker_with_engines_takes_so_many_times_the_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))
    [captions] = phases_of("captions")
    config = RunConfig()
    four = replace(config, captions=replace(config.captions, engines=4, threads=2))
    counts = (local_workers(config, captions), local_workers(four, captions))
    assert (*counts, local_workers(replace(four, workers=5), captions)) == (16, 2, 5)


def test_local_workers_share_out_the_gpus_and_no_two_get_the_same(monkeypatch):
    monkeypatch.setattr("synthclip_hpc.launch.chain.local_place", lambda: Place("local", num_gpus=5))
    [captions] = phases_of("captions")
    config = RunConfig()
    vllm = replace(config.captions, engine="vllm", vllm=replace(config.captions.vllm, tensor_parallel=2))
    two = replace(config, captions=vllm)
    assert local_workers(two, captions) == 2
    with pytest.raises(UserError, match="workers=3: each takes 2 of the 5 GPUs here; use workers=2"):
        local_workers(replace(two, workers=3), captions)
    assert [devices_of_worker(number, 2, None) for number in range(2)] == ["0,1", "2,3"]
    assert [devices_of_worker(number, 2, "7, 4,GPU-a,1") for number in range(2)] == ["7,4", "GPU-a,1"]


def test_no_engine_at_all_is_refused(app):
    outcome = app("submit", *SHAPE, "concepts.bank=emoji", OWN, "captions.engines=0")
    assert (outcome.code, "captions.engines=0: wanted a whole number from 1" in outcome.words) == (2, True)
