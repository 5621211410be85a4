"""How jobs ended, from Slurm's accounting.

It lags, it may be switched off, and it costs the cluster most: ask it last, and only for jobs that left the queue.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .commands import parse_time, run_command

Cause = Literal["preemption", "timeout", "node_failure", "requeue", "cancelled", "failure", "completed", "unknown"]

_COLUMNS = "JobID,State,Start,End,NodeList,ExitCode"
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


def read_accounting(job_ids: Sequence[str], timeout_s: float = 10, since: float | None = None) -> AccountingSnapshot:
    """All incarnations of these jobs, and of all elements if they are arrays. Never raises for what Slurm does.

    `since` (seconds since 1970, e.g. the time of submission) keeps old jobs out whose ids have been used again.
    Elements that wait for their first start are left out: the queue knows them. Raises ValueError for what is not a
    job id.
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
    answer = run_command(command, timeout_s)
    if answer.error:
        return AccountingSnapshot((), now, answer.error)
    try:
        rows = [_parse_row(line) for line in answer.stdout.splitlines() if line.strip()]
    except ValueError as error:
        return AccountingSnapshot((), now, str(error))
    known = [row for row in rows if row is not None]
    known.sort(key=lambda row: float("inf") if row.start is None else row.start)
    return AccountingSnapshot(tuple(known), now, None)


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
