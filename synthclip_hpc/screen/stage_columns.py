"""What the overview's table says of a stage, by how much room there is."""

from __future__ import annotations

from collections.abc import Callable

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
_BY_WIDTH: tuple[tuple[int, tuple[Column, ...]], ...] = (
    (
        120,
        (
            *_NAME,
            _SHARDS,
            ("items", lambda stage: f"{stage.items_done:,}/{stage.items_total:,}"),
            ("rejected", lambda stage: f"{stage.items_rejected:,}"),
            _RATE,
            ("overall", lambda stage: _rate(stage.items_per_s_overall)),
            _ETA,
            ("at full", lambda stage: span(stage.eta_full)),
            ("hours", lambda stage: _hours(stage.hours)),
            ("attempts", lambda stage: f"{stage.attempts}" + (f" ({stage.running} live)" if stage.running else "")),
        ),
    ),
    (76, (*_NAME, _SHARDS, _RATE, _ETA)),
    (
        58,
        (
            *_NAME,
            ("shards", lambda stage: f"{short_count(stage.shards_done)}/{short_count(stage.shards_total)}"),
            ("items/s", lambda stage: short_rate(stage.items_per_s)),
            _SHORT_ETA,
        ),
    ),
    (34, (*_NAME, _PERCENT, _SHORT_ETA)),
    (0, (*_NAME, _PERCENT)),
)
"""From how many characters of width on which columns are shown."""


def columns_for(width: int) -> tuple[Column, ...]:
    """Return the columns of a table of so many characters; the heat comes after them."""
    return next(columns for least, columns in _BY_WIDTH if width >= least)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _hours(hours: Hours | None) -> str:
    if hours is None:
        return "-"
    expected = f"/{hours.expected.high:,.1f}" if hours.expected is not None else ""
    return f"{hours.used:,.1f}{expected} {hours.device}"
