"""Forecasts in words: two tables, and where their numbers come from. Equal forecasts give equal text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synthclip_hpc.foresight.forecast import CORE_WATTS, Forecast, total
from synthclip_hpc.foresight.pace import Range

FILES_PER_SHARD = 2
FILES_PER_ELEMENT = 6
"""At most: submitit's three, a journal, a log, and one to spare."""
FILES_PER_SUBMISSION = 3 + FILES_PER_ELEMENT

_AMOUNTS = {"items": 12, "shards": 9, "missing": 9, "elements": 10, "waves": 7, "files": 9, "disk": 20}
_COSTS = {"GPU hours": 20, "CPU hours": 20, "wall time": 20, "kWh": 17}
_NAME = 18


def amounts_table(forecasts: Sequence[Forecast]) -> list[str]:
    """Return a line for each phase: how much there is to do, and how it is spread."""
    lines = [f"{'phase':<{_NAME}}" + "".join(f"{name:>{width}}" for name, width in _AMOUNTS.items())]
    for one in forecasts:
        most = "<=" if one.is_later else ""
        plan, shape = one.plan, one.shape
        numbers = (plan.num_items, plan.num_shards, one.missing, shape.elements, shape.waves, num_files(one))
        cells = (*(f"{most}{number:,}" for number in numbers), between(one.size_bytes, size))
        lines.append(_row(one.key, cells, _AMOUNTS))
    return lines


def costs_table(forecasts: Sequence[Forecast]) -> list[str]:
    """Return a line for each phase that has something left to do: what that costs; and their sum."""
    lines = [f"{'what is left:':<{_NAME}}" + "".join(f"{name:>{width}}" for name, width in _COSTS.items())]
    todo = [one for one in forecasts if one.missing]
    for one in todo:
        lines.append(_row(f"{one.key}:", _costs(one.gpu_hours, one.core_hours, one.wall_s, one.kwh), _COSTS))
    sums = [total([getattr(one, name) for one in todo]) for name in ("gpu_hours", "core_hours", "wall_s", "kwh")]
    lines.append(_row("in all:", _costs(*sums), _COSTS))
    return lines


def remarks(forecasts: Sequence[Forecast], gpu_watts: float) -> list[str]:
    """Return what the figures mean."""
    lines = [
        "Wall time is without waiting in queues, preemption and seal jobs, one phase after the other. "
        f"Energy: {gpu_watts:g} W a GPU (slurm.gpu_watts) or {CORE_WATTS:g} W a core, nothing else."
    ]
    if any(one.is_later for one in forecasts):
        lines.append(
            "<= marks the most that it can be: the size is known when what comes before is done, so low ends are 0."
        )
    return lines


def sources(forecasts: Sequence[Forecast]) -> list[str]:
    """Return a line for each phase: its plan, and where the figures come from."""
    return [
        f"{one.key}: {'size not known yet' if one.is_later else f'plan {one.plan.hash[:16]}'}; "
        f"cost from: {one.pace.source}"
        for one in forecasts
    ]


def num_files(one: Forecast) -> int:
    """Return how many files a phase will have at most, what this submission adds included."""
    submission = FILES_PER_SUBMISSION if one.plan.num_shards else 0
    return FILES_PER_SHARD * one.plan.num_shards + FILES_PER_ELEMENT * one.shape.elements + submission


def between(ends: Range, show: Callable[[float], str]) -> str:
    """Return `low - high`, or one figure where both read the same."""
    low, high = map(show, ends)
    return low if low == high else f"{low} - {high}"


def hours(number: float) -> str:
    """Return hours (or kWh) with two digits behind the point up to 100; `<0.01` for less than that."""
    if not number:
        return "0"
    return f"{number:,.0f}" if number >= 100 else f"{number:,.2f}" if number >= 0.01 else "<0.01"


def span(seconds: float) -> str:
    """Return a time span in at most two units."""
    whole = round(seconds)
    for length, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= length:
            return f"{whole // length}{unit} {whole % length // smaller:02d}{small_unit}"
    return f"{whole}s" if whole or not seconds else "<1s"


def size(size_bytes: float) -> str:
    """Return a size in bytes with a decimal unit."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:,.3g} PB"


def _costs(gpu_hours: Range, core_hours: Range, wall_s: Range, kwh: Range) -> tuple[str, ...]:
    amounts = (between(one, hours) if one[1] else "none" for one in (gpu_hours, core_hours))
    return (*amounts, between(wall_s, span), between(kwh, hours))


def _row(name: str, cells: Sequence[str], widths: dict[str, int]) -> str:
    return f"{name:<{_NAME}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths.values(), strict=True))
