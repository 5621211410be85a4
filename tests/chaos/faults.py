"""The faults, each done from outside; what was hit is written down at the moment of the blow."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from slurm.onemachine import LabError, kill_node, kill_slurmd, processes, resume_nodes, start_slurmd
from tests.chaos.cluster import Cluster
from tests.chaos.training_faults import AGENT, RANK, damage_newest_checkpoint, kill_one_of, processes_of, round_at_work
from tests.chaos.workers import Worker, at_work, slurm_workers


@dataclass
class Injection:
    """One fault that was done."""

    fault: str
    time: float
    attempts: list[str]
    """The attempts that it hit, by name; `ATTEMPT/ROUND` where the attempt itself outlives it."""
    note: str = ""


@dataclass
class Field:
    """Where faults happen: the cluster, the run, the dice, and the list of what was done."""

    cluster: Cluster
    run: Path
    rng: random.Random
    say: Callable[[str], None]
    begun: str = "start"
    """Only workers that have journalled such an event are hit."""
    done: list[Injection] = field(default_factory=list)

    def workers(self) -> list[Worker]:
        return slurm_workers(self.run)

    def note(self, fault: str, hit: list[Worker], note: str = "", at: float | None = None) -> Injection:
        """Write down a fault; `at` is when it was, in seconds since 1970 (default: now)."""
        # A job of several nodes has a worker on each, all of one attempt.
        return self.write_down(fault, list(dict.fromkeys(worker.attempt for worker in hit)), note, at)

    def write_down(self, fault: str, hit: list[str], note: str = "", at: float | None = None) -> Injection:
        """The same for what has the names `hit`."""
        injection = Injection(fault, at or time.time(), hit, note)
        self.done.append(injection)
        self.say(f"{fault}: {', '.join(hit) or '-'} {note}".rstrip())
        return injection

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether the condition came true in time."""
        return processes.wait_until(condition, timeout_s, poll_s=0.3)


def sigkill_worker(place: Field, victim: Worker) -> None:
    """SIGKILL the python process of one element."""
    victim.process.send(signal.SIGKILL)
    place.note("sigkill-worker", [victim])


def sigkill_between_shards(place: Field, victim: Worker) -> None:
    """SIGKILL the python process of one element right after it finished a shard, its engine warm."""
    [journal] = place.run.glob(f"*/*/journals/{victim.attempt}.jsonl")

    def finished() -> int:
        return journal.read_text(encoding="utf-8").count('"shard_done"')

    before = finished()
    if not processes.wait_until(lambda: finished() > before, 120, poll_s=0.01):
        raise LabError(f"{victim.attempt} finished no shard in time")
    victim.process.send(signal.SIGKILL)
    place.note("sigkill-between-shards", [victim])


def sigkill_slurmstepd(place: Field, victim: Worker) -> None:
    """SIGKILL the slurmstepd above the python process of one element."""
    parent = processes.read_status(victim.parent_pid)
    if parent is None or parent.command != "slurmstepd":
        raise LabError(f"the parent of {victim.attempt} is no slurmstepd: {parent}")
    parent.process.send(signal.SIGKILL)
    place.note("sigkill-slurmstepd", [victim])


def requeue(place: Field, victim: Worker) -> None:
    """`scontrol requeue` one element."""
    place.cluster.requeue(victim.slurm_id)
    place.note("requeue", [victim])


def preempt(place: Field, victim: Worker) -> None:
    """A job of a higher partition takes the whole node; Slurm requeues what runs there."""
    hit = _on_node(place, victim.node)
    job = place.cluster.preempt(victim.node, place.rng.randint(4, 10))
    place.note("preempt", hit, f"by job {job} on {victim.node}")


def preempt_grace(place: Field, victim: Worker) -> None:
    """The same in a partition with a grace time: advance notice first."""
    hit = _on_node(place, victim.node)
    job = place.cluster.preempt(victim.node, place.rng.randint(4, 10))
    place.note("preempt-grace", hit, f"by job {job} on {victim.node}")


def node_dies(place: Field, victim: Worker) -> None:
    """The node and all that runs on it die; it comes back when Slurm has noticed."""
    hit = _on_node(place, victim.node)
    # It takes seconds until the last process of the node is gone, and its workers are among the first.
    at = time.time()
    kill_node(place.cluster.lab, victim.node)
    place.note("node-dies", hit, victim.node, at)
    _wait_for_requeue(place, hit)
    _bring_back(place, victim.node)


def node_lost(place: Field, victim: Worker) -> None:
    """Only slurmd dies: the old attempts go on writing while their successors start elsewhere."""
    hit = _on_node(place, victim.node)
    kill_slurmd(place.cluster.lab, victim.node)
    injection = place.note("node-lost", hit, victim.node)
    both = place.wait_for(lambda: _overlap(place, hit), 90)
    injection.note += ", old and new attempt seen alive together" if both else ", no overlap seen"
    place.say(f"node-lost: {injection.note}")
    time.sleep(place.rng.uniform(2, 6))
    _bring_back(place, victim.node)


