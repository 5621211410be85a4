"""That each caption id names one caption: a shared one would draw one number for two, and no cut goes between them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from sharding.sorted_layout import key_range
from synthclip_hpc.errors import UserError

if TYPE_CHECKING:
    from sharding.exchange import SortedFile
    from synthclip_hpc.config import RunConfig

CHECKED_ROWS = 1 << 21
"""Captions that are compared at a time, 8 bytes each."""


def refuse_shared_ids(config: RunConfig, files: Sequence[SortedFile], safe_point: Callable[[], None]) -> None:
    """Raise UserError, with the id, when two captions of what `score` wrote have one id.

    Their texts differ, as duplicates of a text are gone. Equal ids have equal shuffle keys, so they lie in the same
    range of keys: one range after the other is read, of all files, which takes one pass over the ids and a memory that
    does not depend on their number.
    """
    import numpy as np

    ranges = max(1, -(-sum(file.num_rows for file in files) // CHECKED_ROWS))
    for index in range(ranges):
        safe_point()
        bounds = key_range(index, ranges)
        ids = np.concatenate([file.rows(*bounds).column("caption_id").to_numpy() for file in files])
        for file in files:
            file.forget()
        ids.sort()
        shared = ids[1:][ids[1:] == ids[:-1]]
        if len(shared):
            _refuse(config, files, bounds, int(shared[0]))


def _refuse(config: RunConfig, files: Sequence[SortedFile], bounds: tuple[int, int], caption_id: int) -> NoReturn:
    import pyarrow.compute as pc

    rows = (file.rows(*bounds).select(["caption_id", "caption"]) for file in files)
    named = (part.filter(pc.equal(part.column("caption_id"), caption_id)) for part in rows)
    # One file's at a time: a column that numbers the captions of each image has one id for millions of texts.
    first, second = heapq.nsmallest(2, (text for part in named for text in part.column("caption").to_pylist()))
    told = f"caption_id {caption_id} names two captions, {first!r} and {second!r}"
    if config.balance.source is None:
        raise UserError(f"captions/write: {told}; run verify, and ask for other concepts when it finds nothing")
    raise UserError(
        f"balance.source={config.balance.source}: {told}; give each caption an id of its own, or leave the column "
        "caption_id out (ids are then made from the texts), and balance the result in a new run directory"
    )
