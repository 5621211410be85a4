"""SIGKILL for workers of phases that are over too soon for a fault at a random moment to meet them."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence

from tests.chaos.product import Product
from tests.chaos.workers import Worker


class LateKills:
    """Waits for workers of some phases and kills one for each time that a phase is named."""

    FAULT = "sigkill-late"

    def __init__(
        self,
        product: Product,
        phases: Sequence[tuple[str, str]],
        workers: Callable[[], list[Worker]],
        rng: random.Random,
        longest_s: float,
    ) -> None:
        """`longest_s`: how long a victim may go on at most after it was seen."""
        self._product = product
        self._pending = list(phases)
        self._workers = workers
        self._rng = rng
        self._longest_s = longest_s
        self._hit: set[str] = set()

    @property
    def missed(self) -> list[str]:
        """The phases of which no worker has been killed."""
        return ["/".join(phase) for phase in self._pending]

    def strike_for(self, seconds: float) -> Iterator[tuple[Worker, str]]:
        """Look for victims so long; yield each that was killed, and its phase."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not self._pending:
                time.sleep(left)
                return
            yield from self._strike()
            time.sleep(0.05)

    def _strike(self) -> Iterator[tuple[Worker, str]]:
        victims = [worker for worker in self._workers() if worker.attempt not in self._hit]
        known = self._product.phases_by_job() if victims else {}
        for victim in victims:
            stage, phase = known.get(victim.job, ("", ""))
            if (stage, phase) not in self._pending or not self._has_begun(stage, phase, victim):
                continue
            time.sleep(self._rng.uniform(0, self._longest_s))
            if not victim.process.is_alive():
                continue
            victim.process.send(signal.SIGKILL)
            self._pending.remove((stage, phase))
            self._hit.add(victim.attempt)
            yield victim, f"{stage}/{phase}"

    def _has_begun(self, stage: str, phase: str, worker: Worker) -> bool:
        return (self._product.run / stage / phase / "journals" / f"{worker.attempt}.jsonl").exists()
