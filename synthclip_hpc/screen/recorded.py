"""A recording as a feed: the screen without a run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from synthclip_hpc.monitor.parts import ShardRow
from synthclip_hpc.monitor.recording import Frame, Recording
from synthclip_hpc.monitor.shards import CaptionRow
from synthclip_hpc.monitor.snapshot import Snapshot

LINGER_S = 60.0
"""So long the end stays before it begins again."""


class RecordedFeed:
    """Plays a recording, again and again."""

    def __init__(self, recording: Recording, clock: Callable[[], float] = time.monotonic) -> None:
        self._recording, self._clock, self._began = recording, clock, clock()
        self._logs = tempfile.TemporaryDirectory(prefix="synthclip-logs-")

    @property
    def run_path(self) -> Path | None:
        return None

    @property
    def pace_s(self) -> float:
        return self._recording.interval_s

    def look(self) -> Snapshot:
        return self._frame().snapshot

    def shards(self, phase: str) -> Sequence[ShardRow]:
        return self._frame().shards.get(phase, ())

    def captions(self, count: int) -> Sequence[CaptionRow]:
        return self._frame().captions[:count]

    def log(self, stage: str, submission: str, attempt: str) -> Path | None:
        text = self._recording.logs.get(attempt)
        if text is None:
            return None
        path = Path(self._logs.name) / f"{attempt}.log"
        path.write_text(text, encoding="utf-8")
        return path

    def _frame(self) -> Frame:
        frames, interval_s = self._recording.frames, self._recording.interval_s
        at = (self._clock() - self._began) % (len(frames) * interval_s + LINGER_S)
        return frames[min(int(at / interval_s), len(frames) - 1)]
