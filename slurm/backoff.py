"""When a shared service may be asked again: seldom, more seldom while it is slow, most seldom while it fails."""

from __future__ import annotations


class Backoff:
    """The wait between two queries of one service; all times in seconds on one clock of the caller's choice.

    The next query comes after `min_interval_s` or five times what the last one took, whichever is longer; after an
    error the interval doubles, up to `max_interval_s`.
    """

    def __init__(self, min_interval_s: float, max_interval_s: float = 300.0) -> None:
        self.min_interval_s = min_interval_s
        self.max_interval_s = max_interval_s
        self.interval_s = min_interval_s
        self._due_at = float("-inf")

    def is_due(self, now: float) -> bool:
        """Whether it is time to ask."""
        return now >= self._due_at

    def asked(self, ended: float, took_s: float, *, failed: bool) -> None:
        """Take note of a query that ended at `ended`."""
        if failed:
            self.interval_s = min(self.max_interval_s, 2 * self.interval_s)
        else:
            self.interval_s = max(self.min_interval_s, 5 * took_s)
        self._due_at = ended + self.interval_s
