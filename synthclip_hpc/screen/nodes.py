"""Attempts summed by node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from synthclip_hpc.monitor.parts import AttemptStatus


@dataclass(frozen=True)
class NodeStatus:
    """What a phase's attempts on one node come to."""

    node: str
    """`?` where no journal told."""
    running: int
    ended_early: int
    """Attempts that failed or were interrupted."""
    items_per_s: float
    """Of those that run."""
    throughput: tuple[float, ...]
    """Items per second in each of the last minutes, oldest first."""
    gpu_percent: float | None
    """Mean utilisation of those that run, by their last samples; None without GPUs."""
    gpu_memory: float | None
    """Share of the fullest GPU's memory, 0 to 1."""


def by_node(lives: Iterable[AttemptStatus]) -> list[NodeStatus]:
    """Return the nodes in order of name."""
    groups: dict[str, list[AttemptStatus]] = defaultdict(list)
    for life in lives:
        groups[life.node or "?"].append(life)
    return [_sum(node, groups[node]) for node in sorted(groups)]


def _sum(node: str, lives: list[AttemptStatus]) -> NodeStatus:
    running = [life for life in lives if life.state == "running"]
    # From the newest minute backwards: attempts began at different times.
    minutes = zip_longest(*(reversed(life.throughput) for life in running), fillvalue=0.0)
    samples = [life.gpu[-1] for life in running if life.gpu]
    return NodeStatus(
        node=node,
        running=len(running),
        ended_early=sum(life.state in ("failed", "interrupted") for life in lives),
        items_per_s=sum(life.items_per_s or 0.0 for life in running),
        throughput=tuple(map(sum, minutes))[::-1],
        gpu_percent=sum(one.utilisation_percent for one in samples) / len(samples) if samples else None,
        gpu_memory=max((one.memory_bytes / one.memory_total_bytes for one in samples), default=None),
    )
