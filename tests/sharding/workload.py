"""A small map phase and the worker loop that does its shards, as an application would write it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from sharding.directory import PhaseDirectory
from sharding.ids import item_id
from sharding.journal import Journal
from sharding.marker import Counts, Marker, is_done, read_marker
from sharding.partial import RecordLog
from sharding.plan import Plan, ShardRange
from sharding.publication import adopt_output, publish_shard
from sharding.table import inspect_table, write_table

BATCH_ITEMS = 4
SCHEMA = pa.schema([("id", pa.uint64()), ("text", pa.string()), ("reject_reason", pa.string())])
INPUTS_HASH = "0" * 64


def make_plan(num_items: int = 18, shard_items: int = 18, **identity: Any) -> Plan:
    return Plan("captions", "write", "map", num_items, shard_items, ".parquet", {"engine": "test", **identity})


def inspect(path: Path, plan: Plan, shard: ShardRange) -> Counts:
    return inspect_table(path, SCHEMA)


def make_batch(start: int, stop: int, salt: str = "") -> bytes:
    """One record: the rows of items [start, stop), every fifth item rejected."""
    rows = []
    for index in range(start, stop):
        name = item_id("item", index)
        rejected = index % 5 == 0
        rows.append([name, "" if rejected else f"caption of {name} {salt}", "unusable" if rejected else None])
    return json.dumps(rows).encode()


def ignore(start: int) -> None:
    """Take no note of a batch."""


def do_shard(
    directory: PhaseDirectory,
    plan: Plan,
    shard: int,
    attempt: str,
    made: Callable[[int], None],
    *,
    salt: str = "",
) -> Marker:
    """Do one shard to its end; `made(start)` is told of every batch before it is stored.

    A `salt` makes the bytes depend on it, as a GPU's do on its company; the promise is then `items`.
    """
    facts: dict[str, Any] = {
        "inputs_hash": INPUTS_HASH,
        "promise": "items" if salt else "bytes",
        "provenance": {"attempt": attempt},
    }
    journal = Journal(directory.journal_path(attempt))
    if is_done(directory, plan, shard):
        return read_marker(directory.marker_path(shard))
    adopted = adopt_output(directory, plan, shard, inspect, **facts)
    if adopted is not None:
        return adopted
    log = RecordLog.open(directory, shard, attempt, plan.hash)
    items = plan.shard(shard)
    for start in range(items.start + BATCH_ITEMS * len(log.records), items.stop, BATCH_ITEMS):
        made(start)
        log.append(make_batch(start, min(start + BATCH_ITEMS, items.stop), salt))
        journal.event("progress", shard=shard, start=start)
    rows = [row for payload in log.records for row in json.loads(payload)]
    columns = {name: [row[column] for row in rows] for column, name in enumerate(SCHEMA.names)}
    staged = directory.staged_path(shard, attempt, plan.suffix)
    write_table(staged, columns, SCHEMA)
    counts = Counts.of(columns["reject_reason"])
    marker = publish_shard(directory, plan, shard, staged, counts, inspect=inspect if salt else None, **facts)
    log.discard()
    journal.event("shard_done", shard=shard)
    journal.close()
    return marker


def expected_bytes(directory: PhaseDirectory, plan: Plan) -> list[bytes]:
    """The outputs of all shards, made in one undisturbed go in a directory of their own."""
    for shard in range(plan.num_shards):
        do_shard(directory, plan, shard, "calm", ignore)
    return [directory.data_path(shard, plan.suffix).read_bytes() for shard in range(plan.num_shards)]
