"""What a run has cost, counted from the journals of its attempts: hours, interruptions, and work that was done again.

An attempt lasts from its `start` to the last thing heard of it, so a killed one is counted up to its last word: up to a
minute too little. Hours are those of the cores and GPUs that an attempt held, busy or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sharding.directory import PhaseDirectory
from sharding.journal import read_events
from sharding.plan import load_plan
from synthclip_hpc.config import RunConfig
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, all_submissions

if TYPE_CHECKING:
    from synthclip_hpc.stages.phase import Phase

_HOUR_S = 3600.0


@dataclass
class Life:
    """One attempt at a phase's work."""

    submission: str | None = None
    node: str = ""
    began: float = 0.0
    heard: float = 0.0
    ready: float = 0.0
    """When what all shards share was loaded; 0 if it did not get so far."""
    new_items: int = 0
    """Items that it said it made."""
    gpu_samples: int = 0
    gpu_percents: float = 0.0
    """Sum of mean utilisations, each weighted by its samples."""

    @property
    def seconds(self) -> float:
        return max(0.0, self.heard - self.began) if self.began else 0.0

    @property
    def startup_s(self) -> float:
        """Seconds until the first item could be made: all of them where none could."""
        return max(0.0, self.ready - self.began) if self.ready and self.began else self.seconds


@dataclass
class StageBill:
    """What one stage has cost."""

    stage: str
    attempts: int = 0
    wall_s: float = 0.0
    """From the first start to the last word, waiting in queues and pauses included; summed over phases."""
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    gpu_utilisation: float | None = None
    """Mean in percent, where it was measured."""
    redone_share: float = 0.0
    """Part of the hours in which items were made that had been made before, 0 to 1."""
    startup_share: float = 0.0
    """Part of the hours before attempts could begin to make items, 0 to 1."""
    nodes: set[str] = field(default_factory=set)


def bill_of(run: Run, stages: tuple[str, ...]) -> list[StageBill]:
    """Return the bill of the stages that have started, in order."""
    submissions = {one.name: one for one in all_submissions(run)}
    config = run.load_config()
    found = []
    for stage in stages:
        bill, hours_again, hours_starting, samples, percents = StageBill(stage), 0.0, 0.0, 0, 0.0
        for phase in phases_of(stage):
            lives = list(lives_of(run.phase(stage, phase.name)))
            if not lives:
                continue
            begun = [life.began for life in lives if life.began]
            bill.attempts += len(lives)
            bill.wall_s += max(life.heard for life in lives) - min(begun) if begun else 0.0
            bill.nodes |= {life.node for life in lives if life.node}
            again = _share_done_again(run, phase, lives)
            for life in lives:
                cores, gpus = _held(phase, config, submissions.get(life.submission or ""))
                bill.cpu_hours += cores * life.seconds / _HOUR_S
                bill.gpu_hours += gpus * life.seconds / _HOUR_S
                hours_again += again * cores * life.seconds / _HOUR_S
                hours_starting += cores * life.startup_s / _HOUR_S
                samples += life.gpu_samples
                percents += life.gpu_percents
        if bill.attempts:
            bill.redone_share = hours_again / bill.cpu_hours if bill.cpu_hours else 0.0
            bill.startup_share = hours_starting / bill.cpu_hours if bill.cpu_hours else 0.0
            bill.gpu_utilisation = percents / samples if samples else None
            found.append(bill)
    return found


def lives_of(directory: PhaseDirectory) -> Iterator[Life]:
    """Yield the attempts at the work of a phase, as their journals tell them; seal jobs and supervisors are none."""
    for attempt in directory.attempts():
        life = Life()
        is_work = True
        for event in read_events(directory.journal_path(attempt))[0]:
            is_work = is_work and event.get("role", "work") == "work"
            _tell(life, event)
        if is_work:
            yield life


def _tell(life: Life, event: Mapping[str, Any]) -> None:
    at = event.get("time")
    if not isinstance(at, int | float):
        return  # a torn line
    if event["event"] == "start":
        life.began = life.began or float(at)
        life.submission, life.node = event.get("submission"), str(event.get("node", ""))
    elif event["event"] == "ready":
        life.ready = float(at)
    elif event["event"] == "gpu":
        life.gpu_samples += int(event["samples"])
        life.gpu_percents += float(event["utilisation_percent"]) * int(event["samples"])
    life.heard = max(life.heard, float(at))
    new = event.get("new")
    life.new_items += new if isinstance(new, int) else 0


def _held(phase: Phase, config: RunConfig, submission: Submission | None) -> tuple[int, int]:
    """Return the cores and GPUs that an attempt held: what Slurm was asked for, else what the phase takes."""
    if submission is None:
        return phase.threads(config) * phase.lanes(config), 0
    own = submission.config
    asked = submission.record.get("asked", {})  # of Slurm; those of a gang's other nodes write no journal
    cores, gpus = asked.get("cpus", phase.threads(own) * phase.lanes(own)), asked.get("num_gpus", phase.gpus(own))
    return asked.get("nodes", 1) * cores, asked.get("nodes", 1) * gpus


def _share_done_again(run: Run, phase: Phase, lives: list[Life]) -> float:
    """Return the part of the work that repeated earlier work: of steps for training, else of items."""
    if phase.key == "train/fit":
        made, needed = _steps(run)
    else:
        plan = load_plan(run.phase(phase.stage, phase.name))
        made = sum(life.new_items for life in lives)
        needed = 0 if plan is None else plan.num_items
    return (made - needed) / made if needed and made > needed else 0.0


def _steps(run: Run) -> tuple[int, int]:
    """Return how many steps were done, and how many different ones."""
    from synthclip_hpc.training import places
    from synthclip_hpc.training.metrics import STEP_FIELDS, read_metrics

    done = [
        row["step"]
        for path in places.metrics_folder(run).glob("*.jsonl")
        for row in read_metrics(path)
        if row.keys() == set(STEP_FIELDS)
    ]
    return len(done), len(set(done))
