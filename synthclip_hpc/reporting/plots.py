"""The report's plots: one style, drawn once as SVG and once as PNG.

Colours are those of Okabe and Ito, which people with the usual kinds of colour blindness tell apart; lines differ by
marker and dash as well. `PALETTE` names the light colours, so that a page can put its own in their place.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synthclip_hpc.errors import UserError
from synthclip_hpc.reporting.blocks import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = {
    "ink": "#2b3138",
    "muted": "#6f7780",
    "line": "#d9dde1",
    "c1": "#0072b2",
    "c2": "#d55e00",
    "c3": "#009e73",
    "c4": "#cc79a7",
    "c5": "#b07d00",
    "c6": "#3a9bd1",
}
"""Name -> colour; the names are those of the page's variables."""
SERIES = ("c1", "c2", "c3", "c4", "c5", "c6")
MARKERS = ("o", "s", "^", "D", "v", "P")
_SIZE_INCHES = (8.8, 3.9)
_NARROW_INCHES = 4.5
"""On a phone, where the text of a wide plot would be too small to read."""
_PNG_DPI = 200


@dataclass(frozen=True)
class Line:
    """A curve of a plot."""

    label: str
    """In the legend; empty: not there."""
    x: Sequence[float]
    y: Sequence[float]
    colour: str = "c1"
    marker: str = ""
    dashed: bool = False
    width: float = 2.0
    faint: bool = False


def draw(
    name: str,
    title: str,
    alt: str,
    paint: Callable[[Axes], None],
    *,
    note: str = "",
    size: tuple[float, float] = _SIZE_INCHES,
    narrow_height: float | None = None,
) -> Plot:
    """Return the plot that `paint` draws on empty axes; `alt` says in a sentence what is to be seen.

    It paints three times: for a page, for a narrow one, and for a PNG. Equal input gives equal bytes with the same
    version of matplotlib. Raises UserError when it is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise UserError(
            "the report's plots need matplotlib, which is not installed: pip install 'synthclip-hpc[report]'"
        ) from error
    narrow = (_NARROW_INCHES, narrow_height or max(2.8, 0.85 * size[1]))
    with rc_context(_style()):
        png = io.BytesIO()
        _figure(paint, size).savefig(png, format="png", dpi=_PNG_DPI, facecolor="white", metadata={"Software": None})
        return Plot(
            name=name,
            title=title,
            svg=_svg(_figure(paint, size), name),
            narrow_svg=_svg(_figure(paint, narrow), f"{name}-narrow"),
            png=png.getvalue(),
            alt=alt,
            note=note,
        )


def _style() -> dict[str, Any]:
    lines = dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), PALETTE["muted"])
    texts = dict.fromkeys(("axes.labelcolor", "text.color", "xtick.labelcolor", "ytick.labelcolor"), PALETTE["ink"])
    font = {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.5, "svg.fonttype": "none"}
    return {**lines, **texts, **font, "text.parse_math": False}  # a $ in a user's name is no formula


def _figure(paint: Callable[[Axes], None], inches: tuple[float, float]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(which="major", color=PALETTE["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    paint(axes)
    return figure


def _svg(figure: Figure, salt: str) -> str:
    """Return the figure as SVG; the names inside of it follow from `salt`, as several may stand in one page."""
    from matplotlib import rc_context

    svg = io.BytesIO()
    with rc_context({"svg.hashsalt": salt}):
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return svg.getvalue().decode()


def draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw curves, and a legend above the axes where there are several."""
    for line in lines:
        axes.plot(
            line.x,
            line.y,
            color=PALETTE[line.colour],
            linewidth=line.width,
            linestyle=(0, (4, 2.5)) if line.dashed else "-",
            marker=line.marker or None,
            markersize=5.5,
            alpha=0.4 if line.faint else 1.0,
            label=legend_label(line.label) if line.label else "_",
        )
    legend(axes, sum(bool(line.label) for line in lines))


def is_narrow(axes: Axes) -> bool:
    """Tell whether it is the narrow page that is painted for."""
    return bool(axes.figure.bbox.width <= _NARROW_INCHES * axes.figure.dpi)


def legend_label(text: str) -> str:
    """Return a label as a legend shows it: matplotlib leaves out what begins with `_`."""
    return f" {text}" if text.startswith("_") else text


def legend(axes: Axes, count: int, columns: int = 3) -> None:
    """Put a legend above the axes, where no curve can run through it."""
    if count > 1:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=min(2 if is_narrow(axes) else columns, count),
            frameon=False,
            borderaxespad=0.3,
            handlelength=2.2,
            columnspacing=1.6,
        )


def bin_means(values: Sequence[float], most: int) -> tuple[list[int], list[float], list[float], list[float]]:
    """Return (place, mean, least, most) of at most `most` runs of neighbours; values not finite are left out."""
    size = max(1, math.ceil(len(values) / most))
    places, means, low, high = [], [], [], []
    for start in range(0, len(values), size):
        part = [one for one in values[start : start + size] if math.isfinite(one)]
        if part:
            places.append(start + len(values[start : start + size]) // 2)
            means.append(math.fsum(part) / len(part))
            low.append(min(part))
            high.append(max(part))
    return places, means, low, high


def plain_number(value: float, _: Any = None) -> str:
    """Return a tick's label: 30M, 1,000, 0.5."""
    for size, unit in ((1e9, "B"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.10g}{unit}"
    return f"{value:,.10g}"
