"""What waits and runs now: one squeue call for all jobs of a run, and a poller that is kind to the controller."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .backoff import Backoff
from .commands import parse_time, run_command

_COLUMNS = "%i|%F|%K|%j|%T|%r|%N|%S|%e"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_JOB_ID = re.compile(r"\d+(_\d+)?")


@dataclass(frozen=True)
class QueueRow:
    """One job or array element that has not ended. Times are seconds since 1970."""

    job_id: str
    """`123_4` for an element, `123` for a plain job."""
    array_job_id: str
    """`123` in both cases."""
    index: int | None
    """The element's index; None for a plain job."""
    name: str
    state: str
    """In full, e.g. `PENDING`."""
    reason: str
    """Why it waits, in Slurm's word."""
    node: str
    """Node list; empty while it waits."""
    start: float | None
    """Start, or the expected one."""
    end: float | None
    """When its time limit ends it."""


@dataclass(frozen=True)
class QueueSnapshot:
    """The queue at one moment. With an `error` the rows are of an earlier moment (`taken_at` is theirs), or none."""

    rows: tuple[QueueRow, ...]
    taken_at: float
    error: str | None


def read_queue(
    names: Sequence[str], timeout_s: float = 10, environment: Mapping[str, str | None] | None = None
) -> QueueSnapshot:
    """The caller's jobs with exactly these names, array elements one by one. Never raises for what Slurm does.

    `environment`: see run_command.
    Raises ValueError for a name with other characters than letters, digits, `.`, `_` and `-`.
    """
    check_names(names)
    now = time.time()
    if not names:
        return QueueSnapshot((), now, None)
    # The text form: --json costs seconds of the controller's time for a large array.
    options = ["-r", "-h", "-o", _COLUMNS, f"--name={','.join(names)}", f"--user={os.getuid()}"]
    answer = run_command(["squeue", *options], timeout_s, environment)
    if answer.error:
        return QueueSnapshot((), now, answer.error)
    try:
        rows = [_parse_row(line) for line in answer.stdout.splitlines() if line.strip()]
    except ValueError as error:
        return QueueSnapshot((), now, str(error))
    return QueueSnapshot(tuple(row for row in rows if row.name in names), now, None)


class QueuePoller:
    """Asks the queue not more often than it can bear: see Backoff, with at least 15 s between two queries.

    In between `poll` returns what is known; after an error, the rows of the last good answer with the error beside
    them.
    """

    min_interval_s = 15.0

    def __init__(
        self,
        names: Sequence[str],
        read: Callable[[Sequence[str]], QueueSnapshot] = read_queue,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names = tuple(names)
        self._read = read
        self._clock = clock
        self._last: QueueSnapshot | None = None
        self._backoff = Backoff(self.min_interval_s)

    @property
    def interval_s(self) -> float:
        """The present wait between two queries."""
        return self._backoff.interval_s

    def poll(self, now: float | None = None) -> QueueSnapshot:
        """The newest snapshot, asking Slurm only if it is time. `now`: seconds on the constructor's clock."""
        now = self._clock() if now is None else now
        if self._last is not None and not self._backoff.is_due(now):
            return self._last
        started = self._clock()
        snapshot = self._read(self.names)
        took_s = self._clock() - started
        self._backoff.asked(now + took_s, took_s, failed=snapshot.error is not None)
        if snapshot.error is not None and self._last is not None:
            snapshot = dataclasses.replace(self._last, error=snapshot.error)
        self._last = snapshot
        return snapshot


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError unless each is a job name that this package gives: letters, digits, `.`, `_`, `-`."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"job name {name!r} is not valid; use letters, digits, '.', '_' and '-' only")


def _parse_row(line: str) -> QueueRow:
    columns = line.strip().split("|")
    if len(columns) != _COLUMNS.count("|") + 1 or not _JOB_ID.fullmatch(columns[0]):
        raise ValueError(f"squeue answered with a line that cannot be understood: {line[:200]!r}")
    job_id, array_job_id, index, name, state, reason, node, start, end = columns
    return QueueRow(
        job_id=job_id,
        array_job_id=array_job_id,
        index=int(index) if index.isascii() and index.isdigit() else None,
        name=name,
        state=state,
        reason=reason,
        node=node,
        start=parse_time(start),
        end=parse_time(end),
    )
