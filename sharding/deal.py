"""Who works on which shards."""

from __future__ import annotations

import math
from collections.abc import Sequence


def deal(
    shards: Sequence[int],
    num_elements: int,
    element: int,
    *,
    contiguous: bool = False,
    weights: Sequence[float] | None = None,
) -> list[int]:
    """The shards of one element: every `num_elements`-th of the list, starting with its own index.

    Strides, not blocks: neighbouring shards tend to cost the same, so strides even out the load, and what an
    interrupted submission leaves open is spread over the elements of the next. `contiguous` deals blocks of the list
    all the same, for shards whose inputs lie beside one another: an element then reads one part of them, not all.

    Either way the shares differ by one shard at most. With `weights`, the cost of each of `shards`, they are blocks, of
    which the costliest costs as little as can be; an element may then have none. Raises ValueError for an element that
    is not there.
    """
    if num_elements < 1:
        raise ValueError(f"num_elements must be at least 1, got {num_elements}")
    if not 0 <= element < num_elements:
        raise ValueError(f"element must be in 0..{num_elements - 1}, got {element}")
    if weights is not None:
        return deal_weighted(shards, num_elements, weights)[element]
    if contiguous:
        return list(shards[len(shards) * element // num_elements : len(shards) * (element + 1) // num_elements])
    return list(shards[element::num_elements])


def deal_weighted(shards: Sequence[int], num_elements: int, weights: Sequence[float]) -> list[list[int]]:
    """Return the shards of all elements, by `weights`: as `deal` does for one, and no dearer than for one."""
    return [list(shards[start:stop]) for start, stop in _blocks(weights, num_elements)]


_HALVINGS = 50
"""So often the range is halved in which the lowest possible cost lies: to its last digits."""


def _blocks(weights: Sequence[float], num_blocks: int) -> list[tuple[int, int]]:
    """Cut a list into (start, stop) of consecutive blocks; the costliest costs no more than in any other cut.

    Raises ValueError for a weight that is no number above or at 0.
    """
    if any(not 0 <= weight < math.inf for weight in weights):
        raise ValueError(f"weights must be 0 or more, got {list(weights)}")
    most, total = max(weights, default=0.0), math.fsum(weights)
    low, high = max(most, total / num_blocks), total + most
    for _ in range(_HALVINGS):
        limit = (low + high) / 2
        if len(_greedy(weights, limit)) <= num_blocks:
            high = limit
        else:
            low = limit
    found = _greedy(weights, high)
    return found + [(len(weights), len(weights))] * (num_blocks - len(found))


def _greedy(weights: Sequence[float], limit: float) -> list[tuple[int, int]]:
    """Fill one block after the other, none above the limit, which is no lower than any weight."""
    found, start, cost = [], 0, 0.0
    for place, weight in enumerate(weights):
        if place > start and cost + weight > limit:
            found.append((start, place))
            start, cost = place, 0.0
        cost += weight
    return [*found, (start, len(weights))] if len(weights) > start else found
