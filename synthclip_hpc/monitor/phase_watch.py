"""Looks at one phase again and again; each look reads only what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sharding.plan import Plan, PlanError, load_plan
from sharding.seal import SealError, load_seal
from slurm.accounting import AccountingSnapshot, is_switched_off
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.liveness import has_jobs
from synthclip_hpc.monitor.attempts import AttemptList
from synthclip_hpc.monitor.book import OpenShards, ShardBook, open_shards
from synthclip_hpc.monitor.causes import ASK_FOR_S, Causes
from synthclip_hpc.monitor.clusters import Queues
from synthclip_hpc.monitor.devices import Devices
from synthclip_hpc.monitor.journals import PhaseJournals
from synthclip_hpc.monitor.rates import effort, hours, pace, present_since, time_left, worked_s
from synthclip_hpc.monitor.snapshot import PhaseStatus
from synthclip_hpc.monitor.stamps import Stamp, stamp
from synthclip_hpc.monitor.states import phase_state, running_attempts
from synthclip_hpc.monitor.stragglers import by_attempt, shard_median_s, stragglers
from synthclip_hpc.monitor.sums import unreadable
from synthclip_hpc.monitor.waits import waits_of
from synthclip_hpc.run import Run
from synthclip_hpc.stages.phase import Estimate, Phase
from synthclip_hpc.submissions import Submission

DAMAGED = "{} damaged: run verify, then repair"
NEWER = "{} made by a newer version: use that one"
_COUNTED = {
    "preemptions": "preemption",
    "timeouts": "timeout",
    "node_failures": "node_failure",
    "unfit_nodes": "node_unfit",
    "failures": "failure",
    "requeues": "requeue",
    "cancellations": "cancelled",
    "unknown": "unknown",
}
_QUIET_S = 10.0
"""A sealed phase that was not heard of for so long is not looked at again: all have had their last word."""


@dataclass(frozen=True)
class Around:
    """What a look at a phase needs to know of the rest of the run."""

    submissions: Sequence[Submission]
    """All of the run."""
    alive: Sequence[Submission]
    queues: Queues
    config: RunConfig
    ask_accounting: Callable[[Sequence[str]], AccountingSnapshot]
    now: float
    """By the clock of whoever looks, seconds since 1970."""
    sealed: Collection[str] = ()
    """The phases that are complete, by `stage/phase`."""


class PhaseWatch:
    """One phase of a run."""

    def __init__(
        self, run: Run, phase: Phase, listen: Callable[[str, str, Sequence[dict[str, Any]]], None] | None = None
    ) -> None:
        """`listen`: gets what is new in each journal: the phase's key, the attempt, the events."""
        self.phase = phase
        self.directory = run.phase(phase.stage, phase.name)
        self.journals = PhaseJournals(self.directory, listen=None if listen is None else partial(listen, phase.key))
        self.plan: Plan | None = None
        self.is_sealed = False
        self.marked: set[int] = set()
        self.open = OpenShards({}, {})
        self.running: set[str] = set()
        """Names of the attempts that are alive."""
        self.settled: PhaseStatus | None = None
        """The last word on a phase that is done."""
        self._untold_since: float | None = None
        """Since when nothing but accounting's word is missing of a sealed phase."""
        self._damaged = ""
        self._causes, self._attempts, self._devices = Causes(), AttemptList(), Devices(phase)
        self._book = ShardBook(0)
        self._estimate: tuple[RunConfig, Estimate | None] | None = None
        self._stamps: tuple[Stamp | None, Stamp | None] = (None, None)

    @property
    def key(self) -> str:
        return self.phase.key

    @property
    def is_known(self) -> bool:
        """Whether there is a plan, readable or not."""
        return self.plan is not None or bool(self._damaged)

    def look_at_plan(self) -> None:
        """Read plan and seal, if they have changed."""
        stamps = stamp(self.directory.plan_path), stamp(self.directory.seal_path)
        if stamps == self._stamps and not self._damaged:
            return
        self._stamps, self._damaged, self.settled, self._untold_since = stamps, "", None, None
        try:
            self.plan, self.is_sealed = load_plan(self.directory), False
            self.is_sealed = self.plan is not None and load_seal(self.directory) is not None
        except PlanError as error:
            self.plan, self._damaged = None, _wrong("plan", error)
        except SealError as error:
            self._damaged = _wrong("seal", error)
        if self.plan is not None and self.plan.num_shards != self._book.num_shards:
            self._book = ShardBook(self.plan.num_shards)

    def status(self, around: Around) -> PhaseStatus:
        """Return the phase's status; `look_at_plan` comes before."""
        if self.plan is None:
            return unreadable(self.phase.name, self._damaged)
        if self.settled is None or self._has_new_submission(around):
            found = self._look(self.plan, around)
            if self._damaged:
                return replace(found, state="failed", message=self._damaged, items_per_s=None, eta_s=None)
            is_quiet = found.heard_age_s is None or found.heard_age_s > _QUIET_S
            if not (self.is_sealed and is_quiet and self._is_told(around.now)):
                return found
            # Its ages are not kept: they would stand still.
            self.settled = replace(found, heard_age_s=None)
            return found
        heard = max((story.heard for story in self.journals.stories.values()), default=None)
        return replace(self.settled, heard_age_s=None if heard is None else max(0.0, around.now - heard))

    def _is_told(self, now: float) -> bool:
        """Tell whether accounting has no more to say: it has answered, is switched off, or had an hour's time."""
        answer = self._causes.answer
        if answer is None or answer.error is None or is_switched_off(answer.error):
            return True
        if self._untold_since is None:
            self._untold_since = now
        return now - self._untold_since > ASK_FOR_S

    def _has_new_submission(self, around: Around) -> bool:
        return any(one.name not in self._devices.gpus for one in self._mine(around.submissions))

    def _mine(self, submissions: Sequence[Submission]) -> list[Submission]:
        return [one for one in submissions if (one.stage, one.phase) == (self.phase.stage, self.phase.name)]

    def _look(self, plan: Plan, around: Around) -> PhaseStatus:
        journals, now = self.journals, around.now
        self.marked = {shard for shard in self.directory.marked_shards() if shard < plan.num_shards}
        journals.refresh(self.marked, now)
        self._book.update(self.marked, journals.finished, journals.changed)
        mine, alive = self._mine(around.submissions), self._mine(around.alive)
        self._devices.know(mine)
        queue = around.queues.of(name for one in mine for name in one.job_names)
        rows = list(queue.rows)
        stories = journals.stories.values()
        self.running = running_attempts(stories, alive, queue, now)
        causes = self._causes.explain(stories, self.running, around.ask_accounting, now)
        counts = Counter(causes.values())
        ended: dict[str, Any] = {key: counts[cause] for key, cause in _COUNTED.items()}
        self.open = open_shards(journals, self.marked, self.running, plan.num_shards)
        state, message = phase_state(
            self.is_sealed,
            alive,
            rows,
            self.running,
            journals,
            counts,
            was_submitted=any(map(has_jobs, mine)),
            num_open=plan.num_shards - len(self.marked),
            lacks=self._lacks(around),
        )
        done, rejected = self._book.done + journals.items_in_progress(self.marked), self._book.rejected
        median_s = shard_median_s(journals)
        full = self._devices.at_once(alive, rows, len(self.running), plan.num_shards - len(self.marked))
        return PhaseStatus(
            name=self.phase.name,
            state=state,
            shards_total=plan.num_shards,
            shards_done=len(self.marked),
            items_total=plan.num_items,
            items_done=done,
            items_rejected=rejected,
            attempts=sum(story.role == "work" for story in stories),
            running=len(self.running),
            **ended,
            message=message,
            heard_age_s=min((story.silent_s(now) for story in stories), default=None),
            kind=plan.kind,
            shards_running=len(self.open.running),
            shards_failed=len(self.open.failed),
            heat=self._book.cells(self.open),
            concurrency_full=full,
            shard_median_s=median_s,
            waits=waits_of(rows),
            lives=self._attempts.update(stories, self.running, causes, by_attempt(self.open.running), now),
            stragglers=stragglers(journals, self.open, median_s, now),
            events_unread=journals.unread,
            **self._speed(plan, state, plan.num_items - done - rejected, full, around, alive),
        )

    def _lacks(self, around: Around) -> str:
        """Return the first of what it builds on that is not complete: a stage, or a phase of its own stage."""
        for stage, name in self.phase.upstream(around.config):
            if f"{stage}/{name}" not in around.sealed:
                return stage if stage != self.phase.stage else f"{stage}/{name}"
        return ""

    def _given(self, plan: Plan, alive: Sequence[Submission], left: int) -> int:
        """Return how many of the items that are left are for these submissions: `resume only=` leaves others alone."""
        given = {shard for shard in self._devices.shards(alive) if shard < plan.num_shards} - self.marked
        if len(given) == plan.num_shards - len(self.marked):
            return left
        extents = map(plan.shard, given)
        begun = self.journals.items_in_progress(self.journals.in_progress.keys() - given)
        return sum(extent.stop - extent.start for extent in extents) - begun

    def _speed(
        self, plan: Plan, state: str, left: int, full: int, around: Around, alive: Sequence[Submission]
    ) -> dict[str, Any]:
        """Return the keys about rates, time and cost, when so many items are left."""
        given = self._given(plan, alive, left) if alive else left
        stories, now, devices = self.journals.stories.values(), around.now, self._devices
        began = min((story.started for story in stories if story.role == "work" and story.started), default=now)
        heard = max((story.heard for story in stories), default=0.0)
        span_s = max(0.0, min(heard, now) - began)
        spent = effort(stories, self.running, devices.of_attempts(), now)
        present = self.journals.rate(now, present_since(stories, self.running, now)) if state == "running" else None
        work_s = worked_s(stories) if state == "done" else 0.0
        rate = plan.num_items / work_s if work_s else present
        running = len(self.running)
        going = pace((self.journals.stories[name] for name in self.running), devices.of_attempts(), now)
        estimate = self._estimate_of(around.config)
        return {
            "items_per_s": rate,
            "eta_s": given / rate if state == "running" and rate else None,
            "items_per_s_overall": spent.items / span_s if spent.items and span_s else None,
            "items_per_s_attempt": spent.per_attempt,
            "eta_now": time_left(given, going.per_attempt, spent.per_attempt, running) if running else None,
            "eta_full": time_left(given, going.per_attempt, spent.per_attempt, full) if full else None,
            "hours": hours(
                devices.kind if devices.gpus or estimate is None else estimate.device,
                spent,
                0 if state == "done" else left,
                going,
                None if estimate is None else estimate.seconds_per_item,
            ),
        }

    def _estimate_of(self, config: RunConfig) -> Estimate | None:
        """Return what the phase is expected to cost, None where that cannot be told; found once for a configuration."""
        if self._estimate is None or self._estimate[0] is not config:
            try:
                self._estimate = config, self.phase.estimate(config)
            except UserError:  # what it reads was moved since; the phase goes on with what it has read
                self._estimate = config, None
        return self._estimate[1]


def _wrong(what: str, error: ValueError) -> str:
    return (NEWER if "newer than" in str(error) else DAMAGED).format(what)
