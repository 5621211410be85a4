"""What one attempt has made: items by the minute, and how its GPUs did. Bounded, however long it lives."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from synthclip_hpc.monitor.parts import GpuSample

MINUTE_S = 60
MINUTES = 30
"""So many minutes of throughput are kept."""
KEPT_S = float(MINUTES * MINUTE_S)
RATE_MINUTES = 5
"""The present rate of an attempt is the mean over so many minutes, the one that has just begun included."""
GPU_SAMPLES = 40
"""So many summaries of the GPUs are kept: 20 minutes at one every 30 s."""


@dataclass
class Tally:
    """Counts of one attempt. Times are of the clock of whoever looks."""

    items: int = 0
    shards_done: int = 0
    minutes: dict[int, int] = field(default_factory=dict)
    """Items by minute since 1970."""
    gpu: deque[GpuSample] = field(default_factory=lambda: deque(maxlen=GPU_SAMPLES))

    def made(self, at: float, items: int) -> None:
        """Note when items were made, if it is not longer ago than KEPT_S; whoever does so adds them to `items`."""
        minute = int(at // MINUTE_S)
        self.minutes[minute] = self.minutes.get(minute, 0) + items

    def forget(self, now: float | None = None) -> None:
        """Drop the minutes that are no longer shown; all of them, and the GPUs', without a time: it has ended."""
        if now is None:
            self.minutes.clear()
            self.gpu.clear()
            return
        oldest = int(now // MINUTE_S) - MINUTES
        for minute in [one for one in self.minutes if one < oldest]:
            del self.minutes[minute]

    def rate(self, now: float, since: float) -> float | None:
        """Return items per second over the last minutes, or since `since`; None before the first items."""
        first = int(now // MINUTE_S) - RATE_MINUTES + 1
        made = sum(items for minute, items in self.minutes.items() if minute >= first)
        window = now - max(since, first * MINUTE_S)
        return made / window if self.items and window > 0 else None

    def throughput(self, now: float, since: float) -> tuple[float, ...]:
        """Return items per second in each whole minute of the last half hour since `since`, the oldest first."""
        present = int(now // MINUTE_S)
        first = max(present - MINUTES, int(since // MINUTE_S))
        return tuple(self.minutes.get(minute, 0) / MINUTE_S for minute in range(first, present))
