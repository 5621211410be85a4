"""lgssl's search for the cost of a linear probe in two stages, some twenty fits instead of a hundred."""

from __future__ import annotations

import math
from collections.abc import Callable

COARSE = (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)
_NUM_FINE = 29
_FINE_DECADES = 2


def search_cost(score: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """Return the best cost and the accuracy of every cost tried, in the order of trying.

    `score(cost)` is the accuracy on the validation set. Stage 1 tries COARSE, the first of equals wins. Stage 2 narrows
    29 costs from 1/100 to 100 times that, within COARSE's range: of the candidates at a quarter, a half and three
    quarters the best decides which half stays, ties to the left one, then to the right one. The best of all that
    stage 2 saw wins (the winner of stage 1 first among equals).
    """
    tried = {cost: score(cost) for cost in COARSE}
    best = max(COARSE, key=lambda cost: tried[cost])
    seen = {best: tried[best]}
    costs = fine_costs(best)
    while len(costs) > 1:
        quarter, half, last = len(costs) // 4, len(costs) // 2, len(costs) - math.ceil(len(costs) / 4)
        left, middle, right = costs[quarter], costs[half], costs[last]
        for cost in (left, middle, right):
            if cost not in seen:
                # A cost of stage 1 may come again; it is not fitted twice.
                seen[cost] = tried[cost] if cost in tried else score(cost)
        highest = max(seen[left], seen[middle], seen[right])
        if highest == seen[left]:
            costs = costs[:half]
        elif highest == seen[right]:
            costs = costs[half:]
        else:
            costs = costs[quarter:last]
    return max(seen, key=lambda cost: seen[cost]), tried | seen


def fine_costs(best: float) -> list[float]:
    """Return the candidates of stage 2, ascending; `best` and other costs of COARSE are among them exactly.

    They are lgssl's to the last bit, that is of float32.
    """
    import torch

    middle = math.log10(best)
    costs = torch.logspace(middle - _FINE_DECADES, middle + _FINE_DECADES, _NUM_FINE).tolist()
    return [cost for cost in map(_exact, costs) if COARSE[0] <= cost <= COARSE[-1]]


def _exact(cost: float) -> float:
    return next((known for known in COARSE if math.isclose(cost, known, rel_tol=1e-6)), cost)
