"""What the journals of a phase tell, read on from where the last look ended."""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

from sharding.directory import PhaseDirectory
from sharding.journal import read_events
from sharding.marker import MarkerError, shard_marker
from synthclip_hpc.monitor.clocks import seen_at
from synthclip_hpc.monitor.parts import GpuSample
from synthclip_hpc.monitor.shapes import is_sound
from synthclip_hpc.monitor.story import Story
from synthclip_hpc.monitor.tally import KEPT_S

__all__ = ["PhaseJournals", "ShardCounts", "Story", "Visit"]

WINDOW_S = 300.0
"""The present rate is the mean over so many seconds."""
_SLICE_S = 5.0
"""Items are counted by slices of time: a rate needs no more, and a week must not cost more memory than an hour."""
_TIMES_KEPT = 1000
"""The median time of a shard is that of so many."""
_OVER_READ_EVERY_S = 60.0
"""The journal of an attempt that has ended may still get a last word; it is looked at so often."""


@dataclass(slots=True)
class ShardCounts:
    """Items of one shard, as the journals tell them."""

    done: int
    rejected: int
    at: float = float("-inf")
    """When that was said; a marker does not say."""
    attempt: str = ""
    seconds: float | None = None
    """How long that attempt was at it."""


@dataclass(slots=True)
class Visit:
    """How far one attempt has got with one shard."""

    began: float
    items: int
    error: str = ""
    """Why it gave the shard up; empty as long as it did not."""


