"""The memory of a limited-memory BFGS method, and a line search for a convex function that is cheap along a line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from torch import Tensor

_MAX_TRIES = 25
_SLOPE_LEFT = 0.2
"""A step is long enough when at most this share of the slope is left; exact enough to save matrix products."""
_ROUNDING = 1e-9
"""How far rounding may lift the value of a function near 1 without its counting as a rise."""


class Memory:
    """The last `size` steps and changes of gradient; from them and a rough inverse Hessian, the next direction.

    Nocedal and Wright, Numerical Optimization, algorithm 7.4.
    """

    def __init__(self, size: int) -> None:
        self._pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._pairs)

    def clear(self) -> None:
        """Forget all steps."""
        self._pairs.clear()

    def add(self, step: Tensor, change: Tensor) -> None:
        """Remember a step and the change of the gradient over it, unless rounding has eaten the curvature."""
        curvature = dot(step, change)
        if curvature > 0:
            self._pairs.append((step, change, 1 / curvature))

    def direction(self, gradient: Tensor, rough_inverse: Callable[[Tensor], Tensor]) -> Tensor:
        """Return minus (inverse Hessian times `gradient`), `rough_inverse` scaled to fit the last step."""
        along = gradient
        weights = []
        for step, change, inverse in reversed(self._pairs):
            weights.append(inverse * dot(step, along))
            along = along.sub(change, alpha=weights[-1])
        along = rough_inverse(along)
        if self._pairs:
            _, change, inverse = self._pairs[-1]
            along = along / (inverse * dot(change, rough_inverse(change)))
        for (step, change, inverse), weight in zip(self._pairs, reversed(weights), strict=True):
            along = along.add(step, alpha=weight - inverse * dot(change, along))
        return -along


def dot(one: Tensor, other: Tensor) -> float:
    """Return the inner product of two tensors of one shape."""
    return float(one.reshape(-1).dot(other.reshape(-1)))


def search_line(along: Callable[[float], tuple[float, float]], value: float, slope: float) -> float | None:
    """Return a step length that meets the strong Wolfe conditions, trying 1 first; None when rounding hides them.

    `along(t)` is the (value, slope) of a convex function at distance t; `value` and `slope` are those at 0.
    """
    low, low_slope = 0.0, slope
    high, high_slope = None, 0.0
    length = 1.0
    for _ in range(_MAX_TRIES):
        here, here_slope = along(length)
        lower = here <= value + 1e-4 * length * slope + _ROUNDING * max(abs(value), 1e-3)
        if lower and abs(here_slope) <= _SLOPE_LEFT * abs(slope):
            return length
        if here_slope > 0 or not lower:
            high, high_slope = length, here_slope
        else:
            low, low_slope = length, here_slope
        if high is None:
            length *= 4
            continue
        # The slope of a convex function rises: its zero is looked for by the secant, kept off the ends.
        share = low_slope / (low_slope - high_slope) if high_slope > low_slope else 0.5
        length = low + min(max(share, 0.1), 0.9) * (high - low)
    return None
