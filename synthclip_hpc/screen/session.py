"""From a terminal into the screen and out again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthclip_hpc.monitor.summary import run_in_a_line
from synthclip_hpc.run import Run
from synthclip_hpc.screen.app import RunScreen
from synthclip_hpc.screen.feed import Feed
from synthclip_hpc.screen.recent import RecentScreen


def show_run(feed: Feed, title: str) -> int:
    """Show a run until the user leaves; then print what became of its commands, and return the exit code."""
    screen = RunScreen(feed, title)
    code = screen.run()
    for action in screen.actions:
        print(action.told())
    return screen.return_code or code or 0


def choose_run(runs: Sequence[Path]) -> Path | int:
    """Show the recent runs and return the one that the user takes, else the exit code."""
    screen = RecentScreen(runs, lambda path: run_in_a_line(Run(path)))
    return screen.run() or screen.return_code or 0
