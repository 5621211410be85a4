"""A snapshot as a table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synthclip_hpc.monitor.snapshot import Snapshot, StageStatus

if TYPE_CHECKING:
    from rich.console import Group

_STYLE = {"done": "green", "running": "cyan", "pending": "yellow", "waiting": "dim", "partial": "magenta"}
_CAUSES = ("preemptions", "timeouts", "node_failures", "failures", "requeues", "cancellations", "unknown")


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
            duration(stage.eta_s),
            _attempts(stage),
        )
    notes = [Text(f"{stage.name}: {line}", style="dim") for stage in snapshot.stages for line in _notes(stage)]
    return Group(Text(f"run {snapshot.run}"), table, *notes, Text(_freshness(snapshot), style="dim"))


def duration(seconds: float | None) -> str:
    """Return a time span as people say it, in at most two units."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller:02d}{small_unit}"
    return f"{whole}s"


def _in_number(plural: str, count: int) -> str:
    return plural if count != 1 or plural == "unknown" else plural.removesuffix("s")


def _attempts(stage: StageStatus) -> str:
    return f"{stage.attempts} ({stage.running} live)" if stage.running else str(stage.attempts)


def _notes(stage: StageStatus) -> list[str]:
    counts = {cause: getattr(stage, cause) for cause in _CAUSES}
    ended = [f"{count} {_in_number(cause.replace('_', ' '), count)}" for cause, count in counts.items() if count]
    lines = ["attempts ended early: " + ", ".join(ended)] if ended else []
    # Of an incomplete phase the second line names the first missing shard and why.
    return lines + ([" ".join(line.strip() for line in stage.message.splitlines()[:2])] if stage.message else [])


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
