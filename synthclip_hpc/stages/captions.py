"""Stage `captions`: N captions for each concept, written by an engine (paper, section 3.1).

Items are laid out n-major: all concepts' first captions, then all second ones, so that a larger `captions.per_concept`
only appends shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.directory import PhaseDirectory
from sharding.ids import derive, item_id
from sharding.marker import Counts
from sharding.plan import Plan
from sharding.table import inspect_table, write_table
from synthclip_hpc.captioning.engine import Engine, Request
from synthclip_hpc.captioning.engines import check_engine, open_engine
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.batches import run_batches
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    import pyarrow

    from synthclip_hpc.run import Run


MAX_PER_CONCEPT = 2**31 - 1
"""What the column `n` (int32) can count."""


def schema() -> Any:
    """Return the Parquet schema of captions: one row an item; `caption` is null where `reject_reason` says why."""
    import pyarrow as pa

    return pa.schema(
        [
            ("caption_id", pa.uint64()),
            ("concept_id", pa.uint64()),
            ("concept", pa.string()),
            ("n", pa.int32()),
            ("caption", pa.string()),
            ("prompt", pa.string()),
            ("model", pa.string()),
            ("seed", pa.uint64()),
            ("num_tries", pa.int32()),
            ("reject_reason", pa.string()),
        ]
    )


def layout(config: RunConfig, sources: Sources) -> Plan:
    """Concepts times captions a concept, in shards of `captions.shard_items`."""
    captions = config.captions
    check_engine(captions)
    for key in ("per_concept", "shard_items", "batch_items"):
        if getattr(captions, key) < 1:
            raise UserError(f"captions.{key}={getattr(captions, key)}: wanted a whole number from 1")
    if not 0 <= captions.template.items_per_s < float("inf"):
        raise UserError(f"captions.template.items_per_s={captions.template.items_per_s}: wanted 0 (full speed) or more")
    if captions.per_concept > MAX_PER_CONCEPT:
        raise UserError(f"captions.per_concept={captions.per_concept}: wanted at most {MAX_PER_CONCEPT}")
    bank = sources.bank
    return Plan(
        stage="captions",
        phase="write",
        kind="map",
        num_items=len(bank.concepts) * captions.per_concept,
        shard_items=captions.shard_items,
        suffix=".parquet",
        identity={
            "seed": config.seed,
            "concepts.sha256": bank.sha256,
            "concepts.count": len(bank.concepts),
            "captions.engine": captions.engine,
            "captions.per_concept": captions.per_concept,
            "captions.batch_items": captions.batch_items,
        },
    )


@contextmanager
def open_writer(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Load the concepts and the engine once for an attempt; yield the function that writes one shard."""
    import pyarrow.parquet as pq

    from synthclip_hpc.stages import concepts as concepts_stage

    table = pq.read_table(run.phase("concepts", "read").data_path(0, ".parquet"), schema=concepts_stage.schema())
    if table.num_rows != plan.identity["concepts.count"]:
        raise UserError(
            f"the concept table has {table.num_rows} rows, the plan {plan.identity['concepts.count']}; run verify"
        )
    engine = open_engine(config.captions)
    try:
        yield lambda task: _write_shard(task, table, engine)
    finally:
        engine.close()


def _write_shard(task: ShardTask, concepts: pyarrow.Table, engine: Engine) -> None:
    identity = task.plan.identity
    run_seed = identity["seed"]
    caption_ids: list[int] = []
    columns: dict[str, list[Any]] = {name: [] for name in ("concept_id", "concept", "n", "seed")}
    for concept_id, concept, n in _items(concepts, task.shard.start, task.shard.stop):
        caption_id = item_id(concept, n)
        caption_ids.append(caption_id)
        columns["concept_id"].append(concept_id)
        columns["concept"].append(concept)
        columns["n"].append(n)
        columns["seed"].append(derive(run_seed, caption_id, "caption"))
    if len(set(caption_ids)) != len(caption_ids):
        raise UserError(f"two captions of shard {task.shard.index} share an id; leave out one of their concepts")
    requests = [Request(*one) for one in zip(columns["concept"], columns["n"], columns["seed"], strict=True)]
    first = task.shard.start
    rows, log = run_batches(
        task,
        identity["captions.batch_items"],
        lambda start, stop: [tuple(one) for one in engine.generate(requests[start - first : stop - first])],
    )
    captions, prompts, num_tries, reasons = zip(*rows, strict=True)
    path = task.directory.staged_path(task.shard.index, task.attempt, task.plan.suffix)
    write_table(
        path,
        {
            **columns,
            "caption_id": caption_ids,
            "caption": captions,
            "prompt": prompts,
            "model": [engine.model] * len(rows),
            "num_tries": num_tries,
            "reject_reason": reasons,
        },
        schema(),
    )
    task.publish(path, Counts.of(reasons))
    log.discard()


def _items(concepts: pyarrow.Table, start: int, stop: int) -> Iterator[tuple[int, str, int]]:
    """Yield (concept id, concept, n) of the items [start, stop), n-major."""
    count = concepts.num_rows
    while start < stop:
        n, offset = divmod(start, count)
        length = min(count - offset, stop - start)
        part = concepts.slice(offset, length)
        for concept_id, concept in zip(part.column(0).to_pylist(), part.column(1).to_pylist(), strict=True):
            yield concept_id, concept, n
        start += length


def inspect(path: Path) -> Counts:
    """Count the captions of a finished shard, rejects by reason."""
    return inspect_table(path, schema())


def check_unique(directory: PhaseDirectory, plan: Plan) -> None:
    """Raise ValueError when two captions of the whole phase share an id: a 64-bit collision, told and never merged.

    Reads one column of every shard; 30 million ids take 0.5 GB.
    """
    import numpy as np
    import pyarrow.parquet as pq

    ids = np.empty(plan.num_items, dtype=np.uint64)
    for index in range(plan.num_shards):
        shard = plan.shard(index)
        column = pq.read_table(directory.data_path(index, plan.suffix), columns=["caption_id"]).column(0)
        ids[shard.start : shard.stop] = column.to_numpy()
    ids.sort()
    same = np.flatnonzero(ids[1:] == ids[:-1])
    if same.size:
        raise UserError(
            f"captions/write: {same.size} caption ids occur twice, the first is {ids[same[0]]}; leave out its concept"
        )


def estimate(config: RunConfig) -> Estimate:
    """Return what one caption of the configured engine costs."""
    seconds = (1 / 150_000, 1 / 50_000)
    if config.captions.template.items_per_s:
        seconds = (1 / config.captions.template.items_per_s,) * 2
    return Estimate((12, 60), seconds, "measured: template engine, one core")


PHASES = (
    Phase(
        stage="captions",
        name="write",
        kind="map",
        upstream=(("concepts", "read"),),
        layout=layout,
        open=open_writer,
        inspect=inspect,
        estimate=estimate,
        promise="bytes",
        check_sealed=check_unique,
    ),
)
