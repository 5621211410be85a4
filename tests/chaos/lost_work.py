"""How much work the faults cost: nothing in a partial file may be made again, except where attempts overlap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

from tests.chaos.journals import Attempt, Visit
from tests.chaos.scenario import Part


@dataclass
class LostWork:
    """The result of the accounting, in items."""

    made: int = 0
    """Items of all batches that any attempt appended, as the journals tell."""
    made_twice_overlapping: int = 0
    """Of these, made again by attempts that worked on the same shard at the same time."""
    made_twice: int = 0
    """Made again without an overlap: must stay within a batch an interruption."""
    cut_off: dict[str, float] = field(default_factory=dict)
    """Attempt that was killed -> items it had in the making: the time since its last append, at its own pace."""
    problems: list[str] = field(default_factory=list)
    unit: str = "items"

    def add(self, other: LostWork) -> None:
        """Add what another stage lost."""
        self.made += other.made
        self.made_twice_overlapping += other.made_twice_overlapping
        self.made_twice += other.made_twice
        self.cut_off |= other.cut_off
        self.problems += other.problems
        self.unit = other.unit


def account(attempts: list[Attempt], part: Part, ends: Mapping[str, float], appends: Mapping[str, float]) -> LostWork:
    """Go through all visits of one stage.

    `ends`: when each attempt that was killed had ended; `appends`: when each had last written to a partial file, both
    in seconds since 1970.
    """
    result = LostWork()
    visits: dict[tuple[str, int], list[tuple[Attempt, Visit]]] = defaultdict(list)
    for attempt in attempts:
        for visit in attempt.visits:
            visits[visit.shard].append((attempt, visit))
    for shard, both in sorted(visits.items()):
        made = sum(visit.last_items - visit.resumed_items for _, visit in both)
        covered = _union([(visit.resumed_items, visit.last_items) for _, visit in both])
        result.made += made
        if _overlap([visit for _, visit in both]):
            result.made_twice_overlapping += made - covered
        else:
            result.made_twice += made - covered
        if part.keeps_parts:
            result.problems += _not_inherited(shard, both)
    interruptions = sum(1 for attempt in attempts if attempt.end != "completed")
    if result.made_twice > part.batch_items * interruptions:
        result.problems.append(
            f"{result.made_twice} items made twice without an overlap, {interruptions} interruptions of at most "
            f"{part.batch_items} items"
        )
    for attempt in attempts:
        if attempt.end is None and attempt.visits and attempt.name in ends:
            last_append = appends.get(attempt.name, 0.0)
            cut, pace = _cut_off(attempt, ends[attempt.name], last_append)
            result.cut_off[attempt.name] = cut
            # Half a batch for a machine that is slow just then; the second is accounting's, which has no smaller unit.
            if cut > (part.batches_open + 0.5) * part.batch_items + pace:
                result.problems.append(f"{attempt.name}: {cut:.0f} items in the making when it was killed")
    return result


def _not_inherited(shard: tuple[str, int], both: list[tuple[Attempt, Visit]]) -> list[str]:
    """Name each visit that began with less than an earlier attempt had journalled before it looked."""
    problems = []
    published = min((visit.done_at for _, visit in both if visit.done_at), default=float("inf"))
    for attempt, visit in both:
        if visit.began > published:
            continue  # the publisher discards its own log: nothing to inherit, and nothing that would be published
        for other, earlier in both:
            if other is attempt:
                continue
            # What a life of an element adds after its successor took over its file is its own: nobody inherits it.
            taken_over = min((one.looked_at for life, one in both if _succeeds(life, other)), default=float("inf"))
            until = min(visit.looked_at, taken_over)
            there = max((items for time, items in earlier.steps if time < until), default=0)
            if visit.resumed_items < there:
                problems.append(
                    f"shard {shard[0]}/{shard[1]}: {attempt.name} went on from {visit.resumed_items} items, "
                    f"but {other.name} had journalled {there} before"
                )
    return problems


def _succeeds(life: Attempt, other: Attempt) -> bool:
    return life.element == other.element and life.restart > other.restart


def _overlap(visits: list[Visit]) -> bool:
    return any(a.began < b.last_time and b.began < a.last_time for a, b in combinations(visits, 2))


def _union(ranges: list[tuple[int, int]]) -> int:
    total, reached = 0, 0
    for start, stop in sorted(ranges):
        total += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return total


def _cut_off(attempt: Attempt, ended: float, last_append: float) -> tuple[float, float]:
    """Return the items in the making, and the items a second that the attempt made while it worked on shards."""
    worked_s = sum(visit.last_time - visit.began for visit in attempt.visits)
    made = sum(visit.last_items - visit.resumed_items for visit in attempt.visits)
    pace = made / worked_s if worked_s > 0 else 0.0
    since = max(last_append, attempt.visits[-1].last_time)
    return max(0.0, ended - since) * pace, pace
