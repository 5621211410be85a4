"""On a real Slurm: a bad node is excluded from the screen, what it spoiled is resubmitted, and the run completes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual")

from textual.pilot import Pilot

from slurm.onemachine import Lab
from synthclip_hpc.screen.app import RunScreen
from synthclip_hpc.screen.dialogs import Question, TextDialog
from synthclip_hpc.screen.feed import LiveFeed
from synthclip_hpc.screen.tables import KeyedTable
from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.faulty_cluster import cure, submit_faulty
from tests.synthclip_hpc.screen_pilot import captions_phase, drive, rows_of


@pytest.mark.slurm
def test_a_node_is_excluded_and_its_shards_are_resubmitted_from_the_screen(
    slurm_lab: Lab, app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert submit_faulty(slurm_lab, app, tmp_path, monkeypatch).code == 1
    screen = RunScreen(LiveFeed(app.run), "a run")
    seen: list[list[str]] = []
    still_open: list[int] = []

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("3")
        await eventually(pilot, lambda: len(rows_of(pilot, "#groups")) == 2)
        seen.extend(rows_of(pilot, "#groups"))
        [node] = [row[0] for row in seen if row[3] == "RuntimeError"]
        screen.query_one("#groups", KeyedTable).select(node)
        before = shards_done(screen)
        await act(pilot, "x", f"resume only=group:{node} exclude=n2")
        # An element gives up after some failures in a row, so that not all it was given is of the group.
        await eventually(pilot, lambda: shards_done(screen) > before and not is_alive(screen))
        still_open.extend(row.shard for row in screen.feed.shards("captions/write") if row.state != "done")
        cure(tmp_path, "node", "shards")
        await pilot.press("1")
        await act(pilot, "r", "resume")
        await eventually(pilot, lambda: shards_done(screen) == 40)

    drive(screen, script)
    assert {row[3]: row[4] for row in seen}["RuntimeError"] == "node n2"
    assert {row[3]: row[4] for row in seen}["ValueError"] == "neither"  # tried once
    assert {4, 5} & set(still_open) and len(still_open) < 10
    assert [one.outcome.code for one in screen.actions if one.outcome is not None] == [0, 0]


def shards_done(screen: RunScreen) -> int:
    assert screen.snapshot is not None
    return captions_phase(screen.snapshot).shards_done


def is_alive(screen: RunScreen) -> bool:
    assert screen.snapshot is not None
    return screen.snapshot.alive


async def act(pilot: Pilot[Any], key: str, words: str) -> None:
    """Press a key, say yes to the command, and close what it said."""
    await pilot.press(key)
    await eventually(pilot, lambda: isinstance(pilot.app.screen, Question))
    assert f"synthclip_hpc.{words} run=" in pilot.app.screen.command
    await pilot.press("y")
    await eventually(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
    await pilot.press("escape")


async def eventually(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Wait for what jobs do."""
    for _ in range(1200):
        if condition():
            return
        await pilot.pause(0.1)
    raise AssertionError("waited in vain")