def time_limit(place: Field, victim: Worker) -> None:
    """Wait until the element, in a submission with a short time limit, comes back from its limit."""
    hit = [worker for worker in place.workers() if worker.element.split("_")[0] == victim.element.split("_")[0]]
    reached = place.wait_for(
        lambda: any(
            worker.restart > old.restart for worker in place.workers() for old in hit if worker.element == old.element
        ),
        180,
    )
    place.note("time-limit", hit, "" if reached else "no element came back from its limit")


def _well_into_a_round(place: Field, victim: Worker) -> str:
    one = round_at_work(place.run, victim.attempt)
    # Anywhere between two checkpoints, and not only behind the first step.
    time.sleep(place.rng.uniform(0, 5))
    return one


def sigkill_rank(place: Field, victim: Worker) -> None:
    """SIGKILL one rank of a training, of any node."""
    one = _well_into_a_round(place, victim)
    killed = kill_one_of(place.run, victim.attempt, RANK, place.rng.choice)
    place.write_down("sigkill-rank", [one], f"pid {killed.pid}")


def sigkill_agent(place: Field, victim: Worker) -> None:
    """SIGKILL the launcher of one node's ranks."""
    one = _well_into_a_round(place, victim)
    killed = kill_one_of(place.run, victim.attempt, AGENT, place.rng.choice)
    place.write_down("sigkill-agent", [one], f"pid {killed.pid}")


def corrupt_checkpoint(place: Field, victim: Worker) -> None:
    """SIGKILL one rank, and damage the newest checkpoint before the next round has read it."""
    one = _well_into_a_round(place, victim)
    damaged = {word for done in place.done if done.fault == "corrupt-checkpoint" for word in done.note.split()}
    before = processes_of(place.run, victim.attempt, RANK)
    killed = kill_one_of(place.run, victim.attempt, RANK, place.rng.choice)
    # The others live on for seconds, and rank 0 might publish one more meanwhile.
    place.wait_for(lambda: not any(process.is_alive() for process in before), 20)
    try:
        name = damage_newest_checkpoint(place.run, damaged)
    except LabError as error:
        place.write_down("sigkill-rank", [one], f"pid {killed.pid}; {error}")
        raise
    place.write_down("corrupt-checkpoint", [one], f"damaged {name} pid {killed.pid}")


ROUND_FAULTS = ("sigkill-rank", "sigkill-agent", "corrupt-checkpoint")
"""Faults that end a round of a training, and leave its attempt alive."""

FAULTS: dict[str, Callable[[Field, Worker], None]] = {
    "sigkill-worker": sigkill_worker,
    "sigkill-between-shards": sigkill_between_shards,
    "sigkill-slurmstepd": sigkill_slurmstepd,
    "requeue": requeue,
    "preempt": preempt,
    "preempt-grace": preempt_grace,
    "node-dies": node_dies,
    "node-lost": node_lost,
    "time-limit": time_limit,
    "sigkill-rank": sigkill_rank,
    "sigkill-agent": sigkill_agent,
    "corrupt-checkpoint": corrupt_checkpoint,
}


def inject(
    place: Field, fault: str, jobs: Callable[[], set[str]], revive: Callable[[], None], timeout_s: float = 60
) -> None:
    """Do one fault to a random worker of these arrays as soon as there is one."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if try_inject(place, fault, jobs):
            return
        revive()
        time.sleep(0.5)
    place.note(fault, [], "NOT DONE: no victim")


def try_inject(place: Field, fault: str, jobs: Callable[[], set[str]]) -> bool:
    """Do one fault to a random worker of these arrays that is alive and was not hit before; False when none is."""
    hit = {name for injection in place.done for name in injection.attempts}
    begun = at_work(place.run, place.begun)
    fresh = [worker for worker in place.workers() if worker.attempt not in hit and worker.attempt in begun]
    wanted = jobs()
    found = [worker for worker in fresh if worker.element.split("_")[0] in wanted]
    if not found:
        return False
    try:
        FAULTS[fault](place, place.rng.choice(found))
    except LabError as error:
        # The victim ended between the look and the blow, or Slurm refuses just now: another one then.
        place.say(f"{fault}: once more, {error}")
        return False
    return True


def _on_node(place: Field, node: str) -> list[Worker]:
    return [worker for worker in place.workers() if worker.node == node]


def _overlap(place: Field, hit: list[Worker]) -> bool:
    now = place.workers()
    alive = {worker.attempt for worker in now}
    return any(
        worker.element == old.element and worker.restart > old.restart and old.attempt in alive
        for worker in now
        for old in hit
    )


def _wait_for_requeue(place: Field, hit: list[Worker]) -> None:
    def requeued() -> bool:
        states = {row[0]: row[2] for row in place.cluster.queue(place.run)}
        return all(states.get(worker.slurm_id, "PENDING") != "RUNNING" for worker in hit) or any(
            worker.element == old.element and worker.restart > old.restart for worker in place.workers() for old in hit
        )

    place.wait_for(requeued, 90)


def _bring_back(place: Field, node: str) -> None:
    start_slurmd(place.cluster.lab, node)
    time.sleep(1)
    resume_nodes(place.cluster.lab)
