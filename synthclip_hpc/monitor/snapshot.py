"""The state of a run at one moment: what every view renders. Files first, `squeue` second, `sacct` last.

Schema 1 of `status --json` is `to_json` of a Snapshot; new keys may be added, none is renamed.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sharding.plan import Plan, load_plan
from sharding.seal import load_seal
from slurm.accounting import AccountingSnapshot, read_accounting
from slurm.queue import QueuePoller, QueueRow, QueueSnapshot
from synthclip_hpc.launch.liveness import is_living, open_submissions, queue_names
from synthclip_hpc.monitor.causes import explain
from synthclip_hpc.monitor.journals import PhaseJournals, Story
from synthclip_hpc.pipeline import BUILT, phases_of
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, all_submissions

SCHEMA = 1
ACCOUNTING_EVERY_S = 30.0
CLOCK_SKEW_S = 5.0
"""Nodes' clocks may differ by so much from the one that reads the queue."""
UNHEARD_S = 120.0
"""While squeue fails, an attempt heard of in this time counts as running."""


@dataclass(frozen=True)
class PhaseStatus:
    """One phase of a stage; the fields mean what those of StageStatus mean."""

    name: str
    state: str
    shards_total: int
    shards_done: int
    items_total: int
    items_done: int
    items_rejected: int
    items_per_s: float | None
    eta_s: float | None
    attempts: int
    running: int
    preemptions: int
    timeouts: int
    node_failures: int
    failures: int
    requeues: int
    cancellations: int
    unknown: int
    message: str
    heard_age_s: float | None


@dataclass(frozen=True)
class StageStatus:
    """One stage: its phases summed; items, rate and ETA are those of the phase at work (the last one that began)."""

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
    sources: dict[str, Source]

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    @property
    def alive(self) -> bool:
        """Whether anything runs or waits in a queue."""
        return any(stage.state in ("running", "pending", "waiting") for stage in self.stages)


