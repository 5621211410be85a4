"""Is an event of a shape that this version knows? Whoever reads journals passes over those that are not.

A newer version may write another shape, and a damaged line may still be JSON: an event alone must not hide a whole run.
What an event lacks is for its reader to miss; what is there is of the kind that its reader counts or compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_MOST = 2**53
"""No count and no size is larger: up to here floats are exact."""
_FAR_S = 2.5e11
"""Seconds since 1970 that calendars reach."""


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _is_whole(value: Any) -> bool:
    return type(value) is int and -_MOST < value < _MOST


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < _MOST


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_element(value: Any) -> bool:
    return value is None or _is_count(value)


def _is_index(value: Any) -> bool:
    return value == "seal" or _is_count(value)


_SHAPES: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "start": {"index": _is_index, "restart": _is_count, "element": _is_element},
    "progress": {"shard": _is_count, "items": _is_count, "new": _is_whole},
    "shard_start": {"shard": _is_count, "resumed_items": _is_count},
    "shard_done": {
        "shard": _is_count, "done": _is_count, "rejected": _is_count, "new": _is_whole, "seconds": _is_amount,
        "adopted": _is_flag,
    },
    "shard_failed": {"shard": _is_count},
    "shard_taken": {"shard": _is_count},
    "worker_ended": {"element": _is_count, "restart": _is_count, "count": _is_count, "exit_code": _is_whole},
    "gave_up": {"element": _is_count, "count": _is_count},
    "gpu": {"utilisation_percent": _is_amount, "memory_bytes": _is_amount, "memory_total_bytes": _is_amount},
}  # fmt: skip
_OF_ANY: Mapping[str, Callable[[Any], bool]] = {}


def is_sound(event: Mapping[str, Any]) -> bool:
    """Tell whether the numbers of an event of a journal are of the kinds they should be, as far as they are there."""
    at = event.get("time", 0.0)
    if type(at) not in (float, int) or not 0 <= at < _FAR_S:
        return False
    for key, fits in _SHAPES.get(event["event"], _OF_ANY).items():
        if key in event and not fits(event[key]):
            return False
    return "lost_events" not in event or _is_count(event["lost_events"])
