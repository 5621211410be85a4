"""Shards that take long, and attempts that have fallen silent."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from synthclip_hpc.monitor.book import OpenShards
from synthclip_hpc.monitor.journals import PhaseJournals
from synthclip_hpc.monitor.parts import Straggler

SLOW_FACTOR = 3.0
"""A shard is slow when an attempt is at it for longer than so many times the median."""
SLOW_AT_LEAST_S = 60.0
"""Below this nothing counts as slow: small shards vary."""
SILENT_S = 300.0
"""An attempt is silent when it was not heard of for so long, in a phase whose shards tell how far they are.

They do so at least once a minute, but for long batches. Where none ever does (a reduce, a cell of the evaluation)
silence tells nothing.
"""
ENOUGH = 5
"""There is a median from so many shards on."""
MOST = 50


def shard_median_s(journals: PhaseJournals) -> float | None:
    """Return the median seconds of the last shards; None while fewer than ENOUGH are done."""
    return median(journals.times) if len(journals.times) >= ENOUGH else None


def stragglers(
    journals: PhaseJournals, open_shards: OpenShards, median_s: float | None, now: float
) -> tuple[Straggler, ...]:
    """Return who is behind, the worst first: the silent by their silence, then the slow by their time."""
    found = []
    for shard, attempts in open_shards.running.items():
        for name in attempts:
            story, began = journals.stories[name], journals.in_progress[shard][name].began
            # By the node's own clock, plus what has passed since its last word: hosts' clocks may differ.
            silent_s = story.silent_s(now)
            running_s = max(0.0, story.heard - began) + silent_s
            times = running_s / median_s if median_s else None
            slow = times is not None and times > SLOW_FACTOR and running_s > SLOW_AT_LEAST_S
            is_silent = journals.reports and silent_s > SILENT_S
            why = "silent" if is_silent else "slow" if slow else ""
            if why:
                found.append(Straggler(shard, name, story.node, running_s, times, silent_s, why))
    found.sort(key=lambda one: (one.why != "silent", -(one.silent_s if one.why == "silent" else one.running_s)))
    return tuple(found[:MOST])


def by_attempt(running: Mapping[int, tuple[str, ...]]) -> dict[str, list[int]]:
    """Turn the attempts at each shard into the shards of each attempt, in order."""
    shards: dict[str, list[int]] = {}
    for shard in sorted(running):
        for name in running[shard]:
            shards.setdefault(name, []).append(shard)
    return shards
