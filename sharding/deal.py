"""Who works on which shards."""

from __future__ import annotations

from collections.abc import Sequence


def deal(shards: Sequence[int], num_elements: int, element: int) -> list[int]:
    """The shards of one element: every `num_elements`-th of the list, starting with its own index.

    Strides, not blocks: neighbouring shards tend to cost the same, so strides even out the load, and what an
    interrupted submission leaves open is spread over the elements of the next.
    """
    if num_elements < 1:
        raise ValueError(f"num_elements must be at least 1, got {num_elements}")
    if not 0 <= element < num_elements:
        raise ValueError(f"element must be in 0..{num_elements - 1}, got {element}")
    return list(shards[element::num_elements])
