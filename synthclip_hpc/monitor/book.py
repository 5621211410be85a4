"""The shards of a phase, counted by cells of a heat line; a look costs what has changed, not what there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synthclip_hpc.monitor.journals import PhaseJournals, ShardCounts, Visit
from synthclip_hpc.monitor.parts import HeatCell

NUM_CELLS = 120
"""A heat line has so many cells at most."""


@dataclass(frozen=True)
class OpenShards:
    """Of the shards without a marker, those that somebody has begun."""

    running: Mapping[int, tuple[str, ...]]
    """The living attempts at each."""
    failed: Mapping[int, str]
    """The last error of each that nobody is at."""


class ShardBook:
    """Counts of the shards that have a marker."""

    def __init__(self, num_shards: int) -> None:
        self.num_shards = num_shards
        self.done = 0
        """Items."""
        self.rejected = 0
        """Items."""
        self._size = max(1, -(-num_shards // NUM_CELLS))
        num_cells = -(-num_shards // self._size)
        self._shards_done = [0] * num_cells
        self._rejected = [0] * num_cells
        self._counted: dict[int, tuple[int, int]] = {}

    def update(self, marked: set[int], finished: Mapping[int, ShardCounts], changed: set[int]) -> None:
        """Take in which shards have a marker now; `changed` are those whose counts may be others than before."""
        known = self._counted.keys()
        gone = known - marked if len(known) > len(marked) or not known <= marked else set()
        for shard in gone | (changed & known):
            self._count(shard, self._counted.pop(shard), -1)
        for shard in marked - known:
            counts = finished.get(shard)
            self._counted[shard] = (counts.done, counts.rejected) if counts is not None else (0, 0)
            self._count(shard, self._counted[shard], +1)

    def _count(self, shard: int, items: tuple[int, int], sign: int) -> None:
        cell = shard // self._size
        self._shards_done[cell] += sign
        self._rejected[cell] += sign * items[1]
        self.done += sign * items[0]
        self.rejected += sign * items[1]

    def cells(self, open_shards: OpenShards) -> tuple[HeatCell, ...]:
        """Return the heat line."""
        running, failed = self._by_cell(open_shards.running), self._by_cell(open_shards.failed)
        cells = []
        for number, done in enumerate(self._shards_done):
            first = number * self._size
            stop = min(first + self._size, self.num_shards)
            pending = stop - first - done - running[number] - failed[number]
            cells.append(HeatCell(first, stop, done, running[number], failed[number], pending, self._rejected[number]))
        return tuple(cells)

    def _by_cell(self, shards: Mapping[int, object]) -> list[int]:
        counts = [0] * len(self._shards_done)
        for shard in shards:
            counts[shard // self._size] += 1
        return counts


def open_shards(journals: PhaseJournals, marked: set[int], running: set[str], num_shards: int) -> OpenShards:
    """Tell of the begun shards without a marker who is at them, or how the last attempt at them failed."""
    at_work: dict[int, tuple[str, ...]] = {}
    failed: dict[int, str] = {}
    for shard, visits in journals.in_progress.items():
        if not visits or shard in marked or not 0 <= shard < num_shards:
            continue
        mine = tuple(name for name, visit in visits.items() if name in running and not visit.error)
        if mine:
            at_work[shard] = mine
        else:
            last = max(visits.values(), key=_latest)
            if last.error:
                failed[shard] = last.error
    return OpenShards(at_work, failed)


def _latest(visit: Visit) -> float:
    return visit.began
