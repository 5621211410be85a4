"""The line above the views: what is wrong, whether the screen looks, and how old its numbers are."""

from __future__ import annotations

from rich.text import Text

from synthclip_hpc.monitor.notes import duration
from synthclip_hpc.monitor.snapshot import Snapshot

_SLOW_S = 3.0
"""A look that takes longer is told of."""


def head_text(title: str, snapshot: Snapshot | None, *, since_s: float, error: str, paused: str, busy_s: float) -> Text:
    """Return the line. `since_s`: seconds since the snapshot was taken; `busy_s`: how long the present look takes."""
    text = Text(f" {title} ", style="bold")
    if error:
        text.append(f" {error} ", "bold red")
    if paused:
        text.append(f" {paused} ", "reverse")
    elif busy_s > _SLOW_S:
        text.append(f" looking for {duration(busy_s)} ", "reverse")
    text.append(_ages(snapshot, since_s), "dim")
    return text


def _ages(snapshot: Snapshot | None, since_s: float) -> str:
    if snapshot is None:
        return " first look …"
    parts = []
    for name, source in snapshot.sources.items():
        if source.error:
            parts.append(f"{name}: {source.error}")
        elif source.age_s is not None:
            parts.append(f"{name} {duration(source.age_s + since_s)} old")
    alive = "alive" if snapshot.alive else "nothing alive"
    return f" {alive} · " + " · ".join(parts)
