"""What the overview's table says of a stage, by how much room there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from synthclip_hpc.monitor.notes import span
from synthclip_hpc.monitor.parts import Hours
from synthclip_hpc.monitor.short import percent_done, short_count, short_rate, short_span
from synthclip_hpc.monitor.snapshot import StageStatus
from synthclip_hpc.screen.pictures import state_text

Column = tuple[str, Callable[[StageStatus], str | Text]]

_NAME: tuple[Column, ...] = (("stage", lambda stage: stage.name), ("state", lambda stage: state_text(stage.state)))
_SHARDS: Column = ("shards", lambda stage: f"{stage.shards_done:,}/{stage.shards_total:,}")
_PERCENT: Column = ("%", percent_done)
_RATE: Column = ("items/s", lambda stage: _rate(stage.items_per_s))
_ETA: Column = ("ETA", lambda stage: span(stage.eta_now))
_SHORT_ETA: Column = ("ETA", lambda stage: short_span(stage.eta_now))
_ITEMS: Column = ("items", lambda stage: f"{stage.items_done:,}/{stage.items_total:,}")
_REJECTED: Column = ("rejected", lambda stage: f"{stage.items_rejected:,}")
_HOURS: Column = ("hours", lambda stage: _hours(stage.hours))
_ATTEMPTS: Column = (
    "attempts",
    lambda stage: f"{stage.attempts}" + (f" ({stage.running} live)" if stage.running else ""),
)
_LONGEST_FIRST: tuple[tuple[Column, ...], ...] = (
    (
        *_NAME,
        _SHARDS,
        _ITEMS,
        _REJECTED,
        _RATE,
        ("overall", lambda stage: _rate(stage.items_per_s_overall)),
        _ETA,
        ("at full", lambda stage: span(stage.eta_full)),
        _HOURS,
        _ATTEMPTS,
    ),
    (*_NAME, _SHARDS, _ITEMS, _REJECTED, _RATE, _ETA, _HOURS, _ATTEMPTS),
    (*_NAME, _SHARDS, _RATE, _ETA),
    (
        *_NAME,
        ("shards", lambda stage: f"{short_count(stage.shards_done)}/{short_count(stage.shards_total)}"),
        ("items/s", lambda stage: short_rate(stage.items_per_s)),
        _SHORT_ETA,
    ),
    (*_NAME, _PERCENT, _SHORT_ETA),
    (*_NAME, _PERCENT),
)
_LEAST_HEAT = 4
_PADDING, _SCROLLBAR = 2, 2


@dataclass(frozen=True)
class Fitted:
    """What a table of stages shows besides the heat, which comes last."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str | Text, ...], ...]
    """A row a stage, a cell a heading."""
    heat_width: int
    """Characters that are left for the heat, 4 or more."""


def fit_columns(stages: Sequence[StageStatus], width: int) -> Fitted:
    """Return the most columns that fit a table of `width` characters by what these stages have to say."""
    for columns in _LONGEST_FIRST:
        headings = tuple(heading for heading, _ in columns)
        rows = tuple(tuple(cell(stage) for _, cell in columns) for stage in stages)
        widths = [max([len(name), *(len(row[i]) for row in rows)]) for i, name in enumerate(headings)]
        left = width - sum(widths) - _PADDING * (len(widths) + 1) - _SCROLLBAR
        if left >= _LEAST_HEAT:
            break
    # Nothing fits: the last and shortest.
    return Fitted(headings, rows, max(_LEAST_HEAT, left))


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _hours(hours: Hours | None) -> str:
    if hours is None:
        return "-"
    expected = f"/{hours.expected.high:,.1f}" if hours.expected is not None else ""
    return f"{hours.used:,.1f}{expected} {hours.device}"
