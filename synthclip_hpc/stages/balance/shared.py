"""What the phases of `balance` share: the columns that travel along, the files that hold them, and their duplicates."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sharding.plan import Plan, load_plan
from sharding.table import TableError
from synthclip_hpc.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from sharding.exchange import SortedFile
    from synthclip_hpc.config import RunConfig
    from synthclip_hpc.run import Run
    from synthclip_hpc.stages.phase import ShardTask, Sources

SUFFIX = ".arrow"
PLAN = "plan"
"""Metadata: the hash of the plan that a file was made by."""
MAX_MATCHES = 2**31 - 1
"""In one table: a column of lists counts them in 32 bits."""
KEY = "key"
TIES = ("caption", "caption_id")
"""What orders captions whose texts have one hash: of equal texts the smallest id comes first."""


def schema(*more: tuple[str, Any]) -> pa.Schema:
    """Return the columns of a caption on its way through the stage, the key first, `more` last."""
    import pyarrow as pa

    return pa.schema(
        [
            (KEY, pa.uint64()),
            ("caption_id", pa.uint64()),
            ("concept_id", pa.uint64()),
            ("concept", pa.string()),
            ("n", pa.int32()),
            ("caption", pa.string()),
            ("source", pa.string()),
            ("matches", pa.list_(pa.uint32())),
            *more,
        ]
    )


def num_captions(config: RunConfig, sources: Sources) -> int:
    """Return how many captions come in, rejected ones included."""
    return sources.caption_source.num_rows if config.balance.source else sources.num_captions


def num_ranges(config: RunConfig, sources: Sources) -> int:
    """Return into how many parts the key space is cut: as many as `match` has tasks, so all are of one size."""
    return max(1, -(-num_captions(config, sources) // config.balance.match_items))


@contextmanager
def open_files(run: Run, phase: str) -> Iterator[Sequence[SortedFile]]:
    """Map all files that a phase of this stage wrote; its seal is bound, so they are there."""
    from sharding.exchange import SortedFile

    directory = run.phase("balance", phase)
    plan = load_plan(directory)
    if plan is None:
        raise UserError(f"balance/{phase} has no plan; run: resume run={run.path}")
    opened: list[SortedFile] = []
    try:
        for shard in range(plan.num_shards):
            opened.append(SortedFile.open(directory.data_path(shard, SUFFIX)))
        yield opened
    finally:
        for one in opened:
            one.close()


def without_repeats(table: pa.Table) -> tuple[pa.Table, int]:
    """Keep of each text the first caption, of captions in order of (KEY, *TIES); return them and how many are gone.

    Different texts with one hash are looked at as well: they are not duplicates.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = table.column(KEY).to_numpy()
    same_key = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    captions = table.column("caption")
    same_text = pc.equal(captions.take(pa.array(same_key)), captions.take(pa.array(same_key - 1))).to_numpy()
    first = np.ones(len(keys), dtype=bool)
    first[same_key] = ~same_text.astype(bool)
    return table.filter(pa.array(first)), len(keys) - int(first.sum())


def keep_pace(task: ShardTask, items: int, items_per_s: float) -> None:
    """Wait until so many items would have taken this long (0 = not at all), with safe points in between."""
    until = task.started + items / items_per_s if items_per_s else 0.0
    while time.monotonic() < until:
        task.safe_point()
        time.sleep(min(0.2, max(0.0, until - time.monotonic())))


def facts_of(file: SortedFile) -> dict[str, str]:
    """Return what the task that wrote a file left in its metadata."""
    return {name.decode(): value.decode() for name, value in (file.schema.metadata or {}).items()}


def check_made_by(plan: Plan, file: SortedFile) -> None:
    """Raise TableError for a file that another plan made: with another `case` or seed, say, which no row tells."""
    found = facts_of(file).get(PLAN, "(not told)")
    if found != plan.hash:
        raise TableError(f"{file.path} was made by plan {found}, not by plan {plan.hash}")


def match_lists(table: Any) -> tuple[Any, Any]:
    """Return (offsets int64 of rows + 1, entry indices uint32) of the column `matches` of a contiguous table."""
    import numpy as np

    lists = table.column("matches").combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], lists.flatten().to_numpy()


def match_column(offsets: Any, entries: pa.Array) -> pa.ListArray:
    """Return lists: row i has `entries[offsets[i]:offsets[i + 1]]`; `offsets` is int64 (rows + 1,), from 0 on.

    Raises UserError for more entries than a column of lists can count, 2^31.
    """
    import pyarrow as pa

    if offsets[-1] > MAX_MATCHES:
        raise UserError(
            f"balance: {offsets[-1]:,} matches in one task, at most {MAX_MATCHES:,} can be; "
            "use a smaller balance.match_items or balance.shard_items, in a new run directory"
        )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), entries)
