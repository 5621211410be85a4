"""The journals of a run, read by the harness with its own eyes: what each attempt did to each shard, and when."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Visit:
    """One attempt's work on one shard."""

    shard: tuple[str, int]
    """Phase and number."""
    looked_at: float
    """Time of the event before: the attempt read what others had left after that moment."""
    began: float
    resumed_items: int
    steps: list[tuple[float, int]] = field(default_factory=list)
    """(time, items in its partial file)."""
    done_at: float | None = None

    @property
    def last_items(self) -> int:
        return self.steps[-1][1] if self.steps else self.resumed_items

    @property
    def last_time(self) -> float:
        return self.done_at or (self.steps[-1][0] if self.steps else self.began)


@dataclass
class Attempt:
    """One journal of a worker."""

    name: str
    start: dict[str, Any]
    visits: list[Visit]
    last_event: float
    end: str | None
    """Reason of its `end` event; None when it was killed."""
    requeued_for: str | None
    refused: bool
    """It never worked: its element had been interrupted too often."""
    errors: list[str]

    @property
    def element(self) -> str:
        return self.name.rpartition("_")[0]

    @property
    def restart(self) -> int:
        return int(self.name.rpartition("_")[2])


def read_attempts(run: Path, stage: str) -> list[Attempt]:
    """All worker attempts of a stage, in order of their start; journals of seals and supervisors are left out."""
    found = []
    for path in (run / stage).glob("*/journals/*.jsonl"):
        events = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        start = next((event for event in events if event["event"] == "start"), None)
        if start is not None and "role" not in start:
            found.append(_attempt(path.stem, path.parent.parent.name, start, events))
    return sorted(found, key=lambda attempt: attempt.start["time"])


def _attempt(name: str, phase: str, start: dict[str, Any], events: list[dict[str, Any]]) -> Attempt:
    attempt = Attempt(name, start, [], events[-1]["time"], None, None, False, [])
    before = start["time"]
    for event in events:
        kind = event["event"]
        if kind == "shard_start":
            attempt.visits.append(Visit((phase, event["shard"]), before, event["time"], event["resumed_items"]))
        elif kind == "progress":
            attempt.visits[-1].steps.append((event["time"], event["items"]))
        elif kind == "shard_done" and attempt.visits and attempt.visits[-1].shard == (phase, event["shard"]):
            attempt.visits[-1].steps.append((event["time"], event["total"]))
            attempt.visits[-1].done_at = event["time"]
        elif kind == "end":
            attempt.end = event["reason"]
        elif kind == "requeue":
            attempt.requeued_for = event["cause"]
        elif kind == "gave_up":
            attempt.refused = True
        elif kind in ("shard_failed", "corrupt"):
            attempt.errors.append(json.dumps(event)[:600])
        before = event.get("time", before)
    return attempt
