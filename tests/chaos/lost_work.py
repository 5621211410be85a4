"""How much work the faults cost: nothing in a partial file may be made again, except where attempts overlap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

from tests.chaos.journals import Attempt, Visit
from tests.chaos.scenario import Scenario


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
    """Attempt that was killed -> items it must have had in the making, estimated from its speed."""
    problems: list[str] = field(default_factory=list)


def account(attempts: list[Attempt], scenario: Scenario, ends: Mapping[str, float]) -> LostWork:
    """Go through all visits. `ends`: when each attempt that was killed had ended (seconds since 1970)."""
    result = LostWork()
    visits: dict[int, list[tuple[Attempt, Visit]]] = defaultdict(list)
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
        result.problems += _not_inherited(shard, both)
    interruptions = sum(1 for attempt in attempts if attempt.end != "completed")
    if result.made_twice > scenario.batch_items * interruptions:
        result.problems.append(
            f"{result.made_twice} items made twice without an overlap, {interruptions} interruptions of at most "
            f"{scenario.batch_items} items"
        )
    for attempt in attempts:
        if attempt.end is None and attempt.visits and attempt.name in ends:
            result.cut_off[attempt.name] = _cut_off(attempt, ends[attempt.name], scenario)
    return result


def _not_inherited(shard: int, both: list[tuple[Attempt, Visit]]) -> list[str]:
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
                    f"shard {shard}: {attempt.name} went on from {visit.resumed_items} items, "
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


def _cut_off(attempt: Attempt, ended: float, scenario: Scenario) -> float:
    last = attempt.visits[-1]
    paces = [
        (items - before) / (time - began)
        for visit in attempt.visits
        for (began, before), (time, items) in zip(
            [(visit.began, visit.resumed_items), *visit.steps], visit.steps, strict=False
        )
        if time > began and items > before
    ]
    pace = max(paces, default=0.0)
    return min(float(scenario.batch_items), max(0.0, ended - last.last_time) * pace)
