"""A stage's status from those of its phases."""

from __future__ import annotations

import dataclasses
from typing import Any

from synthclip_hpc.monitor.parts import Hours, Span, Wait
from synthclip_hpc.monitor.snapshot import PhaseStatus, StageStatus

_ADDED = [
    "shards_total",
    "shards_done",
    "attempts",
    "running",
    "preemptions",
    "timeouts",
    "node_failures",
    "unfit_nodes",
    "failures",
    "requeues",
    "cancellations",
    "unknown",
    "shards_running",
    "shards_failed",
    "events_unread",
]
_OF_PRESENT = [
    "kind",
    "items_total",
    "items_done",
    "items_rejected",
    "items_per_s",
    "eta_s",
    "heat",
    "items_per_s_overall",
    "items_per_s_attempt",
    "eta_now",
    "eta_full",
    "concurrency_full",
    "shard_median_s",
]


def unreadable(name: str, message: str) -> PhaseStatus:
    """Return the status of a phase whose plan cannot be read: nothing can be counted without it."""
    known: dict[str, Any] = {"name": name, "state": "failed", "message": message}
    none = {"items_per_s": None, "eta_s": None, "heard_age_s": None}
    zero = {one.name: 0 for one in dataclasses.fields(PhaseStatus) if one.default is dataclasses.MISSING}
    return PhaseStatus(**(zero | none | known))


def sum_stage(name: str, phases: list[PhaseStatus]) -> StageStatus:
    """Return a stage's status from those of its phases."""
    order = ("failed", "blocked", "running", "pending", "partial", "waiting")
    state = next((one for one in order if any(phase.state == one for phase in phases)), "done")
    sized = [phase for phase in phases if phase.items_total] or phases
    begun = [phase for phase in sized if phase.attempts] or sized[:1]
    # One item is a step in between or a report: what came before it says more.
    present = ([phase for phase in begun if phase.items_total > 1] or begun)[-1]
    return StageStatus(
        name=name,
        state=state,
        message=_message(phases, state),
        heard_age_s=min((phase.heard_age_s for phase in phases if phase.heard_age_s is not None), default=None),
        hours=_hours([phase.hours for phase in phases if phase.hours is not None]),
        waits=_waits([wait for phase in phases for wait in phase.waits]),
        phases=tuple(phases),
        **{key: sum(getattr(phase, key) for phase in phases) for key in _ADDED},
        **{key: getattr(present, key) for key in _OF_PRESENT},
    )


def _message(phases: list[PhaseStatus], state: str) -> str:
    """Return the words of the first phase that gives the stage its state, else the latest that any has."""
    told = [phase for phase in phases if phase.message]
    return next((phase.message for phase in told if phase.state == state), told[-1].message if told else "")


def _hours(parts: list[Hours]) -> Hours | None:
    """Add up the hours of the device that matters: of GPUs where any phase uses them."""
    device = "GPU" if any(part.device == "GPU" for part in parts) else "CPU"
    mine = [part for part in parts if part.device == device]
    if not mine:
        return None
    expected = [part.expected for part in mine if part.expected is not None]
    whole = Span(sum(one.low for one in expected), sum(one.high for one in expected))
    # One phase whose size nobody knows leaves the sum open.
    told = whole if len(expected) == len(mine) else None
    open_ones = [part for part in mine if part.expected is None or part.expected.high > part.used]
    sources = dict.fromkeys(part.source for part in open_ones or mine if part.source)
    return Hours(device, sum(part.used for part in mine), told, "; ".join(sources))


def _waits(waits: list[Wait]) -> tuple[Wait, ...]:
    merged: dict[tuple[str, str], Wait] = {}
    for wait in waits:
        known = merged.get((wait.reason, wait.text))
        if known is not None:
            starts = [at for at in (known.starts, wait.starts) if at is not None]
            wait = dataclasses.replace(wait, jobs=known.jobs + wait.jobs, starts=min(starts, default=None))
        merged[wait.reason, wait.text] = wait  # the text of what is held names its jobs
    return tuple(sorted(merged.values(), key=lambda wait: -wait.jobs))
