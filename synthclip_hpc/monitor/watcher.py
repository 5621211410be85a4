"""Takes snapshots: files first, `squeue` second, `sacct` last, each no more often than needed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sharding.plan import Plan, load_plan
from sharding.seal import load_seal
from slurm.accounting import AccountingSnapshot, read_accounting
from slurm.queue import QueuePoller, QueueSnapshot
from synthclip_hpc.launch.liveness import is_living, open_submissions, queue_names
from synthclip_hpc.monitor.causes import explain
from synthclip_hpc.monitor.journals import PhaseJournals
from synthclip_hpc.monitor.snapshot import PhaseStatus, Snapshot, Source, sum_stage
from synthclip_hpc.monitor.states import phase_state, running_attempts
from synthclip_hpc.pipeline import BUILT, phases_of
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, all_submissions

ACCOUNTING_EVERY_S = 30.0


class Watcher:
    """Takes snapshots of one run; the second and later ones read only what is new."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._journals: dict[str, PhaseJournals] = {}
        self._poller: QueuePoller | None = None
        self._accounting: AccountingSnapshot | None = None
        self._asked: set[str] = set()

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
                stages.append(sum_stage(stage, phases))
        sources = {
            "files": Source(time.time() - now, None),
            "squeue": Source(max(0.0, now - queue.taken_at) if queue.taken_at else None, queue.error),
        }
        if self._accounting is not None:
            sources["sacct"] = Source(max(0.0, now - self._accounting.taken_at), self._accounting.error)
        return Snapshot(str(self.run.path), now, tuple(stages), bool(alive), sources)

    def _ask_queue(self, names: list[str]) -> QueueSnapshot:
        if not names:
            return QueueSnapshot((), 0.0, None)
        if self._poller is None or self._poller.names != tuple(names):
            self._poller = QueuePoller(names)
        return self._poller.poll()

    def _ask_accounting(self, jobs: Sequence[str]) -> AccountingSnapshot:
        # One call for all phases. How an attempt ended does not change any more: asked again only after a while.
        old = self._accounting is None or time.time() - self._accounting.taken_at >= ACCOUNTING_EVERY_S
        if self._accounting is None or old or not set(jobs) <= self._asked:
            recorded = {job for one in all_submissions(self.run) for job in one.record.get("array_jobs", [])}
            self._asked |= recorded | set(jobs)
            self._accounting = read_accounting(sorted(self._asked))
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
        running = running_attempts(journals.stories.values(), my_alive, queue, now)
        causes, _ = explain(journals.stories.values(), running, self._ask_accounting)
        work = [story for story in journals.stories.values() if story.role == "work"]
        done, rejected = journals.items(marked)
        state, message = phase_state(is_sealed, my_alive, rows, running, journals, causes)
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
