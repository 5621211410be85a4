"""Numbers of a snapshot in few characters, for where there is little room.

What is counted is rounded down: 30,000,000 captions are `30M`, one less is `29.9M`.
"""

from __future__ import annotations

from synthclip_hpc.monitor.parts import Span
from synthclip_hpc.monitor.snapshot import PhaseStatus

_EXACT_BELOW = 10_000
_SIZES = ((10**9, "G"), (10**6, "M"), (10**3, "k"))
_TIMES = ((1, "s", 120), (60, "m", 2 * 3600), (3600, "h", 100 * 3600), (86400, "d", float("inf")))
"""Seconds in a unit, its letter, and the time in seconds from which the next one is taken."""


def short_count(count: int) -> str:
    """Return a count of five characters at most up to 999 G: from 10,000 on its first three digits, not rounded up."""
    if abs(count) < _EXACT_BELOW:
        return str(count)
    size, unit = next((size, unit) for size, unit in _SIZES if abs(count) >= size)
    digits = next((digits for digits in (2, 1) if abs(count) < size * 10 ** (3 - digits)), 0)
    return f"{count * 10**digits // size / 10**digits:g}{unit}"


def short_rate(rate: float | None) -> str:
    """Return items per second; `-` where there is none."""
    if rate is None:
        return "-"
    return f"{rate:.1f}" if rate < 100 else short_count(round(rate))


def short_time(seconds: float) -> str:
    """Return a time in one unit: under two minutes seconds, under two hours minutes, under a hundred hours those."""
    size, unit = next((size, unit) for size, unit, below in _TIMES if seconds < below)
    return f"{round(seconds / size)}{unit}"


def short_span(span: Span | None) -> str:
    """Return a range of time; one time where both ends read alike; `-` where there is none."""
    if span is None:
        return "-"
    low, high = short_time(span.low), short_time(span.high)
    return low if low == high else f"{low}-{high}"


def percent_done(phase: PhaseStatus) -> str:
    """Return how much is done in whole percent, without the sign; 100 only when all is. `-` before it has a size.

    By items, as shards tell little of a few long ones; by shards where no items are known.
    """
    shards, num_shards, num_items = phase.shards_done, phase.shards_total, phase.items_total
    if shards == num_shards or not num_items:
        return str(100 * shards // num_shards) if num_shards else "-"
    # The last shard may hold all of its items before it is done, and other phases of a stage may be open.
    return str(min(99, 100 * (phase.items_done + phase.items_rejected) // num_items))
