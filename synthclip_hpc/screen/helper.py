"""One thread beside the screen that reads files and asks Slurm, so that the screen stays alive whatever hangs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

Told = Callable[[Any], object]


class Helper:
    """Does one job after the other, in order; each outcome is handed to `deliver`, which must be safe from a thread."""

    def __init__(self, deliver: Callable[[Told, Any], object]) -> None:
        self._deliver = deliver
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Told, Told]] = queue.SimpleQueue()
        self._since: float | None = None
        # A daemon: a file system that hangs must not keep the screen from closing.
        threading.Thread(target=self._work, name="helper", daemon=True).start()

    @property
    def busy_s(self) -> float:
        """How long the present job has been going on, in seconds; 0 when there is none."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def ask(self, job: Callable[[], Any], then: Told, failed: Told) -> None:
        """Do `job`; then hand `then` and what it returned to `deliver`, or `failed` and what it raised."""
        self._jobs.put((job, then, failed))

    def _work(self) -> None:
        while True:
            job, then, failed = self._jobs.get()
            self._since = time.monotonic()
            try:
                outcome = job()
            except Exception as error:
                self._deliver(failed, error)
            else:
                self._deliver(then, outcome)
            self._since = None
