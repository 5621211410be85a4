"""What the journals of a phase tell, read on from where the last look ended."""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from sharding.directory import PhaseDirectory
from sharding.journal import read_events
from sharding.marker import MarkerError, read_marker
from synthclip_hpc.monitor.story import Story

__all__ = ["PhaseJournals", "ShardCounts", "Story"]

WINDOW_S = 300.0
"""The present rate is the mean over so many seconds."""


@dataclass
class ShardCounts:
    """Items of one shard, as the journals tell them."""

    done: int
    rejected: int
    at: float = float("-inf")
    """When that was said; a marker does not say."""


@dataclass
class Visit:
    """How far one attempt has got with one shard."""

    began: float
    items: int


@dataclass
class PhaseJournals:
    """All journals of one phase; `refresh` reads only what is new."""

    directory: PhaseDirectory
    stories: dict[str, Story] = field(default_factory=dict)
    finished: dict[int, ShardCounts] = field(default_factory=dict)
    in_progress: dict[int, dict[str, Visit]] = field(default_factory=lambda: defaultdict(dict))
    """Of each shard that is not done, the attempts at it, by name."""
    recent: deque[tuple[float, int]] = field(default_factory=deque)
    """(time, new items) of the last WINDOW_S seconds and somewhat more."""
    not_understood: int = 0
    """Events of a shape this version does not know."""
    _offsets: dict[str, int] = field(default_factory=dict)

    def refresh(self, marked: set[int], now: float) -> None:
        """Read what has been added; shards with a marker but no event (a lost journal) are read from their marker."""
        for attempt in self.directory.attempts():
            events, self._offsets[attempt] = read_events(
                self.directory.journal_path(attempt), self._offsets.get(attempt, 0)
            )
            self.stories.setdefault(attempt, Story(attempt))
            self._take(attempt, events, now - WINDOW_S)
        while self.recent and self.recent[0][0] < now - 2 * WINDOW_S:
            self.recent.popleft()
        for shard in marked - self.finished.keys():
            try:
                counts = read_marker(self.directory.marker_path(shard)).counts
            except (MarkerError, FileNotFoundError):
                continue  # not counted: verify names it, and resume does the shard again
            self.finished[shard] = ShardCounts(counts.done, counts.rejected)

    def _take(self, attempt: str, events: list[dict[str, Any]], since: float) -> None:
        for event in events:
            try:
                self._take_one(attempt, event, since)
            except (KeyError, TypeError, ValueError):
                self.not_understood += 1  # a newer version's event: what it says is missing here, the rest is not

    def _take_one(self, attempt: str, event: dict[str, Any], since: float) -> None:
        name, at = event["event"], event.get("time", 0.0)
        if name == "progress":  # nearly all events: the rest is not for them
            visit = self.in_progress[event["shard"]].get(attempt)
            if visit is not None:
                visit.items = event["items"]
            elif event["shard"] not in self.finished:  # its `shard_start` was lost
                self._begin(attempt, event["shard"], at, event["items"])
        elif name == "shard_start":
            self._begin(attempt, event["shard"], at, event["resumed_items"])
        elif name == "shard_done":
            self._finish(event["shard"], ShardCounts(event["done"], event["rejected"], at))
        elif name in ("worker_ended", "gave_up") and "element" in event:
            self._worker(attempt, event).tell_from_supervisor(event)
        else:
            if name == "start":
                self._set_aside(attempt, event)
            self.stories[attempt].tell(event)
        if at > since and event.get("new"):
            self.recent.append((at, event["new"]))
        story = self.stories[attempt]
        if at > story.heard:
            story.heard = at

    def _begin(self, attempt: str, shard: int, at: float, items: int) -> None:
        # Job 10's journals are read before job 9's, so that what was begun before the end may be heard of after it.
        if shard not in self.finished or at > self.finished[shard].at:
            self.in_progress[shard][attempt] = Visit(at, items)

    def _finish(self, shard: int, counts: ShardCounts) -> None:
        known = self.finished.get(shard)
        if known is None or counts.at >= known.at:
            self.finished[shard] = counts
        # Only what was begun after the end is work on a shard that `repair` has reopened.
        later = {name: visit for name, visit in self.in_progress[shard].items() if visit.began > counts.at}
        self.in_progress[shard] = later

    def _worker(self, supervisor: str, event: dict[str, Any]) -> Story:
        restart = event["restart"] if "restart" in event else event["count"] - 1
        name = f"{self.stories[supervisor].job}_{event['element']}_{restart}"
        return self.stories.setdefault(name, Story(name))

    def _set_aside(self, attempt: str, start: dict[str, Any]) -> None:
        """Keep the earlier life of a journal that another one with the same name has continued."""
        story = self.stories[attempt]
        if story.started and story.role == "work":
            name = f"{attempt} before {start['time']}"
            self.stories[name] = dataclasses.replace(story, name=name, superseded=True)
            self.stories[attempt] = Story(attempt)

    def items(self, marked: set[int]) -> tuple[int, int]:
        """Return items done and rejected; a shard without a marker counts what its partial file holds as done."""
        done = sum(self.finished[shard].done for shard in marked if shard in self.finished)
        rejected = sum(self.finished[shard].rejected for shard in marked if shard in self.finished)
        for shard, visits in self.in_progress.items():
            if shard not in marked and visits:
                # The furthest: a new attempt goes on from the longest partial file there is.
                done += max(visit.items for visit in visits.values())
        return done, rejected

    def rate(self, now: float, since: float) -> float | None:
        """Return items per second over the window, or since `since` if that is shorter; None when nothing was heard."""
        window = min(WINDOW_S, now - since)
        recent = [new for time, new in self.recent if time > now - window]
        return sum(recent) / window if recent and window > 0 else None
