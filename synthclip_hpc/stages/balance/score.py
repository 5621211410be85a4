"""Phase `score`: the threshold at which each caption enters the set, from its concepts' counts and its own number.

Each caption draws one number from (seed, caption id). It is kept at threshold t with MetaCLIP's probability, and so
there is one t at which it enters, whatever the others draw: no order, no sharding. Written sorted by a shuffle key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sharding.ids import derive
from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from synthclip_hpc.config import RunConfig
from synthclip_hpc.stages.balance.count import read_counts
from synthclip_hpc.stages.balance.shared import (
    KEY,
    PLAN,
    SUFFIX,
    check_made_by,
    keep_pace,
    match_lists,
    num_ranges,
    schema,
)
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    from synthclip_hpc.curation.selection import Mode
    from synthclip_hpc.run import Run

TAU = "tau"
"""The threshold at which a caption enters; infinite for one that never does."""


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One task a range of text hashes, as in `unique`."""
    return Plan(
        stage="balance",
        phase="score",
        kind="map",
        num_items=num_ranges(config, sources),
        shard_items=1,
        suffix=SUFFIX,
        identity={"seed": config.seed, "balance.mode": config.balance.mode},
    )


def scored_schema() -> Any:
    """Return the columns of what this phase writes."""
    import pyarrow as pa

    return schema((TAU, pa.float64()))


@contextmanager
def open_scorer(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Read the counts once for an attempt; yield the function that scores one range."""
    import numpy as np
    import pyarrow as pa

    from sharding.exchange import SortedFile, write_sorted
    from synthclip_hpc.curation.selection import caption_taus
    from synthclip_hpc.curation.thresholds import uniform_numbers

    counts, _ = read_counts(run)
    balance = config.balance
    mode = cast("Mode", balance.mode)
    unique = run.phase("balance", "unique")

    def process(task: ShardTask) -> None:
        task.resumed(0)
        with SortedFile.open(unique.data_path(task.shard.index, SUFFIX)) as file:
            table = file.rows(0, None)
            ids = table.column("caption_id").to_pylist()
            numbers = (derive(config.seed, caption_id, "balance") for caption_id in ids)
            uniform = uniform_numbers(np.fromiter(numbers, dtype=np.uint64, count=len(ids)))
            taus = caption_taus(mode, *match_lists(table), counts, uniform, keep_unmatched=balance.keep_unmatched)
            keys = (derive(config.seed, caption_id, "shuffle") for caption_id in ids)
            shuffled = table.set_column(
                table.schema.get_field_index(KEY), KEY, pa.array(np.fromiter(keys, dtype=np.uint64, count=len(ids)))
            ).append_column(TAU, pa.array(taus))
            path = task.directory.staged_path(task.shard.index, task.attempt, plan.suffix)
            write_sorted(path, shuffled.replace_schema_metadata({PLAN: plan.hash}), KEY, ("caption_id",))
        keep_pace(task, len(ids), balance.items_per_s)
        task.publish(path, Counts(1, 1, 0, {}))

    yield process


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether a finished file is whole; TableError when another plan made it, with another seed, say."""
    from sharding.exchange import SortedFile, inspect_sorted

    inspect_sorted(path, scored_schema())
    with SortedFile.open(path) as file:
        check_made_by(plan, file)
    return Counts(1, 1, 0, {})


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of a range of `balance.match_items` captions."""
    items = config.balance.match_items
    return Estimate((150.0 * items, 300.0 * items), (8e-6 * items, 2e-5 * items), "measured: one core")


PHASE = Phase(
    stage="balance",
    name="score",
    kind="map",
    upstream=lambda config: (("balance", "unique"), ("balance", "count")),
    layout=layout,
    open=open_scorer,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
)
