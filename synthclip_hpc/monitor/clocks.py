"""Clocks that differ between hosts: ages are never negative, and a clock that is clearly off is told.

A journal bears the time of its node. What was not there at the look before was written since then, whatever the node's
clock says: that bounds its age from above, and shows a clock that is behind. A time in the future shows one that is
ahead: what bears it was written before it was read.
"""

from __future__ import annotations

from dataclasses import dataclass

AHEAD_S = 5.0
"""A clock that is ahead by more is told."""
BEHIND_S = 120.0
"""One that is behind by more is told: less may be a network file system that shows what was written later."""
_ENOUGH = 3
"""A clock counts as behind after so many looks that all say so: one may have been a hiccup."""


@dataclass
class NodeClock:
    """What the journal of one attempt tells of its node's clock, compared with that of whoever looks."""

    ahead_s: float = 0.0
    """By how much its newest event was in the future when it was read."""
    behind_s: float = float("inf")
    """The least by which its newest event was older than the look before, over all looks that found something new."""
    arrivals: int = 0
    """Looks after the first that found something new."""
    not_before: float | None = None
    """The look before the one at which the newest event was found; None for what the first look found."""

    def arrived(self, newest: float, previous: float | None, now: float) -> None:
        """Take note of new events, the newest told to be of the time `newest`; `previous` is the look before."""
        self.ahead_s = max(0.0, newest - now)
        self.not_before = previous
        if previous is not None:
            self.arrivals += 1
            self.behind_s = min(self.behind_s, previous - newest)

    def age(self, at: float, now: float) -> float:
        """Return how old the newest event is, told to be of the time `at`, in seconds from 0 on."""
        # What was ahead when it was read counts from then on: else it would be new for as long as its clock is ahead.
        since = at - self.ahead_s
        return max(0.0, now - (since if self.not_before is None else max(since, self.not_before)))

    @property
    def tells_no_age(self) -> bool:
        """Whether the newest event was there at the first look and in the future: it may be of any age."""
        return self.not_before is None and self.ahead_s > AHEAD_S

    def off_s(self) -> float:
        """Return by how many seconds the clock is ahead (or, negative, behind); 0 when it is fair."""
        if self.ahead_s > AHEAD_S:
            return self.ahead_s
        return -self.behind_s if self.arrivals >= _ENOUGH and self.behind_s > BEHIND_S else 0.0


def seen_at(told: float, previous: float | None, now: float) -> float:
    """Return when something was done, by the clock of whoever looks: between the look before and now."""
    return min(told if previous is None or told > previous else previous, now)
