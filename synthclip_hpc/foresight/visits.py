"""How long finished work took, from the journals of a phase: busy time apart from start-up, whatever was interrupted.

A visit is one attempt's stay at one shard. It counts the items that this attempt made, and the seconds that it took for
them. So a shard that was preempted half-way gives two visits, and neither the wait between them nor the items that were
copied from the first to the second is in either. Of a stay that was cut short only what lies between its first and its
last word of progress is counted: how far it had got with the next batch, nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sharding.directory import PhaseDirectory
from sharding.journal import read_events


@dataclass(frozen=True)
class Visit:
    """One attempt's work on one shard."""

    shard: int
    submission: str
    items: int
    """Items that this attempt made; above 0."""
    seconds: float
    """Time of one lane of the attempt; above 0."""


@dataclass(frozen=True)
class StartUp:
    """The beginning of one attempt: from its first word to the moment when it could take up a shard."""

    attempt: str
    submission: str
    seconds: float


@dataclass(frozen=True)
class Output:
    """One finished shard's file."""

    shard: int
    items: int
    size_bytes: int


@dataclass
class Work:
    """What the journals of a phase tell of finished work."""

    visits: list[Visit] = field(default_factory=list)
    start_ups: list[StartUp] = field(default_factory=list)
    outputs: dict[int, Output] = field(default_factory=dict)


@dataclass
class _Stay:
    resumed: int
    first: tuple[int, float] | None = None
    """Items and time of the first word of progress."""
    last: tuple[int, float] = (0, 0.0)
    """Of the first word with the most items."""


def work_of(directory: PhaseDirectory, *, is_gang: bool = False) -> Work:
    """Read all journals of a phase. A phase that has none, or no folder, gives no work.

    The items of a gang are epochs, which its attempts tell of as they come to them and go on with from checkpoints:
    only what lies between the first and the last of these words is counted.
    """
    work = Work()
    for attempt in directory.attempts():
        events, _ = read_events(directory.journal_path(attempt))
        _take(work, attempt, events, is_gang)
    return work


def _take(work: Work, attempt: str, events: Iterable[Mapping[str, Any]], is_gang: bool) -> None:
    stays: dict[int, _Stay] = {}
    ended: list[tuple[int, int, float]] = []
    free: dict[int, int] = {}  # items taken over from another run cost next to nothing
    submission = ""
    started: float | None = None
    for event in events:
        name, at = event["event"], float(event.get("time", 0.0))
        try:
            if name == "start":
                if event.get("role", "work") != "work":
                    return  # a supervisor, or the seal job
                submission, started = str(event.get("submission") or ""), at
            elif name == "ready" and started is not None:
                work.start_ups.append(StartUp(attempt, submission, max(0.0, at - started)))
            elif name == "shard_start":
                stays[event["shard"]] = _Stay(int(event["resumed_items"]))
            elif name == "progress" and event["shard"] in stays:
                _progress(stays[event["shard"]], int(event["items"]), at)
            elif name == "reused":
                free[event["shard"]] = int(event["items"])
            elif name == "shard_failed":
                stays.pop(event["shard"], None)
            elif name == "shard_done":
                shard, total = int(event["shard"]), int(event["total"])
                work.outputs[shard] = Output(shard, total, int(event["size_bytes"]))
                stay = stays.pop(shard, None)
                if stay is not None and not is_gang:
                    # The attempt's own clock, which also counts what came before its first word about the shard.
                    ended.append((shard, total - stay.resumed, float(event["seconds"])))
                elif stay is not None:
                    ended.append((shard, *_between_words(stay)))
        except (KeyError, TypeError, ValueError):
            continue  # an event of a newer version: what it says is missing here, the rest is not
    ended += [(shard, *_between_words(stay)) for shard, stay in stays.items()]
    for shard, items, seconds in ended:
        items -= free.get(shard, 0)
        if items > 0 and seconds > 0:
            work.visits.append(Visit(shard, submission, items, seconds))


def _progress(stay: _Stay, items: int, at: float) -> None:
    if stay.first is None:
        stay.first = stay.last = (items, at)
    elif items > stay.last[0]:
        stay.last = (items, at)


def _between_words(stay: _Stay) -> tuple[int, float]:
    if stay.first is None:
        return 0, 0.0
    return stay.last[0] - stay.first[0], stay.last[1] - stay.first[1]
