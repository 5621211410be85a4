"""What the journals of a phase tell, read on from where the last look ended."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from sharding.directory import PhaseDirectory
from sharding.journal import read_events
from sharding.marker import MarkerError, read_marker

WINDOW_S = 300.0
"""The present rate is the mean over so many seconds."""


@dataclass
class Story:
    """What one attempt's journal tells."""

    name: str
    job: str = ""
    index: int | str = 0
    restart: int = 0
    role: str = "work"
    node: str = ""
    submission: str = ""
    started: float = 0.0
    heard: float = 0.0
    """Time of the last event."""
    end_reason: str | None = None
    requeue_cause: str | None = None
    failed_shards: int = 0
    message: str = ""

    @property
    def element_id(self) -> str:
        """The Slurm id of the element, as accounting spells it."""
        return f"{self.job}_{self.index}"

    def tell(self, event: dict[str, Any]) -> None:
        """Take in one event about the attempt itself."""
        name = event["event"]
        if name == "start":
            self.job, self.index = str(event.get("job", "")), event.get("index", 0)
            self.restart, self.role = int(event.get("restart", 0)), str(event.get("role", "work"))
            self.node, self.submission = str(event.get("node", "")), str(event.get("submission", ""))
            self.started = float(event["time"])
        elif name == "end":
            self.end_reason = str(event["reason"])
            self.message = str(event.get("message") or self.message)
        elif name == "requeue":
            self.requeue_cause = str(event["cause"])
        elif name == "gave_up":
            self.end_reason = "gave_up"
            self.message = f"interrupted {event['count']} times by {event['cause']}, limit {event['limit']}"
        elif name == "shard_failed":
            self.failed_shards += 1
            self.message = f"shard {event['shard']}: {event['type']}: {event['message']}"


@dataclass
class ShardCounts:
    """Items of one shard, as the journals tell them."""

    done: int
    rejected: int


@dataclass
class PhaseJournals:
    """All journals of one phase; `refresh` reads only what is new."""

    directory: PhaseDirectory
    stories: dict[str, Story] = field(default_factory=dict)
    finished: dict[int, ShardCounts] = field(default_factory=dict)
    in_progress: dict[int, int] = field(default_factory=dict)
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
            self._take(self.stories.setdefault(attempt, Story(attempt)), events, now - WINDOW_S)
        while self.recent and self.recent[0][0] < now - 2 * WINDOW_S:
            self.recent.popleft()
        for shard in marked - self.finished.keys():
            try:
                counts = read_marker(self.directory.marker_path(shard)).counts
            except (MarkerError, FileNotFoundError):
                continue  # not counted: verify names it, and resume does the shard again
            self.finished[shard] = ShardCounts(counts.done, counts.rejected)

    def _take(self, story: Story, events: list[dict[str, Any]], since: float) -> None:
        for event in events:
            try:
                self._take_one(story, event, since)
            except (KeyError, TypeError, ValueError):
                self.not_understood += 1  # a newer version's event: what it says is missing here, the rest is not

    def _take_one(self, story: Story, event: dict[str, Any], since: float) -> None:
        name = event["event"]
        if name == "progress":  # nearly all events: the rest is not for them
            # The furthest, not the last one read: by name, the journals of job 10 come before those of job 9.
            if event["items"] > self.in_progress.get(event["shard"], 0):
                self.in_progress[event["shard"]] = event["items"]
        elif name == "shard_done":
            self.finished[event["shard"]] = ShardCounts(event["done"], event["rejected"])
        elif name == "shard_start":
            self.in_progress[event["shard"]] = max(event["resumed_items"], self.in_progress.get(event["shard"], 0))
        else:
            story.tell(event)
        at = event.get("time", 0.0)
        if at > since and event.get("new"):
            self.recent.append((at, event["new"]))
        if at > story.heard:
            story.heard = at

    def items(self, marked: set[int]) -> tuple[int, int]:
        """Return items done and rejected; a shard without a marker counts what its partial file holds as done."""
        done = sum(self.finished[shard].done for shard in marked if shard in self.finished)
        rejected = sum(self.finished[shard].rejected for shard in marked if shard in self.finished)
        unfinished = sum(items for shard, items in self.in_progress.items() if shard not in marked)
        return done + unfinished, rejected

    def rate(self, now: float, since: float) -> float | None:
        """Return items per second over the window, or since `since` if that is shorter; None when nothing was heard."""
        window = min(WINDOW_S, now - since)
        recent = [new for time, new in self.recent if time > now - window]
        return sum(recent) / window if recent and window > 0 else None
