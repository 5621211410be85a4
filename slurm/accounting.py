"""How jobs ended, from Slurm's accounting.

It lags, it may be switched off, and it costs the cluster most: ask it last, and only for jobs that left the queue.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .backoff import Backoff
from .commands import parse_time, run_command

Cause = Literal["preemption", "timeout", "node_failure", "requeue", "cancelled", "failure", "completed", "unknown"]

_COLUMNS = "JobID,State,Start,End,NodeList,ExitCode"
_CLOCK_SLACK_S = 2.0
"""Accounting has whole seconds, and a node's clock may differ a little from the controller's."""
_JOB_ID = re.compile(r"\d+(_\d+)?")
_ENDED_BY: dict[str, Cause] = {
    "PREEMPTED": "preemption",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "NODE_FAIL": "node_failure",
    "BOOT_FAIL": "node_failure",
    "LAUNCH_FAILED": "node_failure",
    "REQUEUED": "requeue",
    "REQUEUE_HOLD": "requeue",
    "REQUEUE_FED": "requeue",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "FAILED": "failure",
    "OUT_OF_MEMORY": "failure",
    "SPECIAL_EXIT": "failure",
    "COMPLETED": "completed",
}


@dataclass(frozen=True)
class AccountingRow:
    """One incarnation of a job or array element. Times are seconds since 1970."""

    job_id: str
    """`123_4` for an element, `123` for a plain job."""
    state: str
    """The first word, e.g. `CANCELLED` of `CANCELLED by 1000`."""
    start: float | None
    end: float | None
    node: str
    exit_code: str
    """`CODE:SIGNAL` as sacct prints it."""


@dataclass(frozen=True)
class AccountingSnapshot:
    """What accounting knew at one moment: rows in order of start. A job absent here may be too new, or not recorded."""

    rows: tuple[AccountingRow, ...]
    taken_at: float
    error: str | None

    def of(self, job_id: str) -> tuple[AccountingRow, ...]:
        """The incarnations of one job or element, oldest first."""
        return tuple(row for row in self.rows if row.job_id == job_id)


def read_accounting(
    job_ids: Sequence[str],
    timeout_s: float = 10,
    since: float | None = None,
    environment: Mapping[str, str | None] | None = None,
) -> AccountingSnapshot:
    """All incarnations of these jobs, and of all elements if they are arrays. Never raises for what Slurm does.

    `since` (seconds since 1970, e.g. the time of submission) keeps old jobs out whose ids have been used again.
    Elements that wait for their first start are left out: the queue knows them. `environment`: see run_command.
    Raises ValueError for what is not a job id.
    """
    for job_id in job_ids:
        if not _JOB_ID.fullmatch(job_id):
            raise ValueError(f"job id {job_id!r} is not valid; expected digits such as '123' or '123_4'")
    now = time.time()
    if not job_ids:
        return AccountingSnapshot((), now, None)
    # -D: a requeued job has one record for each life, and sacct shows only the last of them by default.
    command = ["sacct", "-D", "-X", "-n", "-P", "-o", _COLUMNS, "-j", ",".join(job_ids)]
    if since is not None:
        command += ["-S", time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))]
    answer = run_command(command, timeout_s, environment)
    if answer.error:
        return AccountingSnapshot((), now, answer.error)
    try:
        rows = [_parse_row(line) for line in answer.stdout.splitlines() if line.strip()]
    except ValueError as error:
        return AccountingSnapshot((), now, str(error))
    known = [row for row in rows if row is not None]
    known.sort(key=lambda row: float("inf") if row.start is None else row.start)
    return AccountingSnapshot(tuple(known), now, None)


class AccountingPoller:
    """Asks accounting not more often than it can bear: see Backoff, with at least 30 s between two queries.

    Jobs asked for once are asked for again with every later query, so that one answer serves all. In between `poll`
    returns what is known; after an error, the rows of the last good answer with the error beside them.
    """

    min_interval_s = 30.0

    def __init__(
        self,
        read: Callable[..., AccountingSnapshot] = read_accounting,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._clock = clock
        self._backoff = Backoff(self.min_interval_s)
        self._asked: set[str] = set()
        self.last: AccountingSnapshot | None = None

    @property
    def interval_s(self) -> float:
        """The present wait between two queries."""
        return self._backoff.interval_s

    def poll(self, wanted: Iterable[str], others: Iterable[str] = (), since: float | None = None) -> AccountingSnapshot:
        """The newest snapshot of the `wanted` jobs, asking Slurm only if it is time.

        A wanted job that was never asked for does not wait, unless accounting is in trouble: each costs one query at
        most. `others` are asked for along with them, so that wanting one of these later costs none.
        """
        wanted = set(wanted)
        is_new = not wanted <= self._asked and (self.last is None or self.last.error is None)
        if self.last is not None and not is_new and not self._backoff.is_due(self._clock()):
            return self.last
        self._asked |= wanted | set(others)
        started = self._clock()
        snapshot = self._read(sorted(self._asked), since=since)
        ended = self._clock()
        self._backoff.asked(ended, ended - started, failed=snapshot.error is not None)
        if snapshot.error is not None and self.last is not None:
            snapshot = dataclasses.replace(self.last, error=snapshot.error)
        self.last = snapshot
        return snapshot


def match_lives(
    rows: Sequence[AccountingRow], starts: Mapping[int, float | None], num_lives: int
) -> dict[int, AccountingRow]:
    """The record of each life in `starts` (by restart count), as far as there is one.

    `rows` are those of one job or element, in order of start; `num_lives` is how many lives they should tell of.
    `starts` says when a life's program began (seconds since 1970), None where nobody knows. With one row for each life
    the n-th row is that of restart n. But a life that dies before its program starts (sent to a node that had just been
    lost) may have no record: then time decides, and what no other life has claimed is dealt out in order.
    """
    begun = [row for row in rows if row.start is not None]
    if len(begun) == num_lives:
        return {restart: begun[restart] for restart in starts if restart < num_lives}
    found = {restart: row for restart, at in starts.items() if at is not None and (row := _life_at(begun, at))}
    claimed = {id(row) for row in found.values()}
    unclaimed = [row for row in begun if id(row) not in claimed]
    return found | dict(zip(sorted(restart for restart, at in starts.items() if at is None), unclaimed, strict=False))


def _life_at(begun: Sequence[AccountingRow], at: float) -> AccountingRow | None:
    earlier = [row for row in begun if row.start is not None and row.start <= at + _CLOCK_SLACK_S]
    return earlier[-1] if earlier else None


def is_switched_off(error: str) -> bool:
    """Tell whether sacct's error says that this cluster keeps no accounting at all, which no waiting will change."""
    return "accounting storage is disabled" in error


def ended_by(state: str) -> Cause:
    """What ended a job, from its state. `unknown` for a job that has not ended and for words of a newer Slurm."""
    words = state.split()
    return _ENDED_BY.get(words[0].rstrip("+"), "unknown") if words else "unknown"


def _parse_row(line: str) -> AccountingRow | None:
    columns = line.strip().split("|")
    if len(columns) != _COLUMNS.count(",") + 1 or not columns[0][:1].isdigit() or not columns[1].strip():
        raise ValueError(f"sacct answered with a line that cannot be understood: {line[:200]!r}")
    job_id, state, start, end, node, exit_code = columns
    if not _JOB_ID.fullmatch(job_id):
        return None  # 123_[4-9]: elements that wait are one record
    return AccountingRow(job_id, state.split()[0], parse_time(start), parse_time(end), node, exit_code)
