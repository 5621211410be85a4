"""What drives the screen without a terminal: a feed whose numbers a test sets, and waiting for what threads find."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

from synthclip_hpc.monitor.blame import Verdict
from synthclip_hpc.monitor.parts import AttemptStatus, ShardRow, Straggler
from synthclip_hpc.monitor.recording import DEMO, Frame, load
from synthclip_hpc.monitor.shards import CaptionRow
from synthclip_hpc.monitor.snapshot import PhaseStatus, Snapshot
from synthclip_hpc.screen.app import RunScreen
from synthclip_hpc.screen.tables import KeyedTable

PATIENCE = 2000
"""So many looks at a condition before it is taken for false."""
SIZES = ((80, 24), (160, 48), (20, 10))


@functools.cache
def _last_frame() -> Frame:
    return load(DEMO).frames[-1]


class SetFeed:
    """Shows the recorded run's last frame, or what a test puts in its place."""

    def __init__(self, run_path: Path | None = None) -> None:
        self.run_path = run_path
        self.pace_s = 1000.0
        self.frame = _last_frame()
        self.logs: dict[str, Path] = {}
        self.looks = 0
        self.before_look: Callable[[], object] = lambda: None

    @property
    def snapshot(self) -> Snapshot:
        return self.frame.snapshot

    def set(self, **changes: Any) -> None:
        """Change the next snapshot."""
        self.frame = dataclasses.replace(self.frame, snapshot=dataclasses.replace(self.snapshot, **changes))

    def set_phase(self, key: str, **changes: Any) -> None:
        """Change a phase, by `stage/phase`, in the next snapshot."""
        stages = []
        for stage in self.snapshot.stages:
            known = [
                dataclasses.replace(one, **changes) if f"{stage.name}/{one.name}" == key else one
                for one in stage.phases
            ]
            stages.append(dataclasses.replace(stage, phases=tuple(known)))
        self.set(stages=tuple(stages))

    def look(self) -> Snapshot:
        self.looks += 1
        self.before_look()
        return self.snapshot

    def shards(self, phase: str) -> Sequence[ShardRow]:
        return self.frame.shards.get(phase, ())

    def captions(self, count: int) -> Sequence[CaptionRow]:
        return self.frame.captions[:count]

    def log(self, stage: str, submission: str, attempt: str) -> Path | None:
        return self.logs.get(attempt)


def drive(app: App[Any], script: Callable[[Pilot[Any]], Awaitable[None]], size: tuple[int, int] = (80, 24)) -> None:
    """Run a script of keys on an app without a terminal."""

    async def main() -> None:
        async with app.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: getattr(app, "snapshot", True) is not None)
            await pilot.pause()
            await script(pilot)

    asyncio.run(main())


async def until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Wait for what a thread brings; AssertionError when it does not come."""
    for _ in range(PATIENCE):
        if condition():
            return
        await pilot.pause(0.005)
    raise AssertionError("waited in vain")


async def look_again(pilot: Pilot[Any], feed: SetFeed) -> None:
    """Let the screen look once more, and wait until it shows what it saw."""
    app = pilot.app
    await pilot.press("u")
    await until(pilot, lambda: app.snapshot is feed.snapshot)
    await pilot.pause()


def screen(feed: Any) -> RunScreen:
    return RunScreen(feed, "a run")


def text_of(pilot: Pilot[Any], selector: str) -> str:
    """Return what a Static shows."""
    return str(pilot.app.query_one(selector, Static).content)


def rows_of(pilot: Pilot[Any], selector: str) -> list[list[str]]:
    """Return what a table shows, row by row."""
    table = pilot.app.query_one(selector, KeyedTable)
    return [[str(cell) for cell in table.get_row(row.key)] for row in table.ordered_rows]


def captions_phase(snapshot: Snapshot) -> PhaseStatus:
    [phase] = [phase for stage in snapshot.stages if stage.name == "captions" for phase in stage.phases]
    return phase


def attempt(name: str, **changes: Any) -> AttemptStatus:
    """Return an attempt that runs on n1."""
    known = AttemptStatus(
        name=name,
        submission="00001-captions",
        element=int(name.split("_")[1]),
        restart=0,
        node="n1",
        state="running",
        cause="",
        message="",
        started=1000.0,
        ended=None,
        shards_done=2,
        shards_failed=0,
        items=200,
        items_per_s=4.0,
        heard_age_s=1.0,
        shards_now=(7,),
        throughput=(1.0, 4.0),
        gpu=(),
        ready_s=1.0,
    )
    return dataclasses.replace(known, **changes)


def straggler(shard: int, **changes: Any) -> Straggler:
    known = Straggler(shard, "9_0_0", "n1", 600.0, 8.0, 3.0, "slow")
    return dataclasses.replace(known, **changes)


def on_a_node(feed: SetFeed, *nodes: str) -> None:
    """Let the first group of failures follow nodes."""
    first, *others = feed.snapshot.failures
    verdict = Verdict("node", nodes, "on these all tries failed")
    feed.set(failures=(dataclasses.replace(first, verdict=verdict), *others))
