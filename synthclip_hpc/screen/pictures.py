"""Numbers as pictures made of characters: heat lines, sparklines, curves."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from synthclip_hpc.monitor.parts import HeatCell

STYLE = {
    "done": "green",
    "completed": "green",
    "running": "cyan",
    "pending": "yellow",
    "waiting": "dim",
    "partial": "magenta",
    "interrupted": "magenta",
    "slow": "yellow",
    "silent": "bold red",
    "failed": "bold red",
    "blocked": "bold red",
    "unreadable": "bold red",
}
"""How states look."""
_BARS = "▁▂▃▄▅▆▇█"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of Unicode's braille patterns, by row and column of the dot."""


def state_text(state: str) -> Text:
    """Return a state in its colour."""
    return Text(state, style=STYLE.get(state, ""))


def heat_line(cells: Sequence[HeatCell], width: int) -> Text:
    """Return shards in order, `width` characters at most; each stands for equally many.

    Red `!` where any has failed, else the height of a bar is how many are done; cyan where somebody is at work.
    """
    line = Text()
    count = min(width, len(cells))
    for number in range(count):
        mine = cells[number * len(cells) // count : (number + 1) * len(cells) // count]
        total = sum(cell.stop - cell.first for cell in mine)
        done = sum(cell.done for cell in mine)
        if any(cell.failed for cell in mine):
            line.append("!", "bold red")
        elif done == total:
            line.append("█", "green")
        elif any(cell.running for cell in mine):
            line.append(_BARS[min(6, done * 7 // total)], "cyan")
        elif done:
            line.append(_BARS[min(6, done * 7 // total)], "yellow")
        else:
            line.append("·", "dim")
    return line


def sparkline(values: Sequence[float], width: int = 30) -> str:
    """Return the last `width` values as bars from 0 to the highest of them."""
    shown = values[-width:] if width > 0 else ()
    top = max(shown, default=0.0)
    if top <= 0:
        return _BARS[0] * len(shown)
    return "".join(_BARS[min(7, int(max(0.0, value) / top * 7.999))] for value in shown)


def curve(points: Sequence[tuple[float, float]], width: int, height: int) -> list[str]:
    """Return (x, y) points, joined by lines, as `height` lines of `width` characters of two by four dots each.

    x must not fall; y grows upwards.
    """
    if not points or width < 1 or height < 1:
        return [""] * max(0, height)
    left, right = points[0][0], points[-1][0]
    low, high = min(y for _, y in points), max(y for _, y in points)
    columns, rows = 2 * width, 4 * height
    grid = [[0] * width for _ in range(height)]

    def place(x: float, y: float) -> tuple[int, int]:
        column = round((x - left) / (right - left) * (columns - 1)) if right > left else 0
        row = round((high - y) / (high - low) * (rows - 1)) if high > low else rows // 2
        return column, row

    before = place(*points[0])
    for point in points:
        here = place(*point)
        steps = max(abs(here[0] - before[0]), abs(here[1] - before[1]), 1)
        for step in range(steps + 1):
            column = before[0] + round((here[0] - before[0]) * step / steps)
            row = before[1] + round((here[1] - before[1]) * step / steps)
            grid[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
        before = here
    return ["".join(chr(0x2800 + bits) for bits in line) for line in grid]