@dataclass
class PhaseJournals:
    """All journals of one phase; `refresh` reads only what is new."""

    directory: PhaseDirectory
    stories: dict[str, Story] = field(default_factory=dict)
    finished: dict[int, ShardCounts] = field(default_factory=dict)
    in_progress: dict[int, dict[str, Visit]] = field(default_factory=lambda: defaultdict(dict))
    """Of each shard that is not done, the attempts at it, by name."""
    slices: dict[int, int] = field(default_factory=dict)
    """New items by slice of time, of the last WINDOW_S seconds and somewhat more."""
    times: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES_KEPT))
    """Seconds that the last shards took."""
    changed: set[int] = field(default_factory=set)
    """Shards that were told to be finished at the last refresh."""
    reports: bool = False
    """Whether shards of this phase tell how far they are: some are one step of unknown length."""
    unread: int = 0
    """Torn lines, and events of a shape this version does not know."""
    listeners: dict[str, Callable[[Story, dict[str, Any]], None]] = field(default_factory=dict)
    """Who else wants events, by the event's name."""
    listen: Callable[[str, list[dict[str, Any]]], None] | None = None
    """Who else wants all of them, a journal's new ones at a time: gets the attempt and the events."""
    _offsets: dict[str, int] = field(default_factory=dict)
    _read_at: dict[str, float] = field(default_factory=dict)
    """When the journals of ended attempts were read last."""
    _looked_at: float | None = None

    def refresh(self, marked: set[int], now: float) -> None:
        """Read what has been added; shards with a marker but no event (a lost journal) are read from their marker."""
        self.changed.clear()
        for attempt in self.directory.attempts():
            story = self.stories.setdefault(attempt, Story(attempt))
            if story.is_over and now - self._read_at.get(attempt, float("-inf")) < _OVER_READ_EVERY_S:
                continue
            events, self._offsets[attempt] = read_events(
                self.directory.journal_path(attempt), self._offsets.get(attempt, 0)
            )
            self._read_at[attempt] = now
            if events:
                self._take(attempt, events, now)
                if self.listen is not None:
                    self.listen(attempt, events)
        oldest = int((now - WINDOW_S) // _SLICE_S) - 1
        for one in [one for one in self.slices if one < oldest]:
            del self.slices[one]
        for shard in marked - self.finished.keys():
            try:
                counts = shard_marker(self.directory, shard).counts
            except (MarkerError, FileNotFoundError):
                continue  # not counted: verify names it, and resume does the shard again
            self.finished[shard] = ShardCounts(counts.done, counts.rejected)
            self.changed.add(shard)
        self._looked_at = now

    def _take(self, attempt: str, events: list[dict[str, Any]], now: float) -> None:
        for event in events:
            # A newer version's event: what it says is missing here, the rest is not.
            if not is_sound(event):
                self.unread += 1
                continue
            try:
                self._take_one(attempt, event, now)
            except (KeyError, TypeError, ValueError):
                self.unread += 1
        story = self.stories[attempt]
        story.clock.arrived(story.heard, self._looked_at, now)

    def _take_one(self, attempt: str, event: dict[str, Any], now: float) -> None:
        name, at = event["event"], event.get("time", 0.0)
        if name == "progress":  # nearly all events: the rest is not for them
            self.reports = True
            visit = self.in_progress[event["shard"]].get(attempt)
            if visit is not None:
                visit.items = event["items"]
            elif event["shard"] not in self.finished:  # its `shard_start` was lost
                self._begin(attempt, event["shard"], at, event["items"])
        elif name == "shard_start":
            self._begin(attempt, event["shard"], at, event["resumed_items"])
        elif name == "shard_done":
            self._finish(attempt, event, at)
        else:
            self._take_other(attempt, event, at)
        story = self.stories[attempt]
        new = event.get("new")
        if new:
            seen = seen_at(at, self._looked_at, now)
            story.tally.items += new
            if seen > now - KEPT_S:  # hardly any of what a first look finds
                story.tally.made(seen, new)
                if seen > now - WINDOW_S:
                    self.slices[int(seen // _SLICE_S)] = self.slices.get(int(seen // _SLICE_S), 0) + new
        if at > story.heard:
            story.heard = at

    def _take_other(self, attempt: str, event: dict[str, Any], at: float) -> None:
        name, story = event["event"], self.stories[attempt]
        if name in ("worker_ended", "gave_up") and "element" in event:
            self._worker(attempt, event).tell_from_supervisor(event)
        elif name == "corrupt":
            self.unread += 1
        elif name == "gpu":
            percent, used = float(event["utilisation_percent"]), int(event["memory_bytes"])
            story.tally.gpu.append(GpuSample(at, percent, used, int(event["memory_total_bytes"])))
        else:
            if name == "start":
                self._set_aside(attempt, event)
                story = self.stories[attempt]
            elif name == "shard_failed":
                self._begin(attempt, event["shard"], at, 0, f"{event['type']}: {event['message']}")
            elif name == "shard_taken":
                self.in_progress[event["shard"]].pop(attempt, None)
            story.tell(event)
        story.lost_events = event.get("lost_events", story.lost_events)
        if name in self.listeners:
            self.listeners[name](self.stories[attempt], event)

    def _begin(self, attempt: str, shard: int, at: float, items: int, error: str = "") -> None:
        # Job 10's journals are read before job 9's, so that what was begun before the end may be heard of after it.
        if shard in self.finished and at <= self.finished[shard].at:
            return
        visit = self.in_progress[shard].get(attempt)
        if error and visit is not None:
            visit.error = error  # what it has made so far stays in its partial file
        else:
            self.in_progress[shard][attempt] = Visit(at, items, error)

    def _finish(self, attempt: str, event: dict[str, Any], at: float) -> None:
        shard, seconds = event["shard"], event.get("seconds")
        known = self.finished.get(shard)
        if known is None or at >= known.at:
            self.finished[shard] = ShardCounts(event["done"], event["rejected"], at, attempt, seconds)
            self.changed.add(shard)
        # An older version did not say so: what it adopted brought no items, and had not been begun.
        begun = attempt in self.in_progress.get(shard, ())
        if not event.get("adopted", not event.get("new") and not begun):  # an adopted output took no time
            self.stories[attempt].tally.shards_done += 1
            if seconds is not None:
                self.times.append(float(seconds))
        # Only what was begun after the end is work on a shard that `repair` has reopened.
        later = {name: visit for name, visit in self.in_progress.pop(shard, {}).items() if visit.began > at}
        if later:
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
        return done + self.items_in_progress(marked), rejected

    def items_in_progress(self, marked: Set[int]) -> int:
        """Return the items in partial files of shards without a marker."""
        # The furthest: a new attempt goes on from the longest partial file there is.
        return sum(
            max(visit.items for visit in visits.values())
            for shard, visits in self.in_progress.items()
            if visits and shard not in marked
        )

    def rate(self, now: float, since: float) -> float | None:
        """Return items per second over the window, or since `since` if that is shorter; None when nothing was heard."""
        window = min(WINDOW_S, now - since)
        if window <= 0:
            return None
        made = 0.0
        for number, items in self.slices.items():
            begin = number * _SLICE_S
            if begin >= now - WINDOW_S:
                made += items
            elif begin > now - WINDOW_S - _SLICE_S:
                made += items * (begin + _SLICE_S - (now - WINDOW_S)) / _SLICE_S
        return made / window if made else None
