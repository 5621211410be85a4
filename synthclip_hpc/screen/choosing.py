"""Which of many shards a table shows, and in which order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from synthclip_hpc.monitor.parts import ShardRow

SHOWN = 300
"""A table of more rows takes longer to fill than people wait, and nobody reads it."""
ORDERS = ("number", "state", "time")
_STATES = ("failed", "running", "pending", "done")
_RANGE = re.compile(r"(\d+)-(\d+)")


def choose(rows: Iterable[ShardRow], words: str, order: str) -> list[ShardRow]:
    """Return the rows in which every word is found: a state, a node, a number, a range (`7-12`), part of an error.

    `order`: by number; by state, the worst first; by time, the longest first.
    """
    wanted = words.lower().split()
    found = [row for row in rows if all(_has(row, word) for word in wanted)]
    if order == "state":
        found.sort(key=lambda row: (_STATES.index(row.state), row.shard))
    elif order == "time":
        found.sort(key=lambda row: (-(row.seconds or 0.0), row.shard))
    return found


def told(shown: Sequence[ShardRow], found: int, total: int, words: str, order: str) -> str:
    """Return in words which shards are shown."""
    of = f"{len(shown):,} of {found:,} that match" if len(shown) < found else f"{found:,}"
    matching = f" with {words!r}" if words else ""
    return f"{of} of {total:,} shards{matching}, by {order}"


def _has(row: ShardRow, word: str) -> bool:
    if word.isdigit():
        return row.shard == int(word)
    if match := _RANGE.fullmatch(word):
        return int(match[1]) <= row.shard <= int(match[2])
    return word in f"{row.state} {row.node} {row.attempt} {row.message}".lower()
