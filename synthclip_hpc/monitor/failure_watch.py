"""Groups of failures of a run, found anew only when something has failed since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from synthclip_hpc.monitor.failures import FailureGroup, group_failures
from synthclip_hpc.monitor.lives import PhaseLives

_JUDGED_EVERY_S = 60.0
"""What passes meanwhile may change whom a group blames; that can wait."""
_VISITS_A_SECOND = 1000
"""After so many visits to shards a second goes by before groups are made anew: that keeps their cost below a hundredth
of a core. Of fewer they are made at every look with a new failure."""
_FAILED = {"shard_failed", "gave_up", "worker_ended"}


@dataclass
class FailureWatch:
    """Takes the events of all phases, piece by piece."""

    _lives: dict[str, PhaseLives] = field(default_factory=dict)
    _groups: tuple[FailureGroup, ...] = ()
    _is_new: bool = False
    _judged_at: float = float("-inf")

    def take(self, phase: str, attempt: str, events: Iterable[Mapping[str, Any]]) -> None:
        """Read on in the journal of an attempt of a phase (`stage/phase`)."""
        # Progress is nearly all there is, and tells nothing of failures.
        telling = [event for event in events if event["event"] != "progress"]
        if telling:
            self._lives.setdefault(phase, PhaseLives(phase)).take(attempt, telling)
            self._is_new = self._is_new or any(_tells_failure(event) for event in telling)

    def groups(self, now: float, *, at_once: bool = False) -> tuple[FailureGroup, ...]:
        """Return the groups; the same object as before while nothing new has failed.

        In a large run what has failed may show some seconds later, but for `at_once`.
        """
        age_s = now - self._judged_at
        is_due = self._is_new and (at_once or not 0 <= age_s < self._pause_s())
        if is_due or (self._groups and age_s > _JUDGED_EVERY_S):
            self._groups = group_failures(self._lives.values())
            self._is_new, self._judged_at = False, now
        return self._groups

    def _pause_s(self) -> int:
        num_visits = sum(len(life.visits) for lives in self._lives.values() for life in lives.lives.values())
        return min(num_visits // _VISITS_A_SECOND, int(_JUDGED_EVERY_S))


def _tells_failure(event: Mapping[str, Any]) -> bool:
    return event["event"] in _FAILED or (event["event"] == "end" and "type" in event)
