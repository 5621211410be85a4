"""A snapshot as a table for a terminal of any width, or for a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synthclip_hpc.monitor.notes import duration, notes_of, span
from synthclip_hpc.monitor.short import percent_done, short_count, short_rate, short_span
from synthclip_hpc.monitor.snapshot import Snapshot, StageStatus

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

_STYLE = {"done": "green", "running": "cyan", "pending": "yellow", "waiting": "dim", "partial": "magenta"}
_UNLIMITED = 100_000
"""Columns of what is no terminal: no line is broken there."""

_Column = tuple[str, Callable[[StageStatus], str]]
_STAGE: _Column = ("stage", lambda stage: stage.name)
_STATE: _Column = ("state", lambda stage: stage.state)
_SHARDS: _Column = ("shards", lambda stage: f"{short_count(stage.shards_done)}/{short_count(stage.shards_total)}")
_ITEMS: _Column = ("items", lambda stage: f"{short_count(stage.items_done)}/{short_count(stage.items_total)}")
_REJECTED: _Column = ("rejected", lambda stage: short_count(stage.items_rejected))
_RATE: _Column = ("items/s", lambda stage: short_rate(stage.items_per_s))
_ETA: _Column = ("ETA", lambda stage: short_span(stage.eta_now))
_PERCENT: _Column = ("%", percent_done)
_LIVE: _Column = ("live", lambda stage: short_count(stage.running))
_WHOLE: tuple[_Column, ...] = (
    _STAGE,
    _STATE,
    ("shards", lambda stage: f"{stage.shards_done:,}/{stage.shards_total:,}"),
    ("items", lambda stage: f"{stage.items_done:,}/{stage.items_total:,}"),
    ("rejected", lambda stage: f"{stage.items_rejected:,}"),
    ("items/s", lambda stage: f"{stage.items_per_s:,.1f}" if stage.items_per_s is not None else "-"),
    ("ETA", lambda stage: span(stage.eta_now)),
    ("attempts", lambda stage: f"{stage.attempts:,}" + (f" ({stage.running:,} live)" if stage.running else "")),
)
_LAYOUTS: tuple[tuple[int, tuple[_Column, ...]], ...] = (
    (2, _WHOLE),
    (2, (_STAGE, _STATE, _SHARDS, _ITEMS, _REJECTED, _RATE, _ETA, _LIVE)),
    (2, (_STAGE, _STATE, _SHARDS, _ITEMS, _RATE, _ETA, _LIVE)),
    (2, (_STAGE, _STATE, _SHARDS, _RATE, _ETA, _LIVE)),
    (2, (_STAGE, _STATE, _SHARDS, _RATE, _ETA)),
    (2, (_STAGE, _STATE, _SHARDS, _ETA)),
    (2, (_STAGE, _STATE, _PERCENT, _ETA)),
    (1, (_STAGE, _STATE, _PERCENT, _ETA)),
    (1, (_STAGE, _STATE, _PERCENT)),
    (1, (_STAGE, _STATE)),
)
"""Characters between columns, and columns; the widest first.

Where there is no room numbers get short, then columns go, those of least worth before the others.
"""


@dataclass(frozen=True)
class SnapshotTable:
    """What rich prints of a snapshot: as much of the table as there is room for, then alarms and notes in full."""

    snapshot: Snapshot

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield lines; no number of the table is ever cut."""
        from rich.text import Text

        snapshot = self.snapshot
        yield Text(f"run {snapshot.run}")
        yield from _table(snapshot.stages, options.max_width)
        for alarm in snapshot.alarms:
            yield Text(f"{alarm.where}: {alarm.text}", style="bold red")
        for stage in snapshot.stages:
            for line in notes_of(stage, snapshot):
                yield Text(f"{stage.name}: {line}", style="dim")
        yield Text(_freshness(snapshot), style="dim")


def render(snapshot: Snapshot) -> SnapshotTable:
    """Return the rich renderable of a snapshot."""
    return SnapshotTable(snapshot)


def print_snapshot(snapshot: Snapshot) -> None:
    """Print a snapshot; where the output is no terminal no line is broken and no number shortened."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else _UNLIMITED).print(render(snapshot))


def _table(stages: Sequence[StageStatus], width: int) -> Iterator[Text]:
    """Yield the lines of the first layout that fits, of the last one if none does."""
    from rich.text import Text

    for gap, columns in _LAYOUTS:
        rows = [[heading for heading, _ in columns], *([cell(stage) for _, cell in columns] for stage in stages)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        if sum(widths) + gap * (len(widths) - 1) <= width:
            break
    for number, row in enumerate(rows):
        words = [row[0].ljust(widths[0]), row[1].ljust(widths[1]), *map(str.rjust, row[2:], widths[2:])]
        style = _STYLE.get(row[1], "bold red")
        line = Text(" " * gap).join(Text(word, style if at == 1 and number else "") for at, word in enumerate(words))
        line.rstrip()
        line.overflow = "fold"
        if not number:
            line.stylize("bold")
        yield line


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
