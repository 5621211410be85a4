"""Who worked on what, and how that went: the lives of a phase's elements and their visits to shards."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from synthclip_hpc.monitor.fingerprint import Fingerprint, fingerprint, own_frame
from synthclip_hpc.monitor.shapes import is_sound
from synthclip_hpc.monitor.story import Story

MESSAGE_LENGTH = 500
"""So much of an error's message is kept."""
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT}
"""Signals by which a program ends itself. SIGKILL is none of them: that is how any work may be ended."""
_WITH_SHARD = {"shard_start", "progress", "shard_done", "shard_failed", "shard_taken"}


@dataclass
class Visit:
    """One life's work on one shard."""

    shard: int
    began: float
    heard: float
    """Time of its last event."""
    outcome: str = "open"
    """open (interrupted, or still at it) | done | failed | taken (another attempt was faster)"""
    resumed: int = 0
    """Items that earlier attempts had left."""
    items: int = 0
    """Items that were safe when it was heard of last."""
    error: Mapping[str, Any] | None = None
    kind: Fingerprint | None = None
    """The error's."""


@dataclass
class Life:
    """One attempt: what its own journal says and, for a local worker, what its supervisor says."""

    story: Story
    element: int | None = None
    """Which share of the submission's shards it worked on."""
    signal: str | None = None
    """The signal that it heard of before its end."""
    ended: float | None = None
    """When it, or its supervisor, said that it has ended."""
    error: Mapping[str, Any] | None = None
    """The error that ended it as a whole, less one that a shard failed with already."""
    kind: Fingerprint | None = None
    """The error's."""
    slurm_state: str | None = None
    """What ended it by Slurm's accounting, if that is a failure that no journal explains (OUT_OF_MEMORY, ...)."""
    visits: dict[int, Visit] = field(default_factory=dict)

    @property
    def in_hand(self) -> list[int]:
        """The shards it had begun and not ended."""
        return [visit.shard for visit in self.visits.values() if visit.outcome == "open"]

    @property
    def crash(self) -> str | None:
        """How it failed without a word: by a signal such as SIGSEGV, as its supervisor saw it, or in Slurm's words."""
        if self.slurm_state is not None:
            return self.slurm_state
        code = self.story.exit_code
        if code is None or -code not in _CRASHES or self.story.end_reason is not None:
            return None
        return signal.Signals(-code).name

    def failed_at(self, shard: int) -> bool:
        """Tell whether the attempt at this shard, which was in this life's share, ended with an error of its own."""
        visit = self.visits.get(shard)
        if visit is not None and visit.outcome != "open":
            return visit.outcome == "failed"
        if self.error is None and self.crash is None and not self.story.gave_up:
            return False
        if self.story.end_reason == "node_unfit":
            return False  # the node's fault; nothing was tried
        return visit is not None or not self.in_hand


class PhaseLives:
    """The lives of one phase; takes the events of its journals in any order of journals, also piece by piece."""

    def __init__(self, phase: str, *, tracebacks: bool = False) -> None:
        """Keep whole tracebacks only if asked to: of 30,000 failed shards they are 200 MB."""
        self.phase = phase
        """`stage/phase`."""
        self._tracebacks = tracebacks
        self.lives: dict[str, Life] = {}

    def take(self, attempt: str, events: Iterable[Mapping[str, Any]]) -> None:
        """Read on in the journal of an attempt; what a newer version says in another shape is passed over."""
        life = self._life(attempt)
        for event in events:
            if not is_sound(event):
                continue
            try:
                if event["event"] in _WITH_SHARD:
                    _visit(life, event, self._tracebacks)
                elif event["event"] in ("worker_ended", "gave_up") and "element" in event:
                    self._hear_supervisor(life, event)
                else:
                    if event["event"] == "start":
                        life = self._begin(attempt, event)
                    _tell(life, event, self._tracebacks)
            except (KeyError, TypeError, ValueError):
                continue
            life.story.heard = max(life.story.heard, float(event.get("time", 0.0)))

    def _life(self, attempt: str) -> Life:
        return self.lives.setdefault(attempt, Life(Story(attempt)))

    def _begin(self, attempt: str, start: Mapping[str, Any]) -> Life:
        """Set an earlier life of the same name aside: a cluster that was rebuilt counts its jobs from the beginning."""
        life = self._life(attempt)
        if life.story.started and life.story.role == "work":
            life.story.superseded = True
            self.lives[f"{attempt} before {start['time']}"] = life
            life = self.lives[attempt] = Life(Story(attempt))
        return life

    def _hear_supervisor(self, supervisor: Life, event: Mapping[str, Any]) -> None:
        restart = event["restart"] if "restart" in event else event["count"] - 1
        worker = self._life(f"{supervisor.story.job}_{event['element']}_{restart}")
        worker.story.tell_from_supervisor(dict(event))
        worker.ended = float(event["time"]) if worker.ended is None else worker.ended
        if worker.element is None:
            worker.element, worker.story.submission = event["element"], supervisor.story.submission


def _tell(life: Life, event: Mapping[str, Any], tracebacks: bool) -> None:
    life.story.tell(dict(event))
    if event["event"] == "start":
        life.element = event.get("element")
    elif event["event"] in ("end", "gave_up"):
        life.ended, life.signal = float(event["time"]), event.get("signal")
        if event.get("type") and not _is_of_a_shard(life, event):
            life.error, life.kind = _kept(event, tracebacks)
        elif event.get("reason") == "incomplete" and not event.get("num_missing"):
            # All shards are there, and what they are together was refused.
            life.error, life.kind = _kept({**event, "type": "SealRefused"}, tracebacks)


def _visit(life: Life, event: Mapping[str, Any], tracebacks: bool) -> None:
    shard, at = int(event["shard"]), float(event["time"])
    visit = life.visits.setdefault(shard, Visit(shard, at, at))
    visit.heard = max(visit.heard, at)
    name = event["event"]
    if name == "shard_start":
        visit.began, visit.outcome = at, "open"
        visit.resumed = visit.items = int(event["resumed_items"])
    elif name == "progress":
        visit.items = int(event["items"])
    elif name == "shard_done":
        visit.outcome, visit.items = "done", int(event["done"]) + int(event["rejected"])
    elif name == "shard_taken":
        visit.outcome = "taken"
    else:
        visit.outcome = "failed"
        visit.error, visit.kind = _kept(event, tracebacks)


def _is_of_a_shard(life: Life, event: Mapping[str, Any]) -> bool:
    """Tell whether a shard has failed with the error that ended the attempt: a full disk is told twice."""
    told = [(visit.error.get("type"), visit.error.get("message")) for visit in life.visits.values() if visit.error]
    return (event.get("type"), str(event.get("message", ""))[:MESSAGE_LENGTH]) in told


def _kept(event: Mapping[str, Any], tracebacks: bool) -> tuple[dict[str, Any], Fingerprint]:
    """Return what is kept of an error, and what makes it the same as others: found once, groups are made often."""
    kept = {
        "time": event["time"],
        "type": str(event.get("type", "")),
        "frame": own_frame(event),
        "message": str(event.get("message", ""))[:MESSAGE_LENGTH],
    }
    kind = fingerprint(kept)
    return (kept | {"traceback": str(event.get("traceback", ""))} if tracebacks else kept), kind
