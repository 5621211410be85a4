"""Pictures of training: how the loss went down, and how fast training was."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from synthclip_hpc.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_QUIET = "#9aa0a6"
_MAIN = "#0b6e99"
_SECOND = "#c8553d"
_INK = "#30343a"
_MOST_POINTS = 4000
"""More steps than this are drawn as the range and the mean of neighbouring ones."""
_SMOOTHED_PART = 1 / 50


def loss_png(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a PNG (1,600 x 900 pixels): the loss against the step, raw and smoothed, and the learning rate.

    `rows` are metrics by step (`metrics.MergedMetrics.rows`). Smoothed: the mean of the steps around, a fiftieth of
    all of them. Losses that are not finite are left out and counted in the legend. Equal input gives equal bytes with
    the same version of matplotlib. Raises UserError when matplotlib is missing, ValueError without any row.
    """
    if not rows:
        raise ValueError("no steps to draw")
    figure, axes = _new_figure("step", "loss of a batch")
    steps, losses = _column(rows, "step"), _column(rows, "loss")
    finite = np.isfinite(losses)
    label = "loss" if finite.all() else f"loss (not finite: {int((~finite).sum()):,} of {len(rows):,} steps)"
    x, y = steps[finite], losses[finite]
    if len(y):
        _draw_raw(axes, x, y, label)
        smooth = _smoothed(y)
        axes.plot(
            x,
            smooth,
            color=_MAIN,
            linewidth=2.0,
            marker=_marker(x),
            markersize=3,
            label=f"smoothed (last: {smooth[-1]:.4g})",
        )
        # The first steps may be far above the rest and noise far below it: neither sets the scale alone.
        low, high = float(y.min()), float(max(smooth.max(), np.quantile(y, 0.995)))
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)
    rates = axes.twinx()
    rates.plot(steps, _column(rows, "lr"), color=_SECOND, linewidth=1.3, linestyle=(0, (4, 2)), label="learning rate")
    rates.set_ylabel("learning rate", color=_SECOND)
    rates.set_ylim(bottom=0)
    rates.tick_params(colors=_SECOND)
    for side in ("top", "left"):
        rates.spines[side].set_visible(False)
    rates.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3), useMathText=True)
    _finish(figure, axes, steps, f"Loss of {len(rows):,} step{'s' if len(rows) > 1 else ''}")
    return _png(figure)


def throughput_png(timings: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a PNG (1,600 x 900 pixels): samples a second against the step, their median, and the wait for data.

    `timings` are lines about speed (`metrics.MergedMetrics.timings`); of a step with several the last is taken. Errors
    as in `loss_png`.
    """
    if not timings:
        raise ValueError("no timings to draw")
    figure, axes = _new_figure("step", "samples a second, over all ranks")
    by_step = {row["step"]: row for row in timings}
    rows = [by_step[step] for step in sorted(by_step)]
    steps, speeds = _column(rows, "step"), _column(rows, "samples_per_s")
    median = float(np.nanmedian(speeds))
    axes.plot(steps, speeds, color=_MAIN, linewidth=1.6, marker=_marker(steps), markersize=3, label="speed")
    axes.axhline(median, color=_INK, linestyle=(0, (4, 3)), linewidth=1.2, label=f"median {median:,.4g} samples/s")
    axes.set_ylim(0, 1.1 * float(np.nanmax(speeds)) or 1.0)
    waits = 100 * _column(rows, "data_wait_s") / np.maximum(_column(rows, "step_s"), 1e-12)
    parts = axes.twinx()
    parts.fill_between(steps, waits, color=_SECOND, alpha=0.25, linewidth=0, label="waiting for data, % of the time")
    parts.set_ylabel("waiting for data, %", color=_SECOND)
    parts.set_ylim(0, 100)
    parts.tick_params(colors=_SECOND)
    for side in ("top", "left"):
        parts.spines[side].set_visible(False)
    # The curve lies above what is filled.
    axes.set_zorder(2)
    axes.patch.set_visible(False)
    known = [row["mfu"] for row in rows if row.get("mfu") is not None]
    title = "Speed of training" + (f": {100 * float(np.median(known)):.1f}% MFU" if known else "")
    _finish(figure, axes, steps, title)
    return _png(figure)


def _draw_raw(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], label: str) -> None:
    if len(y) <= _MOST_POINTS:
        axes.plot(x, y, color=_QUIET, linewidth=0.8, alpha=0.7, label=label)
        return
    size = math.ceil(len(y) / _MOST_POINTS)
    starts = np.arange(0, len(y), size)
    low, high = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    axes.fill_between(x[starts], low, high, color=_QUIET, alpha=0.5, linewidth=0, label=label)


def _marker(points: NDArray[np.float64]) -> str:
    """Dots where there are few: a single one has no line."""
    return "o" if len(points) < 60 else ""


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over a window around each value; at the ends over what there is of it."""
    half = max(1, int(len(values) * _SMOOTHED_PART / 2))
    sums = np.concatenate(([0.0], np.cumsum(values)))
    places = np.arange(len(values))
    first, stop = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return (sums[stop] - sums[first]) / (stop - first)


def _column(rows: Iterable[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows], dtype=np.float64)


def _new_figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "pictures of training need matplotlib, which is not installed: pip install 'synthclip-hpc[report]'"
        ) from error
    figure = Figure(figsize=(8, 4.5), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.spines["top"].set_visible(False)
    axes.spines["right"].set_visible(False)
    axes.grid(which="major", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK)
    return figure, axes


def _finish(figure: Figure, axes: Axes, steps: NDArray[np.float64], title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(min(0.0, steps.min()), max(steps.max(), 1.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    legend = figure.legend(
        title=title, loc="outside upper left", alignment="left", ncols=3, frameon=False, labelcolor=_INK
    )
    legend.get_title().set(color=_INK, fontweight="bold", fontsize="large")


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
