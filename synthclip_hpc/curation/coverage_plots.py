"""Pictures of coverage: how many concepts have which count, before balancing and after."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from synthclip_hpc.curation.coverage import CountBin, Coverage
from synthclip_hpc.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#9aa0a6", "#0b6e99", "#c8553d", "#5b8c5a")
"""The first is for the set the others are compared with: a filled, quiet background to their lines."""
_INK = "#30343a"
_LOWEST = 0.7
"""Below one concept, the smallest number that a bin can show."""


def count_histogram_png(sets: Mapping[str, Coverage], threshold: float | None = None) -> bytes:
    """Return a PNG (1,600 x 1,000 pixels): concepts by their count, both axes logarithmic, a curve a set.

    `sets` maps a name for the legend, such as `before` and `after`, to at most four sets of captions over one bank;
    `threshold` marks balancing's t. Concepts that are not seen at all are told in the legend, as a logarithmic axis has
    no zero. Equal input gives equal bytes with the same version of matplotlib.

    Raises UserError when matplotlib is not installed, ValueError without sets or with more than four.
    """
    if not 1 <= len(sets) <= len(_COLOURS):
        raise ValueError(f"a picture holds 1 to {len(_COLOURS)} sets, got {len(sets)}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "pictures of coverage need matplotlib, which is not installed: pip install 'synthclip-hpc[report]'"
        ) from error
    figure = Figure(figsize=(8, 5), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _dress(axes)
    ends = [1.0, 2.0]
    for place, (name, coverage) in enumerate(sets.items()):
        # A set in which nothing is seen has a place in the legend, and a curve below the edge.
        bins = [one for one in coverage.count_histogram if one.first > 0] or [CountBin(1, 1, 0)]
        edges = [*(one.first for one in bins), bins[-1].last + 1]
        numbers = [max(one.concepts, _LOWEST / 2) for one in bins]
        seen = f"{coverage.seen[1]:,} of {coverage.concepts:,} concepts"
        style: dict[str, Any] = {"fill": True, "alpha": 0.45} if place == 0 else {"linewidth": 2.2}
        style["label"] = f"{name}: {seen} in {coverage.captions:,} captions"
        axes.stairs(numbers, edges, baseline=_LOWEST / 2, color=_COLOURS[place], **style)
        ends.append(edges[-1])
    if threshold is not None:
        label = f"threshold t = {threshold:,.0f}" if threshold >= 1000 else f"threshold t = {threshold:.4g}"
        axes.axvline(threshold, color=_INK, linestyle=(0, (4, 3)), linewidth=1.2, label=label)
        ends += [threshold / 1.5, threshold * 1.5]
    axes.set_xlim(min(ends), max(ends))
    axes.set_ylim(_LOWEST, max(10, axes.get_ylim()[1]))
    # Above the axes, where no curve can run through it.
    legend = figure.legend(
        title="How often concepts occur", loc="outside upper left", alignment="left", frameon=False, labelcolor=_INK
    )
    legend.get_title().set(color=_INK, fontweight="bold", fontsize="large")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _dress(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("count: captions that match a concept (bins 1, 2-3, 4-7, 8-15, ...)", color=_INK)
    axes.set_ylabel("concepts", color=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(which="major", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axes.tick_params(colors=_INK)
