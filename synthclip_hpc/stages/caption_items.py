"""Which captions a shard has: concepts times captions a concept, n-major, and what is known of them beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.ids import derive, item_id
from sharding.plan import Plan, ShardRange

if TYPE_CHECKING:
    import pyarrow

    from synthclip_hpc.run import Run


def read_concepts(run: Run, plan: Plan) -> pyarrow.Table:
    """Return the concept table that the captions of `plan` are laid out over; read once, until its file changes.

    Raises RuntimeError when it has not as many rows as the plan has concepts.
    """
    path = run.phase("concepts", "read").data_path(0, ".parquet")
    stat = path.stat()
    table = _read_table(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))
    if table.num_rows != plan.identity["concepts.count"]:
        # No ValueError: whoever inspects captions must not take them for the damaged ones.
        raise RuntimeError(
            f"the concept table has {table.num_rows} rows, the plan {plan.identity['concepts.count']}; run verify"
        )
    return table


@lru_cache(maxsize=2)
def _read_table(path: Path, state: tuple[int, int, int]) -> pyarrow.Table:
    """Read the table; `state` is what the file looks like from outside: another one is read again."""
    import pyarrow.parquet as pq

    from synthclip_hpc.stages import concepts

    return pq.read_table(path, schema=concepts.schema())


def known_columns(plan: Plan, concepts: pyarrow.Table, shard: ShardRange) -> dict[str, list[Any]]:
    """Return what is known of a shard's captions before they are written."""
    run_seed = plan.identity["seed"]
    columns: dict[str, list[Any]] = {name: [] for name in ("caption_id", "concept_id", "concept", "n", "seed")}
    for concept_id, concept, n, _ in items_of(concepts, shard):
        caption_id = item_id(concept, n)
        columns["caption_id"].append(caption_id)
        columns["concept_id"].append(concept_id)
        columns["concept"].append(concept)
        columns["n"].append(n)
        columns["seed"].append(derive(run_seed, caption_id, "caption"))
    return columns


def items_of(concepts: pyarrow.Table, shard: ShardRange) -> Iterator[tuple[int, str, int, str | None]]:
    """Yield (concept id, concept, n, why it gets no caption) of a shard's items."""
    count, start = concepts.num_rows, shard.start
    while start < shard.stop:
        n, offset = divmod(start, count)
        length = min(count - offset, shard.stop - start)
        part = concepts.slice(offset, length)
        ids, names, reasons = (column.to_pylist() for column in part.columns)
        for concept_id, concept, reason in zip(ids, names, reasons, strict=True):
            yield concept_id, concept, n, reason and f"concept_{reason}"
        start += length
