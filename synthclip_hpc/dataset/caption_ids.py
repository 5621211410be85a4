"""`caption-ids.npy`: from caption ids to rows of the index, for looking thousands up in one of tens of millions.

An array of shape (2, n) uint64: the ids in ascending order, and the row of each; equal ids by row. It is mapped, so a
look-up touches a few pages of it, and all processes of a node share them. Samples without an id are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint64]
_PART_ROWS = 2_000_000
"""What is sorted at once: 16 bytes each, a few times over."""


def write_caption_ids(path: Path, chunks: Callable[[], Iterable[tuple[Ids, Ids]]], count: int) -> None:
    """Write the look-up of an index.

    `chunks()` yields (ids, their rows) in order of the rows, anew at each call: it is read once for every 2 million
    ids, which bounds the memory. `count` is how many there are in all. Raises ValueError when there are others.
    """
    parts = max(1, -(-count // _PART_ROWS))
    written = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": np.dtype("<u8").str, "fortran_order": False, "shape": (2, count)}
        )
        start = file.tell()
        for part in range(parts):
            ids, rows = _between(chunks(), part * (1 << 64) // parts, (part + 1) * (1 << 64) // parts - 1)
            for half, values in enumerate((ids, rows)):
                _write_at(file, start + 8 * (half * count + written), values)
            written += len(ids)
    if written != count:
        raise ValueError(f"{written} caption ids where {count} were counted")


def _between(chunks: Iterable[tuple[Ids, Ids]], low: int, high: int) -> tuple[Ids, Ids]:
    """Return the ids from `low` to `high` in order, and their rows."""
    ids, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for some, their_rows in chunks:
        inside = (some >= np.uint64(low)) & (some <= np.uint64(high))
        ids.append(some[inside])
        rows.append(their_rows[inside])
    all_ids, all_rows = np.concatenate(ids), np.concatenate(rows)
    order = np.argsort(all_ids, kind="stable")
    return all_ids[order], all_rows[order]


def _write_at(file: BinaryIO, offset: int, values: Ids) -> None:
    file.seek(offset)
    file.write(values.astype("<u8").tobytes())


def find_rows(lookup: Ids, wanted: Ids) -> npt.NDArray[np.int64]:
    """Return the first row of each wanted id, -1 where there is none; in order of `wanted`."""
    ids, rows = lookup
    if not len(ids):
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    found = np.asarray(ids[places]) == wanted
    return np.where(found, rows[places].astype(np.int64), -1)
