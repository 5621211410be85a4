"""`python -m synthclip_hpc.status`: what is done, what runs, what failed, and how old each number is."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.errors import run_command

REFRESH_S = 2.0


@dataclass(frozen=True)
class StatusOptions(RunOptions):
    """Options of `status`."""

    once: bool = False
    """Print one snapshot and end (what happens anyway when the output is no terminal)."""
    json: bool = False
    """Print one snapshot as JSON (schema 1) and end."""


def status(argv: list[str]) -> int:
    """Show the run; return the exit code."""
    options = parse_run_options(StatusOptions, argv, "python -m synthclip_hpc.status", "Show the state of a run.")
    run = existing_run(options.run)
    run.load_config()
    from synthclip_hpc.launch.environment import use_latest
    from synthclip_hpc.monitor.watcher import Watcher
    from synthclip_hpc.submissions import all_submissions

    use_latest(all_submissions(run))
    watcher = Watcher(run)
    snapshot = watcher.look()
    if options.json:
        import json

        print(json.dumps(snapshot.to_json(), indent=1))
        return 0
    from rich.console import Console

    from synthclip_hpc.monitor.view import render

    console = Console()
    if options.once or not sys.stdout.isatty():
        console.print(render(snapshot))
        return 0
    from rich.live import Live

    with Live(render(snapshot), console=console, auto_refresh=False, screen=True) as live:
        try:
            while True:
                time.sleep(REFRESH_S)
                live.update(render(watcher.look()), refresh=True)
        except KeyboardInterrupt:
            return 0


def main() -> int:
    """Entry point."""
    return run_command(status)


if __name__ == "__main__":
    sys.exit(main())
