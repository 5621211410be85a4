"""`wait=true`: look on until nothing of the run is alive any more."""

from __future__ import annotations

import time

from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.monitor.watcher import Watcher
from synthclip_hpc.run import Run
from synthclip_hpc.summaries import summaries

REFRESH_S = 1.0


def follow(run: Run) -> int:
    """Show the run until it has ended, then what its finished phases have to tell; return 0 when all are done, else 1.

    Ctrl-C ends the looking on, not the work.
    """
    from rich.console import Console
    from rich.live import Live

    from synthclip_hpc.monitor.view import render

    console = Console()
    watcher = Watcher(run)
    snapshot = watcher.look()
    try:
        with Live(render(snapshot), console=console, auto_refresh=False, transient=False) as live:
            while snapshot.alive:
                time.sleep(REFRESH_S)
                snapshot = watcher.look()
                live.update(render(snapshot), refresh=True)
        console.print()
    except KeyboardInterrupt:
        console.print()
        console.print(
            f"no longer following; the work goes on. Look again: python -m synthclip_hpc.status run={run.path}"
        )
        return 130
    for line in summaries(run):
        print(line)
    return 0 if is_done(snapshot) else 1


def is_done(snapshot: Snapshot) -> bool:
    """Tell whether every stage of the snapshot is done."""
    return all(stage.state == "done" for stage in snapshot.stages)
