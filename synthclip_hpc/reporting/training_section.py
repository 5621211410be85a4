"""How training went: the loss, the speed, and what there was to learn from."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from synthclip_hpc.config import RunConfig
from synthclip_hpc.reporting.blocks import Block, Figure, Figures, Plot, Section, Text
from synthclip_hpc.reporting.plots import PALETTE, bin_means, draw, legend, plain_number
from synthclip_hpc.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from synthclip_hpc.training.metrics import MergedMetrics

_POINTS = 400
_SMOOTHED_PARTS = 50


def training_section(run: Run, config: RunConfig) -> Section | None:
    """Return the section; None when no step was done."""
    metrics = _metrics_of(run)
    if metrics is None or not metrics.rows:
        return None
    rows, last = metrics.rows, metrics.rows[-1]
    chance = math.log(config.train.batch_size)
    items = [
        Figure(
            f"{last['loss']:.3f}", "loss of the last step", f"guessing: ln {config.train.batch_size:,} = {chance:.3f}"
        ),
        Figure(f"{last['step']:,}", "steps", f"{config.train.epochs} epochs of batches of {config.train.batch_size:,}"),
        Figure(f"{last['samples']:,}", "samples seen"),
    ]
    speeds = [row["samples_per_s"] for row in metrics.timings]
    if speeds:
        wait = _share_of_waiting(metrics.timings)
        items.append(
            Figure(f"{statistics.median(speeds):,.0f}", "samples a second (median)", f"{wait:.0%} waiting for data")
        )
    blocks: list[Block] = [Figures(tuple(items))]
    if not _is_finished(run):
        blocks.append(Text("Training is not finished: the curves end where it stands.", "caution"))
    blocks.append(_loss_plot(rows, chance))
    if len(speeds) > 1:
        blocks.append(_speed_plot(metrics.timings))
    if metrics.differing:
        blocks.append(
            Text(
                f"{len(metrics.differing):,} steps were done twice with other values to the last digit; the later ones "
                "count. On one kind of CPU there are none; kernels of GPUs do not repeat themselves exactly."
            )
        )
    if metrics.missing:
        blocks.append(Text(f"The metrics of {len(metrics.missing):,} steps are missing.", "caution"))
    return Section("training", "Training", tuple(blocks))


def _metrics_of(run: Run) -> MergedMetrics | None:
    from synthclip_hpc.training import places
    from synthclip_hpc.training.metrics import merged_metrics

    folder = places.metrics_folder(run)
    return merged_metrics(folder) if folder.is_dir() else None


def _is_finished(run: Run) -> bool:
    from sharding.seal import load_seal

    return load_seal(run.phase("train", "fit")) is not None


def _share_of_waiting(timings: list[dict[str, Any]]) -> float:
    waited = math.fsum(row["data_wait_s"] for row in timings)
    return waited / max(1e-12, math.fsum(row["step_s"] for row in timings))


def _loss_plot(rows: list[dict[str, Any]], chance: float) -> Plot:
    steps = [row["step"] for row in rows]
    losses = [row["loss"] for row in rows]

    def paint(axes: Axes) -> None:
        places, means, low, high = bin_means(losses, _POINTS)
        at = [steps[place] for place in places]
        if high != low:
            axes.fill_between(at, low, high, color=PALETTE["c6"], alpha=0.3, linewidth=0, label="range of steps")
        else:
            axes.plot(at, means, color=PALETTE["c6"], linewidth=0.8, alpha=0.6, label="each step")
        smooth_at, smooth, _, _ = bin_means(losses, _SMOOTHED_PARTS)
        axes.plot([steps[one] for one in smooth_at], smooth, color=PALETTE["c1"], linewidth=2.2, label="mean")
        axes.axhline(chance, color=PALETTE["muted"], linestyle=(0, (4, 3)), linewidth=1.2, label="guessing")
        axes.set_xlabel("step")
        axes.set_ylabel("contrastive loss of a batch")
        axes.set_xlim(0, max(steps))
        axes.xaxis.set_major_formatter(plain_number)
        finite = [one for one in losses if math.isfinite(one)]
        if finite:
            low_end, high_end = (
                min(finite),
                max(chance, statistics.quantiles(finite, n=200)[-1] if len(finite) > 1 else 0),
            )
            axes.set_ylim(max(0.0, low_end - 0.08 * (high_end - low_end)), high_end * 1.04)
        legend(axes, 3)

    end = f"{losses[-1]:.3f} after {steps[-1]:,} steps"
    return draw("training-loss", "Loss", f"The loss falls from {losses[0]:.3f} to {end}.", paint)


def _speed_plot(timings: list[dict[str, Any]]) -> Plot:
    rows = sorted(timings, key=lambda row: row["step"])
    speeds = [row["samples_per_s"] for row in rows]
    median = statistics.median(speeds)

    def paint(axes: Axes) -> None:
        places, means, _, _ = bin_means(speeds, _POINTS)
        marker = "o" if len(places) < 60 else None
        axes.plot(
            [rows[one]["step"] for one in places],
            means,
            color=PALETTE["c1"],
            linewidth=1.8,
            marker=marker,
            markersize=3.5,
            label="speed",
        )
        axes.axhline(
            median, color=PALETTE["muted"], linestyle=(0, (4, 3)), linewidth=1.2, label=f"median {median:,.0f}"
        )
        axes.set_ylim(0, 1.12 * max(speeds))
        axes.set_xlim(0, rows[-1]["step"])
        axes.set_xlabel("step")
        axes.set_ylabel("samples a second, all ranks")
        axes.xaxis.set_major_formatter(plain_number)
        legend(axes, 2)

    return draw(
        "training-speed", "Speed", f"Training ran at {median:,.0f} samples a second (median).", paint, size=(8.8, 2.8)
    )
