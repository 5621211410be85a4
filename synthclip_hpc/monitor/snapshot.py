"""The state of a run at one moment: what every view renders. Files first, `squeue` second, `sacct` last.

Schema 1 of `status --json` is `to_json` of a Snapshot; new keys may be added, none is renamed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class PhaseStatus:
    """One phase of a stage."""

    name: str
    state: str
    """waiting | pending | running | done | partial | failed | blocked"""
    shards_total: int
    shards_done: int
    items_total: int
    items_done: int
    items_rejected: int
    items_per_s: float | None
    """Mean over the last 5 minutes while running, over the whole phase when done."""
    eta_s: float | None
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
    """Seconds since the last event of any attempt."""


@dataclass(frozen=True)
class StageStatus(PhaseStatus):
    """One stage: its phases summed; items, rate and ETA are those of the last phase of several items that began."""

    phases: tuple[PhaseStatus, ...]


@dataclass(frozen=True)
class Source:
    """Where numbers come from: how old the answer is, and what went wrong with it."""

    age_s: float | None
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

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **dataclasses.asdict(self)}


def unreadable(name: str, message: str) -> PhaseStatus:
    """Return the status of a phase whose plan cannot be read: nothing can be counted without it."""
    known: dict[str, Any] = {"name": name, "state": "failed", "message": message}
    none = {"items_per_s": None, "eta_s": None, "heard_age_s": None}
    zero = {field.name: 0 for field in dataclasses.fields(PhaseStatus)}
    return PhaseStatus(**(zero | none | known))


def _message(phases: list[PhaseStatus], state: str) -> str:
    """Return the words of the first phase that gives the stage its state, else the latest that any has."""
    told = [phase for phase in phases if phase.message]
    return next((phase.message for phase in told if phase.state == state), told[-1].message if told else "")


def sum_stage(name: str, phases: list[PhaseStatus]) -> StageStatus:
    """Return a stage's status from those of its phases."""
    order = ("failed", "blocked", "running", "pending", "partial", "waiting")
    state = next((one for one in order if any(phase.state == one for phase in phases)), "done")
    sized = [phase for phase in phases if phase.items_total] or phases
    begun = [phase for phase in sized if phase.attempts] or sized[:1]
    # One item is a step in between or a report: what came before it says more.
    now = ([phase for phase in begun if phase.items_total > 1] or begun)[-1]

    def total(key: str) -> int:
        return sum(getattr(phase, key) for phase in phases)

    return StageStatus(
        name=name,
        state=state,
        shards_total=total("shards_total"),
        shards_done=total("shards_done"),
        items_total=now.items_total,
        items_done=now.items_done,
        items_rejected=now.items_rejected,
        items_per_s=now.items_per_s,
        eta_s=now.eta_s,
        attempts=total("attempts"),
        running=total("running"),
        preemptions=total("preemptions"),
        timeouts=total("timeouts"),
        node_failures=total("node_failures"),
        failures=total("failures"),
        requeues=total("requeues"),
        cancellations=total("cancellations"),
        unknown=total("unknown"),
        message=_message(phases, state),
        heard_age_s=min((phase.heard_age_s for phase in phases if phase.heard_age_s is not None), default=None),
        phases=tuple(phases),
    )
