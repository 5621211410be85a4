"""Being told to stop. A handler only sets a flag; work looks at the flag where it can stop (item, batch, step).

Nothing depends on this: being killed at once is as good, and only costs the work in hand.

What Slurm sends to a task of a job step: SIGUSR2 (or SIGUSR1) some time before the time limit, or when a preemption's
grace begins, if the job asked for it; SIGTERM, twice at once, at the end; SIGKILL some seconds later. SIGCONT comes
with each of them and means nothing.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Literal

Reason = Literal["notice", "terminate", "orphaned"]

_NOTICE = (signal.SIGUSR1, signal.SIGUSR2)
_DEMAND = (signal.SIGTERM, signal.SIGINT)
_TWICE_AT_ONCE_S = 1.0
_LOOK_EVERY_S = 0.1


class Stopped(Exception):
    """Work was stopped at a safe point; `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"stopped: {reason}")
        self.reason: Reason = reason


class StopFlag:
    """Whether this process has been asked to stop, and why. True once it has.

    A second demand (SIGTERM or SIGINT more than a second after the first signal) ends the process at once, with exit
    status 128 + signal number. A repeated notice does not: it announces, and launchers pass it on a second time.
    """

    def __init__(self) -> None:
        self._own_pid = -1
        self._parent_pid = -1
        self._signal: signal.Signals | None = None
        self._received_at: float | None = None
        self._first_at: float | None = None

    def install(self, parent_pid: int | None = None) -> None:
        """Take over SIGTERM, SIGINT, SIGUSR1 and SIGUSR2; call it in the main thread, after whoever else sets handlers.

        `parent_pid` is the launcher's process id when the launcher told it: so its death is noticed even when it came
        first. By default it is the present parent.
        """
        self._own_pid = os.getpid()
        self._parent_pid = os.getppid() if parent_pid is None else parent_pid
        for number in (*_NOTICE, *_DEMAND):
            signal.signal(number, self._handle)

    @property
    def reason(self) -> Reason | None:
        """`notice` (it will end soon), `terminate` (end now), `orphaned` (the launcher is gone), or None."""
        if self._signal in _DEMAND:
            return "terminate"
        # A forked child has another parent by nature.
        if os.getpid() == self._own_pid and os.getppid() != self._parent_pid:
            return "orphaned"
        return "notice" if self._signal in _NOTICE else None

    @property
    def signal_name(self) -> str | None:
        """The signal behind the reason, e.g. `SIGUSR2`."""
        return None if self._signal is None else self._signal.name

    @property
    def received_at(self) -> float | None:
        """When that signal came, in seconds since 1970."""
        return self._received_at

    def __bool__(self) -> bool:
        return self.reason is not None

    def check(self) -> None:
        """A safe point: raise Stopped if the process has been asked to stop."""
        reason = self.reason
        if reason is not None:
            raise Stopped(reason)

    def sleep(self, seconds: float) -> None:
        """Sleep, but return soon after the flag is set (time.sleep goes on sleeping when a signal comes)."""
        until = time.monotonic() + seconds
        while not self and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_EVERY_S))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Only plain assignments here: a lock, a log line or a file could be the very thing that was interrupted.
        now = time.monotonic()
        demand = number in _DEMAND
        if demand and self._first_at is not None and now - self._first_at > _TWICE_AT_ONCE_S:
            os._exit(128 + number)
        if self._signal is None or (demand and self._signal in _NOTICE):
            self._signal, self._received_at = signal.Signals(number), time.time()
        if self._first_at is None:
            self._first_at = now


def wait_to_be_killed(limit_s: float) -> None:
    """Sleep until Slurm kills this process, or `limit_s` seconds, or until the launcher is gone.

    For after a SIGTERM. In a preemption's grace Slurm has not recorded anything yet: a job that ends by itself then
    counts as failed or completed and is not requeued; one that waits counts as preempted. After `attempt.requeue`
    there is nothing to wait for.
    """
    parent_pid = os.getppid()
    until = time.monotonic() + limit_s
    while os.getppid() == parent_pid and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 1.0))
