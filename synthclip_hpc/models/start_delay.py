"""Many workers that start together do not all read the same weights in the same second."""

from __future__ import annotations

import hashlib

_FEW = 8
"""Elements that a shared file system serves at once without noticing."""
_SECONDS_EACH = 0.25
_MOST_S = 60.0


def start_delay_s(attempt: str, num_elements: int) -> float:
    """Return how long an attempt waits before it reads its model, in seconds: 0 for few elements, a minute at most.

    The wait follows from the attempt's name, evenly spread over all of them, and changes no output.
    """
    if num_elements <= _FEW:
        return 0.0
    share = int.from_bytes(hashlib.blake2b(attempt.encode(), digest_size=8).digest()) / 2**64
    return share * min(_MOST_S, num_elements * _SECONDS_EACH)
