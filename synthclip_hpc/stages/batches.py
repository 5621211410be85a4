"""A shard as fixed batches of its items: the part of `process` that all table-making phases share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sharding.partial import RecordLog
from synthclip_hpc.stages.phase import ShardTask

Row = Any
"""What one item came to, as JSON values."""


def run_batches(
    task: ShardTask, batch_items: int, make: Callable[[int, int], list[Row]]
) -> tuple[list[Row], RecordLog]:
    """Make the rows of all items of the shard, going on from what earlier attempts left.

    `make(start, stop)` makes one batch, a fixed range of the plan's items, and returns one row an item. Each batch is
    one record of the partial file: what a kill costs is the batch in the making. The log is returned open; the caller
    discards it once the output is published.
    """
    log = RecordLog.open(task.directory, task.shard.index, task.attempt, task.plan.hash)
    try:
        rows = [row for payload in log.records for row in json.loads(payload)]
        task.resumed(len(rows))
        for start in range(task.shard.start + len(rows), task.shard.stop, batch_items):
            task.safe_point()
            stop = min(start + batch_items, task.shard.stop)
            batch = make(start, stop)
            if len(batch) != stop - start:
                raise RuntimeError(f"items {start}..{stop - 1}: {stop - start} asked for, {len(batch)} made")
            log.append(json.dumps(batch, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
            rows += batch
            task.progress(len(rows))
    except BaseException:
        log.close()
        raise
    return rows, log
