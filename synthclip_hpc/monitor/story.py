"""The story of one life of an element, as its journal tells it and, for local workers, their supervisor's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from synthclip_hpc.monitor.clocks import NodeClock
from synthclip_hpc.monitor.tally import Tally

_NAME = re.compile(r"(.+)_([^_]+)_(\d+)")


@dataclass
class Story:
    """What is known of one attempt. Job, index and restart follow from its name where a `start` event was lost."""

    name: str
    job: str = ""
    index: int | str = 0
    restart: int = 0
    role: str = "work"
    node: str = ""
    submission: str = ""
    started: float = 0.0
    """0 when no `start` event was found (a full disk, or an attempt that gave up before it began)."""
    heard: float = 0.0
    """Time of the last event."""
    end_reason: str | None = None
    requeue_cause: str | None = None
    exit_code: int | None = None
    """How a local worker ended, as its supervisor saw it; negative for a signal, None while it runs."""
    gave_up: bool = False
    """Whether its element was interrupted too often and is not started again."""
    superseded: bool = False
    """Whether another life goes on in the same journal: job ids that repeat give the same name."""
    num_missing: int | None = None
    """Of a seal job: how many shards it found not to be done; None where it did not say."""
    failed_shards: int = 0
    message: str = ""
    ended: float = 0.0
    """When it said that it ends, or was seen to have ended; 0 when nobody told."""
    ready_s: float | None = None
    """From its start until it could begin with the first shard."""
    trains_since: float = 0.0
    """When a training first told of its steps: its ranks start, meet and load long after it was ready; 0 before."""
    tally: Tally = field(default_factory=Tally)
    clock: NodeClock = field(default_factory=NodeClock)
    lost_events: int = 0
    """Events that it could not write (a full disk)."""

    def __post_init__(self) -> None:
        match = _NAME.fullmatch(self.name)
        if match and not self.job:
            self.job, self.restart = match[1], int(match[3])
            self.index = int(match[2]) if match[2].isdigit() else match[2]
            self.role = "seal" if match[2] == "seal" else self.role

    @property
    def element_id(self) -> str:
        """The Slurm id of the element, as accounting spells it."""
        return f"{self.job}_{self.index}"

    def silent_s(self, now: float) -> float:
        """Return the seconds since it was heard of last, by the clock of whoever looks; never negative."""
        return self.clock.age(self.heard, now)

    @property
    def is_over(self) -> bool:
        """Whether it is known to have ended."""
        return self.end_reason is not None or self.exit_code is not None or self.superseded

    def tell(self, event: dict[str, Any]) -> None:
        """Take in one event about the attempt itself."""
        name = event["event"]
        if name == "start":
            self.job, self.index = str(event.get("job", self.job)), event.get("index", self.index)
            self.restart, self.role = int(event.get("restart", self.restart)), str(event.get("role", "work"))
            self.node, self.submission = str(event.get("node", "")), str(event.get("submission", ""))
            self.started = float(event["time"])
        elif name == "ready":
            self.ready_s = max(0.0, float(event["time"]) - self.started) if self.started else None
        elif name == "training":
            self.trains_since = self.trains_since or float(event["time"])
        elif name == "end":
            self.end_reason, self.ended = str(event["reason"]), float(event.get("time", 0.0))
            self.message = str(event.get("message") or self.message)
            self.num_missing = event.get("num_missing")
        elif name == "requeue":
            self.requeue_cause = str(event["cause"])
        elif name == "gave_up":
            self.end_reason, self.gave_up = "gave_up", True
            self.message = f"interrupted {event['count']} times by {event['cause']}, limit {event['limit']}"
        elif name == "shard_failed":
            self.failed_shards += 1
            self.message = f"shard {event['shard']}: {event['type']}: {event['message']}"

    def tell_from_supervisor(self, event: dict[str, Any]) -> None:
        """Take in what the supervisor says of this worker, `worker_ended` or `gave_up`."""
        if event["event"] == "worker_ended":
            self.exit_code = int(event["exit_code"])
            self.ended = self.ended or float(event["time"])
        else:
            self.gave_up = True
            self.message = f"interrupted {event['count']} times by {event['cause']}, limit {event['limit']}"
        self.heard = max(self.heard, float(event["time"]))
