"""What one phase will cost: a low and a high figure of each kind, from its pace and from how its work is spread.

Not in it: waiting in queues, preemption, and the small jobs that seal phases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sharding.plan import Plan
from synthclip_hpc.foresight.pace import Pace, Range
from synthclip_hpc.foresight.shape import Shape

CORE_WATTS = 5.0
"""What one busy core draws: 280 W, which a server's processor of 64 cores is rated at, over its cores, and memory."""
_LEAST_LIFE_S = 60.0
"""A time limit that start-up and warning leave less of is taken for so much."""
NOTHING: Range = (0.0, 0.0)


@dataclass(frozen=True)
class Forecast:
    """What one phase is going to cost from here on. Each pair is a low and a high figure."""

    key: str
    plan: Plan
    pace: Pace
    shape: Shape
    missing: int
    """Shards that are not done."""
    items_left: Range
    """Items of these. Low and high are equal but where the size is known only later."""
    is_later: bool
    """Whether the plan is the largest that there can be, as the size is known only later."""
    size_bytes: Range
    """Of all outputs, the finished ones too."""
    element_s: Range
    """Seconds of all attempts of all elements together."""
    wall_s: Range
    gpu_hours: Range
    core_hours: Range
    """Of phases that use no GPU; what the cores beside GPUs do is not counted."""
    kwh: Range


def forecast(
    key: str, plan: Plan, pace: Pace, shape: Shape, missing: Sequence[int], gpu_watts: float, *, is_later: bool = False
) -> Forecast:
    """Return the forecast of a phase with these missing shards.

    `is_later`: `plan` is the largest that the phase may get, and the least is nothing.
    """
    left = sum(plan.shard(index).stop - plan.shard(index).start for index in missing)
    low, high = (
        _seconds(plan, shape, len(missing), left, pace, 0),
        _seconds(plan, shape, len(missing), left, pace, 1),
    )
    element_s, wall_s = (low[0], high[0]), (low[1], high[1])
    size_bytes = _times(pace.bytes_per_item, plan.num_items)
    if is_later:
        element_s, wall_s, size_bytes = ((0.0, high_end) for _, high_end in (element_s, wall_s, size_bytes))
    hours = _times(element_s, 1 / 3600)
    on_gpus = pace.device == "GPU"
    gpu_hours = _times(hours, shape.gpus) if on_gpus else NOTHING
    core_hours = NOTHING if on_gpus else _times(hours, shape.cores)
    watts = gpu_watts * shape.gpus if on_gpus else CORE_WATTS * shape.cores
    return Forecast(
        key=key,
        plan=plan,
        pace=pace,
        shape=shape,
        missing=len(missing),
        items_left=(0.0 if is_later else float(left), float(left)),
        is_later=is_later,
        size_bytes=size_bytes,
        element_s=element_s,
        wall_s=wall_s,
        gpu_hours=gpu_hours,
        core_hours=core_hours,
        kwh=_times(hours, watts / 1000),
    )


def total(ranges: Sequence[Range]) -> Range:
    """Return the sums of the low and of the high ends."""
    return sum(low for low, _ in ranges), sum(high for _, high in ranges)


def _seconds(plan: Plan, shape: Shape, missing: int, left: int, pace: Pace, end: int) -> tuple[float, float]:
    """Return the seconds of all elements together, and those from the start of the first to the end of the last."""
    if not left:
        return 0.0, 0.0
    each = pace.seconds_per_item[end]
    start_up = pace.start_up_s[end] if shape.elements else 0.0  # the command that does the work itself has started
    elements = max(1, shape.elements)
    rounds = -(-missing // elements)  # shards of the element that has most of them
    if shape.lanes == 1:
        busy, longest = left * each, min(rounds * plan.shard_items, left) * each
    else:
        shard_s = min(plan.shard_items, left) * each
        with_most = missing - (rounds - 1) * elements
        lanes_filled = [-(-rounds // shape.lanes), -(-(rounds - 1) // shape.lanes)]
        busy = shard_s * (with_most * lanes_filled[0] + (elements - with_most) * lanes_filled[1])
        longest = shard_s * lanes_filled[0]
    lives = _lives(longest, start_up, shape.limit_s)
    in_all = busy + elements * (start_up * lives + shape.mean_delay_s * lives)
    at_once = max(1, shape.at_once)
    whole = longest + start_up * lives + shape.most_delay_s * lives
    # At best the throttle is always filled; at worst all elements of a wave take as long as the longest.
    wall = max(whole, in_all / at_once) if end == 0 else whole * -(-elements // at_once)
    return in_all, wall


def _lives(longest_s: float, start_up_s: float, limit_s: float | None) -> int:
    """Return how many attempts the longest element needs to get by with the time limit."""
    if limit_s is None:
        return 1
    return max(1, math.ceil(longest_s / max(limit_s - start_up_s, _LEAST_LIFE_S)))


def _times(one: Range, factor: float) -> Range:
    return one[0] * factor, one[1] * factor
