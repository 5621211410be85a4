"""The state of a run at one moment: what every view renders. Files first, `squeue` second, `sacct` last.

Schema 1 of `status --json` is `to_json` of a Snapshot; new keys may be added, none is renamed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synthclip_hpc.monitor.failures import FailureGroup
from synthclip_hpc.monitor.parts import (
    Alarm,
    AttemptStatus,
    EvaluationStatus,
    HeatCell,
    Hours,
    Span,
    Straggler,
    TrainingStatus,
    Wait,
)

SCHEMA = 1


@dataclass(frozen=True)
class PhaseStatus:
    """One phase of a stage. Keys up to `heard_age_s` are the first version's; the others have defaults."""

    name: str
    state: str
    """waiting | pending | running | done | partial | failed | blocked"""
    shards_total: int
    shards_done: int
    items_total: int
    items_done: int
    items_rejected: int
    items_per_s: float | None
    """Mean over the last 5 minutes while running; when done, over the time in which attempts were at work."""
    eta_s: float | None
    """At the rate of the last 5 minutes; `eta_now` is the honest form."""
    attempts: int
    """Lives of elements so far; the seal job is not counted."""
    running: int
    """Attempts alive now."""
    preemptions: int
    timeouts: int
    node_failures: int
    failures: int
    """Attempts that ended with an error of our own."""
    requeues: int
    """Attempts ended by `scontrol requeue`."""
    cancellations: int
    unknown: int
    """Attempts that ended without anyone saying why (killed)."""
    message: str
    """Why it waits or what went wrong last, in a line."""
    heard_age_s: float | None
    """Seconds since the last event of any attempt, never negative."""
    kind: str = ""
    """map (many shards) | reduce (one shard) | gang (one job on many nodes)"""
    unfit_nodes: int = 0
    """Attempts that found their node unfit and did nothing there."""
    shards_running: int = 0
    shards_failed: int = 0
    heat: tuple[HeatCell, ...] = ()
    """All shards in order, in at most 120 cells of equally many."""
    items_per_s_overall: float | None = None
    """Items that attempts made, by the time from the first start to the last word: waits and restarts included."""
    items_per_s_attempt: float | None = None
    """What one attempt makes in a second of its life, over all attempts, start-up included."""
    eta_now: Span | None = None
    """Seconds to the end with as many attempts as run now."""
    eta_full: Span | None = None
    """Seconds to the end with `concurrency_full` attempts."""
    concurrency_full: int = 0
    """Attempts at once if nothing had to wait: elements of the living submissions, as far as their throttle lets."""
    shard_median_s: float | None = None
    """Median time of the last (1,000 at most) shards; None while none is done."""
    hours: Hours | None = None
    waits: tuple[Wait, ...] = ()
    """Why jobs wait, the most numerous reason first."""
    lives: tuple[AttemptStatus, ...] = ()
    """The attempts, the latest start first. Only of phases: a stage's are those of its phases."""
    stragglers: tuple[Straggler, ...] = ()
    """The worst first, 50 at most. Only of phases."""
    events_unread: int = 0
    """Torn lines in the journals, and events that this version does not know."""


@dataclass(frozen=True)
class StageStatus(PhaseStatus):
    """One stage: its phases summed.

    Items, rate, ETA and heat are those of the last phase of several items that began; hours, waits and counts of
    shards and attempts are sums.
    """

    phases: tuple[PhaseStatus, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where numbers come from: how old the answer is, and what went wrong with it."""

    age_s: float | None
    """Seconds; None where it was not asked."""
    error: str | None


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment."""

    run: str
    time: float
    stages: tuple[StageStatus, ...]
    alive: bool
    """Whether anything of the run is at work or waits in a queue."""
    sources: dict[str, Source]
    """`files`, `squeue`, and `sacct` once it was asked."""
    alarms: tuple[Alarm, ...] = ()
    """What needs the user, the worst first."""
    training: TrainingStatus | None = None
    """None before the first word of a training."""
    evaluation: EvaluationStatus | None = None
    """None before the first cell is laid out."""
    failures: tuple[FailureGroup, ...] = ()
    """Failures with something in common, by first occurrence."""

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **dataclasses.asdict(self), "source_of": dict(SOURCE_OF)}

    def source_of(self, key: str) -> tuple[str, Source]:
        """Return the name of the source that a number of a phase comes from, and the source.

        Where two are asked, the first one in SOURCE_OF that has answered. KeyError for an unknown key.
        """
        names = SOURCE_OF[key].split(", ")
        name = next((one for one in names if one in self.sources), "files")
        return name, self.sources[name]


_QUEUE = ("running", "state", "waits", "concurrency_full", "eta_full")
_ACCOUNTING = ("preemptions", "timeouts", "node_failures", "requeues", "cancellations", "unknown")
SOURCE_OF: Mapping[str, str] = {
    **{field.name: "files" for field in dataclasses.fields(StageStatus)},
    **dict.fromkeys(_QUEUE, "squeue, files"),
    **dict.fromkeys(_ACCOUNTING, "sacct, files"),
}
"""Which source each key of a phase comes from; ages of the sources are in `Snapshot.sources`."""
