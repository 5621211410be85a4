"""Who works on which shards."""

from __future__ import annotations

from collections.abc import Sequence


def deal(shards: Sequence[int], num_elements: int, element: int, *, contiguous: bool = False) -> list[int]:
    """The shards of one element: every `num_elements`-th of the list, starting with its own index.

    Strides, not blocks: neighbouring shards tend to cost the same, so strides even out the load, and what an
    interrupted submission leaves open is spread over the elements of the next. `contiguous` deals blocks of the list
    all the same, for shards whose inputs lie beside one another: an element then reads one part of them, not all.

    Either way the shares differ by one shard at most. Raises ValueError for an element that is not there.
    """
    if num_elements < 1:
        raise ValueError(f"num_elements must be at least 1, got {num_elements}")
    if not 0 <= element < num_elements:
        raise ValueError(f"element must be in 0..{num_elements - 1}, got {element}")
    if contiguous:
        return list(shards[len(shards) * element // num_elements : len(shards) * (element + 1) // num_elements])
    return list(shards[element::num_elements])
