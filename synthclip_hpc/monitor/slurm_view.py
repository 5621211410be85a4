"""What one cluster's Slurm says to whoever looks at a run: kindly asked, and never waited for longer than wanted."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from slurm.accounting import AccountingPoller, AccountingSnapshot, read_accounting
from slurm.queue import QueuePoller, QueueSnapshot, read_queue
from synthclip_hpc.monitor.asking import Asker
from synthclip_hpc.submissions import Submission

_TELL_AFTER_S = 3.0
"""A question that is open for longer is told."""
_SINCE_SLACK_S = 3600.0
"""Accounting is asked from so long before the first submission: its clock may differ from the submit host's."""


class SlurmView:
    """Queue and accounting as the last answers had them; with patience, a hanging program leaves the caller alive."""

    def __init__(
        self,
        patience_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        """`patience_s`: how long to wait for an answer at each look; None for as long as it takes.

        `clock`: in seconds; says when Slurm may be asked again. `environment`: what points to the cluster, where that
        is not what the process has.
        """
        self._clock, self._environment = clock, environment
        self._queue_asker: Asker[QueueSnapshot] = Asker(patience_s)
        self._accounting_asker: Asker[AccountingSnapshot] = Asker(patience_s)
        self._poller: QueuePoller | None = None
        self._accounting = AccountingPoller(partial(read_accounting, environment=environment), clock)
        self._last: QueueSnapshot | None = None

    @property
    def accounting(self) -> AccountingSnapshot | None:
        """The last answer of accounting; None before the first."""
        return self._accounting.last

    def queue(self, names: Sequence[str]) -> QueueSnapshot:
        """Return the queue's rows of the jobs with these names, as far as known; asks nobody for no names."""
        if not names:
            return QueueSnapshot((), 0.0, None)
        if self._poller is None or self._poller.names != tuple(names):
            if self._queue_asker.open_s:  # of other names: what it will answer is not what is wanted now
                return self._late("squeue")
            self._poller = QueuePoller(names, partial(read_queue, environment=self._environment), self._clock)
        answer = self._queue_asker.ask(self._poller.poll)
        if answer is None:
            return self._late("squeue")
        self._last = answer
        return answer

    def _late(self, program: str) -> QueueSnapshot:
        open_s = self._queue_asker.open_s
        if self._last is None:
            return QueueSnapshot((), 0.0, f"{program} has not answered yet")
        if open_s < _TELL_AFTER_S:
            return self._last
        return dataclasses.replace(self._last, error=f"{program} has not answered for {open_s:.0f} s")

    def ask_accounting(self, jobs: Sequence[str], submissions: Sequence[Submission]) -> AccountingSnapshot:
        """Return what accounting knows of these jobs; those of all submissions are asked for along with them."""
        submitted = [one for one in submissions if one.cluster == "slurm"]
        recorded = [job for one in submitted for job in one.record.get("array_jobs", [])]
        created = [float(one.record["created"]) for one in submitted]
        since = min(created) - _SINCE_SLACK_S if created else None
        answer = self._accounting_asker.ask(lambda: self._accounting.poll(jobs, recorded, since))
        if answer is not None:
            return answer
        return self._accounting.last or AccountingSnapshot((), time.time(), "sacct has not answered yet")
