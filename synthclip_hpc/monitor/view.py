"""A snapshot as a table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synthclip_hpc.monitor.notes import duration, notes_of, span
from synthclip_hpc.monitor.snapshot import Snapshot, StageStatus

if TYPE_CHECKING:
    from rich.console import Group

_STYLE = {"done": "green", "running": "cyan", "pending": "yellow", "waiting": "dim", "partial": "magenta"}


def render(snapshot: Snapshot) -> Group:
    """Return the rich renderable of a snapshot."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True, min_width=8)
    table.add_column("state", no_wrap=True, min_width=7)
    for heading in ("shards", "items", "rejected", "items/s", "ETA", "attempts"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in snapshot.stages:
        table.add_row(
            stage.name,
            Text(stage.state, style=_STYLE.get(stage.state, "bold red")),
            f"{stage.shards_done:,}/{stage.shards_total:,}",
            f"{stage.items_done:,}/{stage.items_total:,}",
            f"{stage.items_rejected:,}",
            f"{stage.items_per_s:,.1f}" if stage.items_per_s is not None else "-",
            span(stage.eta_now),
            _attempts(stage),
        )
    alarms = [Text(f"{alarm.where}: {alarm.text}", style="bold red") for alarm in snapshot.alarms]
    notes = [
        Text(f"{stage.name}: {line}", style="dim") for stage in snapshot.stages for line in notes_of(stage, snapshot)
    ]
    return Group(Text(f"run {snapshot.run}"), table, *alarms, *notes, Text(_freshness(snapshot), style="dim"))


def _attempts(stage: StageStatus) -> str:
    return f"{stage.attempts} ({stage.running} live)" if stage.running else str(stage.attempts)


def _freshness(snapshot: Snapshot) -> str:
    parts = []
    for name, source in snapshot.sources.items():
        if source.error:
            parts.append(f"{name}: {source.error}")
        elif source.age_s is not None:
            parts.append(f"{name}: {duration(source.age_s)} old")
    heard = [stage.heard_age_s for stage in snapshot.stages if stage.heard_age_s is not None]
    if heard and snapshot.alive:
        parts.append(f"last word from a worker: {duration(min(heard))} ago")
    return "; ".join(parts)
