"""Which groups of failures still have shards to do; a look costs the groups and what has changed, not the shards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from synthclip_hpc.monitor.failures import FailureGroup


@dataclass
class OpenGroups:
    """Remembers from look to look how many of each group's first shards are done."""

    _done: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    """By group: its shards as they were, and how many of the first ones have a marker."""

    def of(
        self, groups: Iterable[FailureGroup], open_phases: Collection[str], marked: Mapping[str, set[int]]
    ) -> list[FailureGroup]:
        """Return those of the groups that have a shard without a marker, in a phase that is not done.

        `marked`: the shards with a marker, by `stage/phase`. A group of attempts that failed as a whole is open for as
        long as its phase is.
        """
        return [
            group
            for group in groups
            if group.phase in open_phases and (not group.shards or self._is_open(group, marked[group.phase]))
        ]

    def _is_open(self, group: FailureGroup, marked: set[int]) -> bool:
        shards, place = self._done.get(group.id, ((), 0))
        if shards is not group.shards:
            place = 0
        while place < len(group.shards) and group.shards[place] in marked:
            place += 1
        self._done[group.id] = group.shards, place
        return place < len(group.shards)
