"""Takes snapshots: files first, `squeue` second, `sacct` last, each no more often than needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from sharding.plan import Plan, PlanError, load_plan
from sharding.seal import SealError, load_seal
from slurm.accounting import AccountingPoller, AccountingSnapshot
from slurm.queue import QueuePoller, QueueSnapshot
from synthclip_hpc.launch.liveness import is_living, open_submissions, queue_names
from synthclip_hpc.monitor.causes import explain
from synthclip_hpc.monitor.journals import PhaseJournals
from synthclip_hpc.monitor.snapshot import PhaseStatus, Snapshot, Source, sum_stage, unreadable
from synthclip_hpc.monitor.states import phase_state, running_attempts
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.run import Run
from synthclip_hpc.stage_order import BUILT
from synthclip_hpc.submissions import Submission, all_submissions

DAMAGED = "{} damaged: run verify, then repair"
_SINCE_SLACK_S = 3600.0
"""Accounting is asked from so long before the first submission: its clock may differ from the submit host's."""


class Watcher:
    """Takes snapshots of one run; the second and later ones read only what is new."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._journals: dict[str, PhaseJournals] = {}
        self._poller: QueuePoller | None = None
        self._accounting = AccountingPoller()
        self._submissions: list[Submission] = []

    def look(self) -> Snapshot:
        """Take one snapshot: a listing a phase, one `squeue` if a job may be alive, `sacct` for vanished attempts."""
        now = time.time()
        submissions = self._submissions = all_submissions(self.run)
        plans: dict[str, Plan] = {}
        sealed: set[str] = set()
        damaged: dict[str, str] = {}
        for stage in BUILT:
            for phase in phases_of(stage):
                directory = self.run.phase(stage, phase.name)
                try:
                    plan = load_plan(directory)
                    if plan is not None:
                        plans[phase.key] = plan
                        if load_seal(directory) is not None:
                            sealed.add(phase.key)
                except PlanError:
                    damaged[phase.key] = DAMAGED.format("plan")
                except SealError:
                    damaged[phase.key] = DAMAGED.format("seal")
        candidates = [one for one in open_submissions(submissions) if f"{one.stage}/{one.phase}" not in sealed]
        queue = self._ask_queue(queue_names(candidates))
        alive = [one for one in candidates if _alive(one, queue)]
        stages = []
        for stage in BUILT:
            phases = []
            for phase in phases_of(stage):
                if phase.key in plans:
                    is_sealed = phase.key in sealed
                    found = self._phase(phase.key, plans[phase.key], is_sealed, submissions, alive, queue, now)
                    if phase.key in damaged:
                        found = replace(found, state="failed", message=damaged[phase.key], items_per_s=None, eta_s=None)
                    phases.append(found)
                elif phase.key in damaged:
                    phases.append(unreadable(phase.name, damaged[phase.key]))
            if phases:
                told = sum_stage(stage, phases)
                left = [phase.key for phase in phases_of(stage)][len(phases) :]
                if told.state == "done" and left:
                    # Their size was not known before: the command that made the others could not plan them.
                    told = replace(told, state="partial", message=f"{left[0]} can be planned now: resume")
                stages.append(told)
        sources = {
            "files": Source(time.time() - now, None),
            "squeue": Source(max(0.0, now - queue.taken_at) if queue.taken_at else None, queue.error),
        }
        last = self._accounting.last
        if last is not None:
            sources["sacct"] = Source(max(0.0, now - last.taken_at), last.error)
        return Snapshot(str(self.run.path), now, tuple(stages), bool(alive), sources)

    def _ask_queue(self, names: list[str]) -> QueueSnapshot:
        if not names:
            return QueueSnapshot((), 0.0, None)
        if self._poller is None or self._poller.names != tuple(names):
            self._poller = QueuePoller(names)
        return self._poller.poll()

    def _ask_accounting(self, jobs: Sequence[str]) -> AccountingSnapshot:
        submitted = [one for one in self._submissions if one.cluster == "slurm"]
        recorded = [job for one in submitted for job in one.record.get("array_jobs", [])]
        created = [float(one.record["created"]) for one in submitted]
        return self._accounting.poll(jobs, recorded, min(created) - _SINCE_SLACK_S if created else None)

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
        began = min((story.started for story in work if story.started), default=now)
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


def _alive(one: Submission, queue: QueueSnapshot) -> bool:
    if one.cluster == "slurm" and queue.error:
        return True  # not known; the view shows the error, and calling it dead would be the worse guess
    try:
        return is_living(one, queue)
    except ValueError:
        return True  # another host's supervisor: cannot be asked from here, and its journals still tell
