"""How many elements go into one array: Slurm bounds the index, so that a large submission becomes several arrays."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .commands import run_command

DEFAULT_MAX_ARRAY_SIZE = 1001  # Slurm's own default


@dataclass(frozen=True)
class ArrayPart:
    """One array of a submission: elements `first` to `first + count - 1`, which the array itself counts from 0."""

    first: int
    count: int
    throttle: int
    """At most so many elements at once (0 = no limit)."""
    after_previous: bool
    """Starts only when the array before it has ended."""


def split_array(num_elements: int, max_array_size: int, throttle: int) -> list[ArrayPart]:
    """Divide elements over arrays of at most `max_array_size`, and the total throttle over these arrays.

    With a throttle smaller than the number of arrays the arrays run one after another, each with the whole throttle: so
    there are never more elements at once than asked for.
    """
    size = max(1, max_array_size)
    counts = [min(size, num_elements - first) for first in range(0, num_elements, size)]
    one_by_one = 0 < throttle < len(counts)
    base, extra = divmod(throttle, len(counts)) if counts else (0, 0)
    return [
        ArrayPart(
            first=number * size,
            count=count,
            throttle=throttle if one_by_one else base + (1 if number < extra else 0),
            after_previous=one_by_one and number > 0,
        )
        for number, count in enumerate(counts)
    ]


def max_array_size(timeout_s: float = 5) -> int:
    """The cluster's MaxArraySize: at most so many elements in an array, counted from 0. 1001 if nobody can tell."""
    answer = run_command(["scontrol", "show", "config"], timeout_s)
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)\s*$", answer.stdout, re.MULTILINE)
    return int(found[1]) if found and not answer.error else DEFAULT_MAX_ARRAY_SIZE
