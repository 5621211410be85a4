"""Phase `unique`: exact duplicates of a text removed over all captions; of each text the smallest caption id stays.

`match` has dropped those within each of its files; here go those that several files hold.

Items are ranges of the text-hash space; a task reads its own range of every file that `match` wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from synthclip_hpc.config import RunConfig
from synthclip_hpc.stages.balance.shared import (
    KEY,
    SUFFIX,
    TIES,
    facts_of,
    keep_pace,
    num_ranges,
    open_files,
    schema,
    without_repeats,
)
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    from synthclip_hpc.run import Run


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One task a range of text hashes."""
    return Plan(
        stage="balance",
        phase="unique",
        kind="map",
        num_items=num_ranges(config, sources),
        shard_items=1,
        suffix=SUFFIX,
        identity={},
    )


@contextmanager
def open_ranges(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Map the files of `match`; yield the function that does one range."""
    from sharding.exchange import merge_range, write_sorted
    from sharding.sorted_layout import key_range

    with open_files(run, "match") as files:

        def process(task: ShardTask) -> None:
            task.resumed(0)
            table = merge_range(files, *key_range(task.shard.index, plan.num_items))
            kept, duplicates = without_repeats(table)
            path = task.directory.staged_path(task.shard.index, task.attempt, plan.suffix)
            facts = {"duplicates": str(duplicates)}
            write_sorted(path, kept.replace_schema_metadata(facts), KEY, TIES, in_order=True)
            keep_pace(task, table.num_rows, config.balance.items_per_s)
            task.publish(path, Counts(1, 1, 0, {}))

        yield process


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether a finished file is whole."""
    from sharding.exchange import SortedFile, inspect_sorted

    inspect_sorted(path, schema())
    with SortedFile.open(path) as file:
        int(facts_of(file)["duplicates"])
    return Counts(1, 1, 0, {})


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of a range of `balance.match_items` captions."""
    items = config.balance.match_items
    return Estimate((150.0 * items, 300.0 * items), (2e-6 * items, 8e-6 * items), "measured: one core")


PHASE = Phase(
    stage="balance",
    name="unique",
    kind="map",
    upstream=lambda config: (("balance", "match"),),
    layout=layout,
    open=open_ranges,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
)
