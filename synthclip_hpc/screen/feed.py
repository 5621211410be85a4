"""Where a screen takes its numbers from: a run that is watched, or a recording of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from synthclip_hpc.monitor.lives import Life
from synthclip_hpc.monitor.parts import ShardRow
from synthclip_hpc.monitor.shards import CaptionRow, newest_captions, shard_rows
from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.monitor.story import Story
from synthclip_hpc.monitor.watcher import Watcher
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import all_submissions
from synthclip_hpc.triage.reading import log_path

PATIENCE_S = 1.0
"""So long a look waits for squeue; what comes later is in a later look."""
_ATTEMPT = re.compile(r".+_([^_]+)_\d+")


class Feed(Protocol):
    """What the screen asks, all of it from one thread of its own, never from two."""

    @property
    def run_path(self) -> Path | None:
        """The run directory; None of a recording, to which nothing can be done."""

    @property
    def pace_s(self) -> float:
        """Seconds until the next look."""

    def look(self) -> Snapshot:
        """Take a snapshot. Raises UserError when the run's own records cannot be read."""

    def shards(self, phase: str) -> Sequence[ShardRow]:
        """Return all shards of `stage/phase` as of the last look; none where there is no plan."""

    def captions(self, count: int) -> Sequence[CaptionRow]:
        """Return the newest captions, as of the last look."""

    def log(self, stage: str, submission: str, attempt: str) -> Path | None:
        """Return the log of an attempt's element; None where it has none (work of the command itself)."""


class LiveFeed:
    """A run that is watched while it goes on."""

    def __init__(self, run: Run) -> None:
        self._run, self._watcher = run, Watcher(run, patience_s=PATIENCE_S)
        self._time = 0.0

    @property
    def run_path(self) -> Path | None:
        return self._run.path

    @property
    def pace_s(self) -> float:
        return self._watcher.pace_s

    def look(self) -> Snapshot:
        snapshot = self._watcher.look()
        self._time = snapshot.time
        return snapshot

    def shards(self, phase: str) -> Sequence[ShardRow]:
        try:
            return shard_rows(self._watcher.watch(phase), self._time)
        except KeyError:  # without a plan yet
            return []

    def captions(self, count: int) -> Sequence[CaptionRow]:
        try:
            return newest_captions(self._watcher.watch("captions/write"), count)
        except KeyError:
            return []

    def log(self, stage: str, submission: str, attempt: str) -> Path | None:
        match = _ATTEMPT.fullmatch(attempt)
        if match is None:
            return None
        element = int(match[1]) if match[1].isdigit() else None
        life = Life(Story(attempt, submission=submission), element=element)
        return log_path(self._run, life, all_submissions(self._run))