class Watcher:
    """Takes snapshots of one run; the second and later ones read only what is new."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._journals: dict[str, PhaseJournals] = {}
        self._poller: QueuePoller | None = None
        self._accounting: AccountingSnapshot | None = None

    def look(self) -> Snapshot:
        """Take one snapshot: a listing a phase, one `squeue` if a job may be alive, `sacct` for vanished attempts."""
        now = time.time()
        submissions = all_submissions(self.run)
        plans: dict[str, Plan] = {}
        sealed: set[str] = set()
        for stage in BUILT:
            for phase in phases_of(stage):
                directory = self.run.phase(stage, phase.name)
                plan = load_plan(directory)
                if plan is not None:
                    plans[phase.key] = plan
                    if load_seal(directory) is not None:
                        sealed.add(phase.key)
        candidates = [one for one in open_submissions(submissions) if f"{one.stage}/{one.phase}" not in sealed]
        queue = self._ask_queue(queue_names(candidates))
        alive = [one for one in candidates if _alive(one, submissions, queue)]
        stages = []
        for stage in BUILT:
            phases = [
                self._phase(phase.key, plans[phase.key], phase.key in sealed, submissions, alive, queue, now)
                for phase in phases_of(stage)
                if phase.key in plans
            ]
            if phases:
                stages.append(_stage(stage, phases))
        sources = {
            "files": Source(time.time() - now, None),
            "squeue": Source(max(0.0, now - queue.taken_at) if queue.taken_at else None, queue.error),
        }
        if self._accounting is not None:
            sources["sacct"] = Source(max(0.0, now - self._accounting.taken_at), self._accounting.error)
        return Snapshot(str(self.run.path), now, tuple(stages), sources)

    def _ask_queue(self, names: list[str]) -> QueueSnapshot:
        if not names:
            return QueueSnapshot((), 0.0, None)
        if self._poller is None or self._poller.names != tuple(names):
            self._poller = QueuePoller(names)
        return self._poller.poll()

    def _ask_accounting(self, jobs: Sequence[str]) -> AccountingSnapshot:
        # How an attempt ended does not change any more: asked again only after a while, for new ones.
        if self._accounting is None or time.time() - self._accounting.taken_at >= ACCOUNTING_EVERY_S:
            self._accounting = read_accounting(jobs)
        return self._accounting

    def _phase(
        self,
        key: str,
        plan: Plan,
        is_sealed: bool,
        submissions: list[Submission],
        alive: list[Submission],
        queue: QueueSnapshot,
        now: float,
    ) -> PhaseStatus:
        stage, name = key.split("/")
        directory = self.run.phase(stage, name)
        journals = self._journals.setdefault(key, PhaseJournals(directory))
        marked = {shard for shard in directory.marked_shards() if shard < plan.num_shards}
        journals.refresh(marked, now)
        mine = [one for one in submissions if (one.stage, one.phase) == (stage, name)]
        my_alive = [one for one in alive if one in mine]
        rows = [row for row in queue.rows if any(row.name in one.job_names for one in mine)]
        running = _running(journals.stories.values(), my_alive, queue, now)
        causes, _ = explain(journals.stories.values(), running, self._ask_accounting)
        work = [story for story in journals.stories.values() if story.role == "work"]
        done, rejected = journals.items(marked)
        state, message = _state(is_sealed, my_alive, rows, running, journals, causes)
        began = min((story.started for story in work), default=now)
        heard = max((story.heard for story in journals.stories.values()), default=None)
        rate = journals.rate(now, began) if state == "running" else None
        if state == "done" and heard is not None and heard > began:
            rate = plan.num_items / (heard - began)
        left = plan.num_items - done - rejected
        return PhaseStatus(
            name=name,
            state=state,
            shards_total=plan.num_shards,
            shards_done=len(marked),
            items_total=plan.num_items,
            items_done=done,
            items_rejected=rejected,
            items_per_s=rate,
            eta_s=left / rate if state == "running" and rate else None,
            attempts=len(work),
            running=len(running),
            preemptions=causes.get("preemption", 0),
            timeouts=causes.get("timeout", 0),
            node_failures=causes.get("node_failure", 0),
            failures=causes.get("failure", 0),
            requeues=causes.get("requeue", 0),
            cancellations=causes.get("cancelled", 0),
            unknown=causes.get("unknown", 0),
            message=message,
            heard_age_s=now - heard if heard is not None else None,
        )


def _alive(one: Submission, submissions: list[Submission], queue: QueueSnapshot) -> bool:
    if one.cluster == "slurm" and queue.error:
        return True  # not known; the view shows the error, and calling it dead would be the worse guess
    try:
        return is_living(one, submissions, queue)
    except ValueError:
        return True  # another host's supervisor: cannot be asked from here, and its journals still tell


def _running(stories: Iterable[Story], alive: list[Submission], queue: QueueSnapshot, now: float) -> set[str]:
    """Name the attempts that are alive: the last life of each element that queue or supervisor keep running.

    An attempt heard of after the queue was read cannot be judged by it; one heard of lately counts while squeue fails.
    """
    in_queue = {row.job_id for row in queue.rows if row.state in ("RUNNING", "COMPLETING")}
    believed_after = now - UNHEARD_S if queue.error else queue.taken_at - CLOCK_SKEW_S
    local = {one.name for one in alive if one.cluster == "local"}
    last: dict[tuple[str, Any], Story] = {}
    for story in stories:
        queued = story.element_id in in_queue or story.job in in_queue
        unjudged = queue.taken_at > 0 and story.job.isdigit() and story.heard > believed_after
        if story.role == "work" and (queued or unjudged or story.submission in local):
            kept = last.get((story.job, story.index))
            if kept is None or story.restart > kept.restart:
                last[story.job, story.index] = story
    return {story.name for story in last.values() if story.end_reason is None}


def _state(
    is_sealed: bool,
    alive: list[Submission],
    rows: list[QueueRow],
    running: set[str],
    journals: PhaseJournals,
    causes: Any,
) -> tuple[str, str]:
    """Return the state and a line that says why."""
    if is_sealed:
        return "done", ""
    stories = sorted(journals.stories.values(), key=lambda story: story.heard)
    last_message = next((story.message for story in reversed(stories) if story.message), "")
    if running or any(row.state in ("RUNNING", "COMPLETING", "CONFIGURING") for row in rows):
        return "running", last_message
    pending = Counter(row.reason for row in rows if row.state not in ("RUNNING", "COMPLETING"))
    never = [reason for reason in pending if "NeverSatisfied" in reason or "held" in reason.lower()]
    if never:
        return "blocked", f"Slurm says {never[0]}: cancel, then resume"
    if pending:
        reason = pending.most_common(1)[0][0]
        return (
            ("waiting", "waits for the stage before it")
            if set(pending) == {"Dependency"}
            else ("pending", f"Slurm says {reason}")
        )
    if alive:
        started = any(story.submission == one.name for one in alive for story in stories)
        return ("running", last_message) if started else ("waiting", "waits for its turn")
    if causes.get("failure"):
        return "failed", last_message
    return ("partial", last_message) if stories else ("waiting", "planned, not submitted")


def _stage(name: str, phases: list[PhaseStatus]) -> StageStatus:
    order = ("failed", "blocked", "running", "pending", "partial", "waiting")
    state = next((one for one in order if any(phase.state == one for phase in phases)), "done")
    begun = [phase for phase in phases if phase.attempts] or phases[:1]
    now = begun[-1]

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
        message=next((phase.message for phase in reversed(phases) if phase.message), ""),
        heard_age_s=min((phase.heard_age_s for phase in phases if phase.heard_age_s is not None), default=None),
        phases=tuple(phases),
    )
