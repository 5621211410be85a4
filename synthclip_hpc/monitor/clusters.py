"""What the Slurms of all clusters say that a run has been submitted to: usually one, each asked by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from slurm.accounting import AccountingSnapshot
from slurm.queue import QueueSnapshot
from synthclip_hpc.launch.environment import by_cluster
from synthclip_hpc.launch.liveness import queue_names
from synthclip_hpc.monitor.slurm_view import SlurmView
from synthclip_hpc.submissions import Submission

_Key = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Queues:
    """The queues of a run's clusters at one moment."""

    by_names: tuple[tuple[frozenset[str], QueueSnapshot], ...] = ()
    """With the names of the jobs that each was asked for."""

    @property
    def all(self) -> QueueSnapshot:
        """All rows; as old as the oldest, with the errors of all."""
        return _merge([queue for _, queue in self.by_names])

    def of(self, names: Iterable[str]) -> QueueSnapshot:
        """Return the rows of the jobs with these names, as the clusters told them that were asked for any of these.

        Where none was, there are no rows, and the moment is that of all the others.
        """
        wanted = frozenset(names)
        mine = [queue for asked, queue in self.by_names if asked & wanted]
        found = _merge(mine) if mine else self.all
        return replace(found, rows=tuple(row for row in found.rows if row.name in wanted))


class Clusters:
    """Asks each cluster by itself: two may give one job id to different jobs, and one may hang alone."""

    def __init__(self, patience_s: float | None, clock: Callable[[], float]) -> None:
        """See SlurmView, of which there is one a cluster."""
        self._patience_s, self._clock = patience_s, clock
        self._views: dict[_Key, SlurmView] = {}

    @property
    def accounting(self) -> AccountingSnapshot | None:
        """The last answers of accounting; None before the first."""
        answers = [view.accounting for view in self._views.values()]
        known = [answer for answer in answers if answer is not None]
        return _merge_accounting(known) if known else None

    def queues(self, submissions: Sequence[Submission]) -> Queues:
        """Return what the queues tell of the jobs of these submissions."""
        found = []
        for group in by_cluster(submissions):
            names = queue_names(group)
            found.append((frozenset(names), self._view(group[0]).queue(names)))
        return Queues(tuple(found))

    def ask_accounting(self, jobs: Sequence[str], submissions: Sequence[Submission]) -> AccountingSnapshot:
        """Return what accounting knows of these jobs; those of all submissions are asked for along with them."""
        groups = by_cluster(submissions)
        if not groups:  # the records of what was submitted are gone
            return self._of({}).ask_accounting(jobs, ())
        recorded = [{str(job) for one in group for job in one.record.get("array_jobs", [])} for group in groups]
        # Jobs that no submission has recorded are asked of one cluster, the last.
        recorded[-1] |= set(jobs) - set().union(*recorded)
        wanted = [[job for job in jobs if job in mine] for mine in recorded]
        asked = [(group, mine) for group, mine in zip(groups, wanted, strict=True) if mine]
        return _merge_accounting([self._view(group[0]).ask_accounting(mine, group) for group, mine in asked])

    def _view(self, one: Submission) -> SlurmView:
        return self._of(one.environment)

    def _of(self, environment: dict[str, str | None]) -> SlurmView:
        key = tuple(sorted(environment.items()))
        if key not in self._views:
            self._views[key] = SlurmView(self._patience_s, self._clock, environment)
        return self._views[key]


def _merge(queues: Sequence[QueueSnapshot]) -> QueueSnapshot:
    if len(queues) == 1:
        return queues[0]
    rows = tuple(row for queue in queues for row in queue.rows)
    taken_at = min((queue.taken_at for queue in queues), default=0.0)
    return QueueSnapshot(rows, taken_at, _errors([queue.error for queue in queues]))


def _merge_accounting(answers: Sequence[AccountingSnapshot]) -> AccountingSnapshot:
    if len(answers) == 1:
        return answers[0]
    rows = sorted((row for one in answers for row in one.rows), key=lambda row: row.start or float("inf"))
    return AccountingSnapshot(
        tuple(rows), min(one.taken_at for one in answers), _errors([one.error for one in answers])
    )


def _errors(errors: Iterable[str | None]) -> str | None:
    return "; ".join(dict.fromkeys(error for error in errors if error)) or None
