"""Journals written by hand, and a phase's directory to look at them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sharding.directory import PhaseDirectory

NOW = 1_800_000_000.0


class Journals:
    """Writes journals below a phase's directory; times are given in seconds before or after NOW."""

    def __init__(self, path: Path) -> None:
        self.directory = PhaseDirectory(path)
        self.directory.journals_path.mkdir(parents=True)

    def write(self, attempt: str, *told: tuple[str, float, dict[str, Any]]) -> None:
        """Append (event, time relative to NOW, fields)."""
        with self.directory.journal_path(attempt).open("a") as file:
            for name, at, fields in told:
                file.write(json.dumps({"event": name, "time": NOW + at, **fields}) + "\n")

    def mark(self, *shards: int) -> None:
        for shard in shards:
            path = self.directory.marker_path(shard)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")


def start(attempt: str, at: float, node: str = "n1") -> tuple[str, float, dict[str, Any]]:
    job, index, restart = attempt.split("_")
    fields = {"attempt": attempt, "job": job, "index": int(index), "restart": int(restart), "node": node}
    return ("start", at, {**fields, "submission": "00001-captions", "element": int(index)})


def begun(shard: int, at: float) -> tuple[str, float, dict[str, Any]]:
    return ("shard_start", at, {"shard": shard, "resumed_items": 0})


def progress(shard: int, at: float, items: int, new: int) -> tuple[str, float, dict[str, Any]]:
    return ("progress", at, {"shard": shard, "items": items, "new": new})


def done(shard: int, at: float, items: int = 10, rejected: int = 0, seconds: float = 10.0) -> tuple[Any, ...]:
    counts = {"done": items - rejected, "rejected": rejected, "new": items}
    return ("shard_done", at, {"shard": shard, **counts, "seconds": seconds})


def failed(shard: int, at: float, message: str = "bad") -> tuple[str, float, dict[str, Any]]:
    return ("shard_failed", at, {"shard": shard, "type": "ValueError", "message": message})
