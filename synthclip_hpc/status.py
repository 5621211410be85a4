"""`python -m synthclip_hpc.status`: what is done, what runs, what failed, and how old each number is."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.errors import UserError, run_command
from synthclip_hpc.run import Run, resolve_run

if TYPE_CHECKING:
    from synthclip_hpc.monitor.snapshot import Snapshot

REFRESH_S = 2.0


@dataclass(frozen=True)
class StatusOptions(RunOptions):
    """Options of `status`."""

    once: bool = False
    """Print one snapshot and end (what happens anyway where the output is no terminal, or one without colours)."""
    json: bool = False
    """Print one snapshot as JSON (schema 1) and end."""
    demo: bool = False
    """Play a recorded run: the screen without a run or a cluster."""


def status(argv: list[str]) -> int:
    """Show the run; return the exit code."""
    options = parse_run_options(StatusOptions, argv, "python -m synthclip_hpc.status", "Show the state of a run.")
    is_once = options.once or options.json or not is_terminal(os.environ)
    if options.demo:
        if options.run is not None:
            raise UserError(f"demo=true run={options.run}: demo plays a recorded run; leave out one of the two")
        return _play(options, is_once)
    if _names_no_run(options) and not options.json:
        from synthclip_hpc.recent import recent_runs

        runs = recent_runs()
        if is_once or not _has_screen():
            if _print_lines(runs):
                return 0
        elif runs:
            from synthclip_hpc.screen.session import choose_run

            chosen = choose_run(runs)
            return chosen if isinstance(chosen, int) else _show(Run(chosen), options, is_once)
    return _show(existing_run(options.run), options, is_once)


def is_terminal(environ: Mapping[str, str]) -> bool:
    """Tell whether there is a terminal with colours to show a screen on."""
    has_colours = environ.get("TERM", "") not in ("", "dumb", "unknown") and not environ.get("NO_COLOR")
    return sys.stdout.isatty() and sys.stdin.isatty() and has_colours


def _names_no_run(options: StatusOptions) -> bool:
    return options.run is None and not os.environ.get("SYNTHCLIP_RUN") and not resolve_run(None).exists()


def _print_lines(runs: Iterable[Path]) -> bool:
    """Print each run that is still there as soon as it was looked at; return whether there was any."""
    from synthclip_hpc.monitor.summary import run_in_a_line

    has_any = False
    for path in runs:
        line = run_in_a_line(Run(path))
        if line is not None:
            print(f"{path}  {line.text}", flush=True)
            has_any = True
    return has_any


def _has_screen() -> bool:
    return importlib.util.find_spec("textual") is not None


def _show(run: Run, options: StatusOptions, is_once: bool) -> int:
    run.load_config()
    from synthclip_hpc.launch.environment import use_latest
    from synthclip_hpc.monitor.watcher import Watcher
    from synthclip_hpc.submissions import all_submissions

    use_latest(all_submissions(run))
    if is_once:
        _print(Watcher(run).look(), options.json)
        return 0
    from synthclip_hpc.recent import remember_run

    remember_run(run.path)
    if not _has_screen():
        return _follow(Watcher(run).look)
    from synthclip_hpc.screen.feed import LiveFeed
    from synthclip_hpc.screen.session import show_run

    return show_run(LiveFeed(run), str(run.path))


def _play(options: StatusOptions, is_once: bool) -> int:
    from synthclip_hpc.monitor.recording import DEMO, load

    recording = load(DEMO)
    if is_once:
        _print(recording.frames[-1].snapshot, options.json)
        return 0
    if not _has_screen():
        frames = iter(recording.frames)
        return _follow(lambda: next(frames, recording.frames[-1]).snapshot)
    from synthclip_hpc.screen.recorded import RecordedFeed
    from synthclip_hpc.screen.session import show_run

    return show_run(RecordedFeed(recording), "a recorded run")


def _print(snapshot: Snapshot, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(snapshot.to_json(), indent=1))
        return
    from synthclip_hpc.monitor.view import print_snapshot

    print_snapshot(snapshot)


def _follow(look: Callable[[], Snapshot]) -> int:
    """Show the table alone, again and again: what there is without the extra `screen`."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from synthclip_hpc.monitor.view import render

    hint = Text("more to see and to press with: pip install 'synthclip-hpc[screen]'", style="dim")
    with Live(Group(render(look()), hint), console=Console(), auto_refresh=False, screen=True) as live:
        try:
            while True:
                time.sleep(REFRESH_S)
                live.update(Group(render(look()), hint), refresh=True)
        except KeyboardInterrupt:
            return 0


def main() -> int:
    """Entry point."""
    return run_command(status)


if __name__ == "__main__":
    sys.exit(main())
