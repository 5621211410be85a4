"""A synthetic run that goes on: its running elements finish shards and begin others, as fast as wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sharding.canonical import canonical_json
from sharding.deal import deal
from sharding.plan import Plan, load_plan
from synthclip_hpc.run import Run
from tests.benchmarks.synthetic_run import JOB, Shape, marker_of

_STEPS = 4
"""Progress events a shard."""


class Life:
    """Writes what running elements would write; times are given by the caller."""

    def __init__(self, run: Run, shape: Shape) -> None:
        self._directory, self._shape = run.phase("captions", "write"), shape
        plan = load_plan(self._directory)
        assert plan is not None
        self._plan: Plan = plan
        done = shape.num_done // shape.num_elements
        shards = list(range(shape.num_shards))
        self._left = {one: deal(shards, shape.num_elements, one)[done:] for one in range(shape.num_elements)}
        self._next = 0

    @property
    def shards_left(self) -> int:
        return sum(map(len, self._left.values()))

    def finish(self, count: int, now: float, seconds: float = 40.0) -> None:
        """Let the next `count` elements in turn finish the shard they are at, and begin another; `now`: its time."""
        for _ in range(count):
            element = self._next
            self._next = (self._next + 1) % self._shape.num_elements
            if self._left[element]:
                self._finish_one(element, now, seconds)

    def _finish_one(self, element: int, now: float, seconds: float) -> None:
        shard, *after = self._left[element]
        self._left[element] = after
        items = self._shape.shard_items
        part = items // (_STEPS + 1)
        path = self._directory.marker_path(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(canonical_json(marker_of(self._plan, shard).to_json()))
        events: list[dict[str, Any]] = [
            {"event": "progress", "time": now - seconds + step * seconds / 5, "shard": shard, "items": step * part}
            | {"new": part}
            for step in range(1, _STEPS + 1)
        ]
        counts = {"total": items, "done": items, "rejected": 0, "rejects": {}}
        done = {"event": "shard_done", "time": now, "shard": shard, **counts, "size_bytes": 1, "seconds": seconds}
        events.append(done | {"new": items - _STEPS * part})
        if after:
            events.append({"event": "shard_start", "time": now, "shard": after[0], "resumed_items": 0})
        else:
            events.append({"event": "end", "time": now, "reason": "completed"})
        _append(self._directory.journal_path(f"{JOB}_{element}_1"), events)


def _append(path: Path, events: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
